//! Starts: what is bad is refused and starts nothing; a key starts one run however often it is used.

use crate::fixture::Fixture;
use everstep_core::api::Started;
use everstep_core::{Limits, RetryPolicy, StateKind, Timestamp};
use everstep_server::service::ServiceOptions;
use serde_json::{Value, json};

#[tokio::test]
async fn a_start_is_durable_and_ready_for_a_host() {
    let fixture = Fixture::new().await;
    fixture.publish("w", "1", json!({})).await;
    let body = json!({"workflow": "w", "input": {"a": [1, 2.50]}, "tags": {"team": "blue"}});
    let answer = fixture.start(&body).await;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let started: Started = answer.good();
    assert!(started.created);
    let run = fixture.show(started.id).await;
    assert_eq!((run.state, run.attempt, run.journal_length), (StateKind::Queued, 0, 1));
    assert_eq!(run.input.unwrap().as_str(), r#"{"a":[1,2.5]}"#);
    assert_eq!(run.options.tags["team"], "blue");
    assert_eq!(fixture.dispatch.counts(), (1, 0));
}

#[tokio::test]
async fn unknown_workflows_and_versions_are_refused_with_those_known() {
    let fixture = Fixture::new().await;
    let problem =
        fixture.start(&json!({"workflow": "w"})).await.problem(422, "run.unknown_workflow");
    assert!(problem.fix.contains("upload"), "{problem:?}");
    fixture.publish("billing", "1", json!({})).await;
    fixture.publish("billing", "2", json!({})).await;
    let problem =
        fixture.start(&json!({"workflow": "biling"})).await.problem(422, "run.unknown_workflow");
    assert!(problem.detail.contains("known workflows: billing"), "{problem:?}");
    let body = json!({"workflow": "billing", "version": "3"});
    let problem = fixture.start(&body).await.problem(422, "run.unknown_version");
    assert!(problem.detail.contains("known versions: 1, 2"), "{problem:?}");
    fixture.assert_no_runs().await;
}

#[tokio::test]
async fn the_newest_version_and_its_options_are_the_default() {
    let fixture = Fixture::new().await;
    let retry = json!({"kind": "fixed", "max_attempts": 3, "delay_ms": 10});
    fixture.publish("w", "2", json!({})).await;
    fixture.publish("w", "1", json!({"retry": retry, "timeout_ms": 9_000})).await;
    let newest: Started = fixture.start(&json!({"workflow": "w"})).await.good();
    let run = fixture.show(newest.id).await;
    assert_eq!(run.version, "1", "the one uploaded last");
    let policy = RetryPolicy::Fixed { max_attempts: 3, delay_ms: 10 };
    assert_eq!((run.options.retry, run.options.timeout_ms), (Some(policy), Some(9_000)));
    let body = json!({"workflow": "w", "retry": {"kind": "never"}, "timeout_ms": 1});
    let run = fixture.show(fixture.start(&body).await.good::<Started>().id).await;
    assert_eq!((run.options.retry, run.options.timeout_ms), (Some(RetryPolicy::Never), Some(1)));
    let body = json!({"workflow": "w", "version": "2"});
    let run = fixture.show(fixture.start(&body).await.good::<Started>().id).await;
    assert_eq!((run.version.as_str(), run.options.retry), ("2", None));
}

#[tokio::test]
async fn an_input_that_violates_the_schema_is_refused_with_the_place() {
    let fixture = Fixture::new().await;
    let schema = json!({"type": "object", "required": ["user"], "properties": {
        "user": {"type": "object", "properties": {"email": {"type": "string"}}}}});
    fixture.publish("w", "1", json!({"input": schema})).await;
    let body = json!({"workflow": "w", "input": {"user": {"email": 7}}});
    let problem = fixture.start(&body).await.problem(422, "input.invalid");
    assert!(problem.detail.contains("/user/email"), "{problem:?}");
    let problem = fixture.start(&json!({"workflow": "w"})).await.problem(422, "input.invalid");
    assert!(problem.detail.contains("at the top"), "{problem:?}");
    fixture.assert_no_runs().await;
    let body = json!({"workflow": "w", "input": {"user": {"email": "a@b.c"}}});
    assert_eq!(fixture.start(&body).await.status, 202);
}

#[tokio::test]
async fn an_oversized_input_is_refused() {
    let limits = Limits { payload_bytes: 1_000, ..Limits::default() };
    let fixture = Fixture::with(ServiceOptions { limits, ..ServiceOptions::default() }).await;
    fixture.publish("w", "1", json!({})).await;
    let input = |size: usize| json!({"workflow": "w", "input": "x".repeat(size - 2)});
    let problem = fixture.start(&input(1_001)).await.problem(413, "payload.too_large");
    assert!(problem.detail.contains("1001") && problem.detail.contains("1000"), "{problem:?}");
    // So large that the body is not even read to its end.
    fixture.start(&input(200_000)).await.problem(413, "payload.too_large");
    fixture.assert_no_runs().await;
    assert_eq!(fixture.start(&input(1_000)).await.status, 202);
}

#[tokio::test]
async fn invalid_keys_are_refused() {
    let fixture = Fixture::new().await;
    fixture.publish("w", "1", json!({})).await;
    for key in ["", "a\nb", "\u{7f}", &"x".repeat(257)] {
        let body = json!({"workflow": "w", "idempotency_key": key});
        fixture.start(&body).await.problem(422, "key.invalid");
    }
    fixture.assert_no_runs().await;
}

#[tokio::test]
async fn options_that_make_no_sense_are_refused() {
    let fixture = Fixture::new().await;
    fixture.publish("w", "1", json!({})).await;
    let century = 36_525_u64 * 86_400_000;
    let tags: Value = (0..33).map(|n| (n.to_string(), json!("x"))).collect();
    let cases = [
        (json!({"delay_ms": 1, "at": "2030-01-01T00:00:00Z"}), "`at`"),
        (json!({"delay_ms": century + 1}), "`delay_ms`"),
        (json!({"at": "2999-01-01T00:00:00Z"}), "`at`"),
        (json!({"timeout_ms": 0}), "`timeout_ms`"),
        (json!({"retry": {"kind": "fixed", "max_attempts": 0, "delay_ms": 1}}), "`retry`"),
        (json!({"tags": tags}), "`tags`"),
        (json!({"tags": {"a": "x".repeat(257)}}), "`tags`"),
    ];
    for (option, field) in cases {
        let mut body = json!({"workflow": "w"});
        body.as_object_mut().unwrap().extend(option.as_object().unwrap().clone());
        let problem = fixture.start(&body).await.problem(422, "option.invalid");
        assert!(problem.detail.starts_with(field), "{problem:?}");
    }
    for body in ["{", "[]", r#"{"workflow": 1}"#, r#"{"workflow": "w", "inptu": 1}"#, ""] {
        let answer = fixture.post("/v1/runs", "application/json", body.into()).await;
        answer.problem(400, "request.invalid");
    }
    let answer = fixture.post("/v1/runs", "text/plain", br#"{"workflow":"w"}"#.to_vec()).await;
    answer.problem(415, "request.media_type");
    fixture.assert_no_runs().await;
}

#[tokio::test]
async fn a_delayed_start_is_scheduled() {
    let fixture = Fixture::new().await;
    fixture.publish("w", "1", json!({})).await;
    let at: Timestamp = "2060-05-01T08:00:00Z".parse().unwrap();
    let body = json!({"workflow": "w", "at": "2060-05-01T10:00:00+02:00"});
    let run = fixture.show(fixture.start(&body).await.good::<Started>().id).await;
    assert_eq!((run.state, run.wakeup_at), (StateKind::Scheduled, Some(at)));
    let body = json!({"workflow": "w", "delay_ms": 3_600_000});
    let run = fixture.show(fixture.start(&body).await.good::<Started>().id).await;
    assert_eq!(run.wakeup_at, Some(run.started_at.plus(3_600_000)));
    let body = json!({"workflow": "w", "at": "2001-01-01T00:00:00Z"});
    let run = fixture.show(fixture.start(&body).await.good::<Started>().id).await;
    assert_eq!(run.state, StateKind::Queued, "what is past is due at once");
}

#[tokio::test]
async fn a_key_names_one_run() {
    let fixture = Fixture::new().await;
    fixture.publish("w", "1", json!({})).await;
    let body = json!({"workflow": "w", "idempotency_key": "order 7", "input": 1});
    let first: Started = fixture.start(&body).await.good();
    let again = fixture.start(&body).await;
    assert_eq!(again.status, 200);
    assert_eq!(again.good::<Started>(), Started { id: first.id, created: false });
    let mut other = body.clone();
    other["input"] = json!(2);
    let problem = fixture.start(&other).await.problem(409, "key.input_mismatch");
    assert!(problem.detail.contains(&first.id.to_string()), "{problem:?}");
    let mut strict = body.clone();
    strict["on_conflict"] = json!("error");
    fixture.start(&strict).await.problem(409, "key.taken");
    // A new version with a schema that the old input violates changes nothing for the old key.
    fixture.publish("w", "2", json!({"input": {"type": "string"}})).await;
    assert_eq!(fixture.start(&body).await.good::<Started>().id, first.id);
}

#[tokio::test]
async fn a_key_that_many_use_at_once_names_one_run() {
    let fixture = Fixture::new().await;
    fixture.publish("w", "1", json!({})).await;
    let body = json!({"workflow": "w", "idempotency_key": "k"});
    let starts = futures::future::join_all((0..20).map(|_| fixture.start(&body))).await;
    let starts: Vec<Started> = starts.iter().map(crate::fixture::Answer::good).collect();
    assert_eq!(starts.iter().filter(|started| started.created).count(), 1);
    assert!(starts.iter().all(|started| started.id == starts[0].id));
}
