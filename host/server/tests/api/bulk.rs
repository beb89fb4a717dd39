//! The same for many runs: which runs are meant, what becomes of each, and what is refused.

use crate::fixture::Fixture;
use everstep_core::api::{BulkReport, Started};
use everstep_core::{RunId, StateKind};
use serde_json::{Value, json};

async fn bulk(fixture: &Fixture, body: Value) -> BulkReport {
    fixture.post_json("/v1/runs/bulk", &body).await.good()
}

fn ids(report: &BulkReport) -> Vec<RunId> {
    report.results.iter().map(|result| result.id).collect()
}

/// Starts runs of `w` with a tag.
async fn tagged(fixture: &Fixture, tag: &str, count: usize) -> Vec<RunId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        let body = json!({"workflow": "w", "tags": {"team": tag}});
        ids.push(fixture.start(&body).await.good::<Started>().id);
    }
    ids
}

#[tokio::test]
async fn a_filter_finds_the_runs_that_can_be_cancelled() {
    let fixture = Fixture::new().await;
    fixture.publish("w", "1", json!({})).await;
    let red = tagged(&fixture, "red", 3).await;
    let blue = tagged(&fixture, "blue", 1).await;
    fixture.complete(red[1], "1").await;
    let filter = json!({"workflow": "w", "tags": {"team": "red"}});
    let dry = json!({"action": "cancel", "filter": filter, "dry_run": true});
    let report = bulk(&fixture, dry).await;
    assert_eq!((ids(&report), report.more), (vec![red[2], red[0]], false));
    assert!(report.results.iter().all(|result| result.ok));
    assert_eq!(report.results[0].state, Some(StateKind::Queued), "nothing was done");
    assert_eq!(fixture.show(red[0]).await.journal_length, 1);

    let body = json!({"action": "cancel", "filter": filter, "reason": "ordered twice"});
    let report = bulk(&fixture, body).await;
    assert_eq!(ids(&report), [red[2], red[0]]);
    assert!(report.results.iter().all(|result| result.state == Some(StateKind::Cancelled)));
    let run = fixture.show(red[0]).await;
    assert_eq!(run.cancel_reason.as_deref(), Some("ordered twice"));
    assert_eq!(fixture.show(red[1]).await.state, StateKind::Completed);
    assert_eq!(fixture.show(blue[0]).await.state, StateKind::Queued);
}

#[tokio::test]
async fn stuck_runs_are_continued_by_what_stopped_them() {
    let fixture = Fixture::new().await;
    let (stuck, waiting) = (fixture.run().await, fixture.run().await);
    fixture.stick(stuck).await;
    let body = |code: &str| json!({"action": "retry", "filter": {"failure_code": code}});
    assert_eq!(bulk(&fixture, body("guest.fuel")).await.results, []);
    let report = bulk(&fixture, body("guest.trap")).await;
    assert_eq!((ids(&report), report.results[0].ok), (vec![stuck], true));
    assert_eq!(fixture.show(stuck).await.state, StateKind::Queued);
    assert_eq!(fixture.show(waiting).await.journal_length, 1);
}

#[tokio::test]
async fn each_run_succeeds_or_fails_on_its_own() {
    let fixture = Fixture::new().await;
    let (open, done) = (fixture.run().await, fixture.run().await);
    fixture.complete(done, "1").await;
    let nobody = RunId::from_key("w", "nobody");
    for dry_run in [true, false] {
        let runs = json!([open, done, nobody]);
        let body = json!({"action": "cancel", "runs": runs, "dry_run": dry_run});
        let report = bulk(&fixture, body).await;
        assert_eq!(ids(&report), [open, done, nobody]);
        let codes: Vec<_> = report.results.iter().map(|r| (r.ok, r.code.as_deref())).collect();
        let expected =
            [(true, None), (false, Some("run.illegal_transition")), (false, Some("run.not_found"))];
        assert_eq!(codes, expected);
        assert!(report.results[1].message.as_ref().unwrap().contains("completed"));
    }
    // A state that is named is meant, also when it does not allow the action.
    let body = json!({"action": "retry", "filter": {"state": ["completed"]}});
    let report = bulk(&fixture, body).await;
    assert_eq!((ids(&report), report.results[0].ok), (vec![done], false));
    // Cancelling again succeeds, as it does for one run.
    let body = json!({"action": "cancel", "runs": [open]});
    assert!(bulk(&fixture, body).await.results[0].ok);
}

#[tokio::test]
async fn a_request_is_bounded_and_the_next_goes_on_behind_it() {
    let fixture = Fixture::new().await;
    fixture.publish("w", "1", json!({})).await;
    let mut runs = tagged(&fixture, "red", 5).await;
    runs.reverse();
    let mut found = Vec::new();
    let mut body = json!({"action": "cancel", "all": true, "limit": 2, "dry_run": true});
    loop {
        let report = bulk(&fixture, body.clone()).await;
        assert!(report.results.len() <= 2);
        assert_eq!(report.more, report.cursor.is_some());
        found.extend(ids(&report));
        let Some(cursor) = report.cursor else { break };
        body["cursor"] = json!(cursor);
    }
    assert_eq!(found, runs);
    body["dry_run"] = json!(false);
    body["limit"] = json!(10_000);
    body["cursor"] = Value::Null;
    let report = bulk(&fixture, body).await;
    assert_eq!((report.results.len(), report.more), (5, false));
}

#[tokio::test]
async fn a_request_that_does_not_say_which_runs_is_refused() {
    let fixture = Fixture::new().await;
    let run = fixture.run().await;
    for (body, field) in [
        (json!({"action": "cancel"}), "`filter`"),
        (json!({"action": "cancel", "filter": {}}), "`filter`"),
        (json!({"action": "cancel", "filter": {"workflow": "w"}, "all": true}), "`all`"),
        (json!({"action": "cancel", "filter": {"workflow": "w"}, "runs": [run]}), "`runs`"),
        (json!({"action": "cancel", "runs": [run], "all": true}), "`runs`"),
        (json!({"action": "cancel", "runs": [run, run], "limit": 1}), "`runs`"),
        (json!({"action": "cancel", "all": true, "limit": 0}), "`limit`"),
        (json!({"action": "cancel", "all": true, "limit": 10_001}), "`limit`"),
        (json!({"action": "cancel", "all": true, "reason": "x".repeat(4_097)}), "`reason`"),
        (json!({"action": "cancel", "all": true, "grace_ms": 86_400_001}), "`grace_ms`"),
    ] {
        let answer = fixture.post_json("/v1/runs/bulk", &body).await;
        let problem = answer.problem(422, "option.invalid");
        assert!(problem.detail.starts_with(field), "{problem:?}");
    }
    for body in [
        json!({"action": "explode", "all": true}),
        json!({"all": true}),
        json!({"action": "cancel", "filter": {"stat": ["queued"]}}),
        json!({"action": "cancel", "runs": ["x"]}),
    ] {
        fixture.post_json("/v1/runs/bulk", &body).await.problem(400, "request.invalid");
    }
    let body = json!({"action": "cancel", "all": true, "cursor": "x"});
    fixture.post_json("/v1/runs/bulk", &body).await.problem(400, "store.bad_cursor");
    assert_eq!(fixture.show(run).await.state, StateKind::Queued);
}
