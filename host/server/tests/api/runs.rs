//! Runs as they are shown, listed, waited for, cancelled and continued.

use crate::fixture::Fixture;
use everstep_core::activation::{Activation, Command, TimerDue};
use everstep_core::api::{JournalPage, RunList, RunView, Started, WaitOutcome, Waited};
use everstep_core::{Failure, OpId, Outcome, Payload, QueueReason, RunId, StateKind, TaskOptions};
use everstep_server::service::SelfCheck;
use serde_json::json;
use std::time::{Duration, Instant};

fn task(op: u64, name: &str) -> Command {
    let (name, input) = (name.to_owned(), Payload::null());
    Command::StartTask { op: OpId(op), name, input, options: TaskOptions::default() }
}

fn timer(op: u64, name: &str, ms: u64) -> Command {
    Command::StartTimer { op: OpId(op), name: name.to_owned(), due: TimerDue::After(ms) }
}

fn asks_for(commands: Vec<Command>) -> Activation {
    Activation { commands, ..Activation::default() }
}

async fn wait(fixture: &Fixture, run: RunId, query: &str) -> Waited {
    fixture.get(&format!("/v1/runs/{run}/wait?{query}")).await.good()
}

#[tokio::test]
async fn a_run_is_shown_with_its_pending_operations() {
    let fixture = Fixture::new().await;
    let run = fixture.run().await;
    fixture.activate(run, asks_for(vec![task(1, "send"), timer(2, "nap", 60_000)])).await;
    let view = fixture.show(run).await;
    assert_eq!((view.pending, view.attempt), (2, 1));
    let operations = view.operations.unwrap();
    let names: Vec<_> = operations.iter().map(|o| (o.op.0, &*o.kind, &*o.name)).collect();
    assert_eq!(names, [(1, "task", "send"), (2, "timer", "nap")]);
    assert!(operations[1].due.is_some());
    let sleeping = fixture.run().await;
    fixture.activate(sleeping, asks_for(vec![timer(1, "nap", 60_000)])).await;
    let view = fixture.show(sleeping).await;
    assert_eq!((view.state, view.timer.as_deref()), (StateKind::Sleeping, Some("nap")));
}

#[tokio::test]
async fn what_a_host_has_is_running_and_what_it_left_is_queued() {
    let fixture = Fixture::new().await;
    let first = fixture.run().await;
    let second = fixture.run().await;
    assert_eq!(fixture.lease().await, first);
    assert_eq!(fixture.show(first).await.state, StateKind::Running);
    let waiting = fixture.show(second).await;
    assert_eq!((waiting.state, waiting.reason), (StateKind::Queued, Some(QueueReason::New)));
    for (state, expected) in [("running", first), ("queued", second)] {
        let list: RunList = fixture.get(&format!("/v1/runs?state={state}")).await.good();
        let ids: Vec<RunId> = list.runs.iter().map(|run| run.id).collect();
        assert_eq!(ids, [expected], "{state}");
    }
    fixture.activate(second, asks_for(vec![task(1, "send")])).await;
    let left = fixture.show(second).await;
    assert_eq!((left.state, left.reason), (StateKind::Queued, Some(QueueReason::Recovery)));
}

#[tokio::test]
async fn lists_are_filtered_and_come_in_pages() {
    let fixture = Fixture::new().await;
    fixture.publish("w", "1", json!({})).await;
    fixture.publish("other", "1", json!({})).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let tags = json!({"n": n.to_string(), "team": if n < 2 { "red:1" } else { "blue" }});
        let body = json!({"workflow": "w", "tags": tags});
        ids.push(fixture.start(&body).await.good::<Started>().id);
    }
    fixture.start(&json!({"workflow": "other"})).await.good::<Started>();
    fixture.complete(ids[0], "1").await;
    let list = async |query: &str| -> Vec<RunId> {
        let list: RunList = fixture.get(&format!("/v1/runs?{query}")).await.good();
        list.runs.iter().map(|run| run.id).collect()
    };
    assert_eq!(list("workflow=w&tag=team:red:1").await, [ids[1], ids[0]]);
    assert_eq!(list("tag=team:blue&tag=n:3").await, [ids[3]]);
    assert_eq!(list("state=completed,failed").await, [ids[0]]);
    assert_eq!(list("state=completed&state=queued&workflow=w").await.len(), 5);
    assert_eq!(list("workflow=w&version=2").await, []);
    assert_eq!(list("started_before=2001-01-01T00:00:00Z").await, []);
    assert_eq!(list("started_after=2001-01-01T00:00:00Z").await.len(), 6);
    assert_eq!(list("updated_before=2001-01-01T00:00:00Z").await, []);
    assert_eq!(list("updated_after=2001-01-01T00:00:00Z").await.len(), 6);
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let path = format!("/v1/runs?workflow=w&state=queued&limit=2&cursor={cursor}");
        let page: RunList = fixture.get(&path).await.good();
        seen.extend(page.runs.iter().map(|run| run.id));
        match page.cursor {
            Some(next) => cursor = next,
            None => break,
        }
    }
    assert_eq!(seen, [ids[4], ids[3], ids[2], ids[1]]);
    for wrong in ["state=done", "limit=x", "tag=n", "started_after=now", "stat=queued"] {
        let answer = fixture.get(&format!("/v1/runs?{wrong}")).await;
        answer.problem(400, "request.invalid");
    }
    fixture.get("/v1/runs?cursor=x").await.problem(400, "store.bad_cursor");
}

#[tokio::test]
async fn runs_are_found_by_what_they_failed_with() {
    let fixture = Fixture::new().await;
    let (declined, lost, stuck) = (fixture.run().await, fixture.run().await, fixture.run().await);
    for (run, code) in [(declined, "card.declined"), (lost, "parcel.lost")] {
        let outcome = Some(Outcome::Failed(Failure::new(code, "no")));
        fixture.activate(run, Activation { outcome, ..Activation::default() }).await;
    }
    fixture.stick(stuck).await;
    for (query, expected) in [
        ("failure_code=card.declined", &[declined][..]),
        ("failure_code=guest.trap", &[stuck]),
        ("failure_code=guest.trap&state=failed", &[]),
        ("failure_code=card", &[]),
    ] {
        let list: RunList = fixture.get(&format!("/v1/runs?{query}")).await.good();
        let ids: Vec<RunId> = list.runs.iter().map(|run| run.id).collect();
        assert_eq!(ids, expected, "{query}");
    }
}

#[tokio::test]
async fn the_journal_is_read_in_pages() {
    let fixture = Fixture::new().await;
    let run = fixture.run().await;
    fixture.activate(run, asks_for(vec![task(1, "a"), task(2, "b")])).await;
    let page = async |query: &str| -> JournalPage {
        fixture.get(&format!("/v1/runs/{run}/journal{query}")).await.good()
    };
    let whole = page("").await;
    let names: Vec<_> = whole.entries.iter().map(|e| (e.seq, e.entry.event.name())).collect();
    let expected = ["RunStarted", "AttemptStarted", "TaskScheduled", "TaskScheduled"];
    assert_eq!(names, (0..).zip(expected).collect::<Vec<_>>());
    assert_eq!(whole.next, None);
    let first = page("?limit=1").await;
    assert_eq!(first.next, Some(1));
    assert_eq!(page("?from=1").await.entries, whole.entries[1..]);
    assert!(page("?from=99").await.entries.is_empty());
    assert!(page(&format!("?from={}", u64::MAX)).await.entries.is_empty());
}

#[tokio::test]
async fn a_wait_ends_as_soon_as_the_state_is_reached() {
    let fixture = Fixture::new().await;
    let run = fixture.run().await;
    let begun = Instant::now();
    let (waited, ()) = tokio::join!(wait(&fixture, run, "timeout_ms=30000"), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        fixture.complete(run, "42").await;
    });
    assert_eq!(waited.outcome, WaitOutcome::Reached);
    assert_eq!(waited.run.output.unwrap().as_str(), "42");
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    let sleeper = fixture.run().await;
    let (waited, ()) = tokio::join!(wait(&fixture, sleeper, "status=sleeping,stuck"), async {
        fixture.activate(sleeper, asks_for(vec![timer(1, "", 60_000)])).await;
    });
    assert_eq!(waited.outcome, WaitOutcome::Reached);
    let leased = fixture.run().await;
    let (waited, _) = tokio::join!(wait(&fixture, leased, "status=running"), async {
        fixture.lease().await;
        fixture.lease().await;
        fixture.lease().await
    });
    assert_eq!((waited.outcome, waited.run.state), (WaitOutcome::Reached, StateKind::Running));
}

#[tokio::test]
async fn a_wait_says_why_it_ended_otherwise() {
    let fixture = Fixture::new().await;
    let run = fixture.run().await;
    let waited = wait(&fixture, run, "timeout_ms=50").await;
    assert_eq!((waited.outcome, waited.run.state), (WaitOutcome::Timeout, StateKind::Queued));
    let stuck = fixture.run().await;
    fixture.stick(stuck).await;
    let waited = wait(&fixture, stuck, "").await;
    assert_eq!((waited.outcome, waited.run.state), (WaitOutcome::Missed, StateKind::Stuck));
    assert_eq!(waited.run.stuck.unwrap().code, "guest.trap");
    assert_eq!(wait(&fixture, stuck, "status=stuck").await.outcome, WaitOutcome::Reached);
    fixture.complete(run, "1").await;
    assert_eq!(wait(&fixture, run, "status=failed").await.outcome, WaitOutcome::Missed);
    let nobody = RunId::from_key("w", "nobody");
    fixture.get(&format!("/v1/runs/{nobody}/wait")).await.problem(404, "run.not_found");
    fixture.get(&format!("/v1/runs/{run}/wait?status=done")).await.problem(400, "request.invalid");
}

#[tokio::test]
async fn a_cancel_is_heard_once_and_succeeds_again() {
    let fixture = Fixture::new().await;
    let run = fixture.run().await;
    fixture.activate(run, asks_for(vec![timer(1, "nap", 60_000)])).await;
    let path = format!("/v1/runs/{run}/cancel");
    let first: RunView =
        fixture.post_json(&path, &json!({"reason": "changed my mind"})).await.good();
    assert_eq!(first.cancel_reason.as_deref(), Some("changed my mind"));
    let again: RunView = fixture.post(&path, "", Vec::new()).await.good();
    assert_eq!(again.journal_length, first.journal_length);
    let waiting = fixture.run().await;
    let path = format!("/v1/runs/{waiting}/cancel");
    for _ in 0..2 {
        let view: RunView = fixture.post(&path, "", Vec::new()).await.good();
        assert_eq!(view.state, StateKind::Cancelled);
    }
    let done = fixture.run().await;
    fixture.complete(done, "1").await;
    let answer = fixture.post(&format!("/v1/runs/{done}/cancel"), "", Vec::new()).await;
    let problem = answer.problem(409, "run.illegal_transition");
    assert!(problem.detail.contains("completed"), "{problem:?}");
    let path = format!("/v1/runs/{done}/cancel");
    let long = json!({"grace_ms": 86_400_001_u64});
    fixture.post_json(&path, &long).await.problem(422, "option.invalid");
    let long = json!({"reason": "x".repeat(4_097)});
    fixture.post_json(&path, &long).await.problem(422, "option.invalid");
    fixture.post(&path, "text/plain", b"{}".to_vec()).await.problem(415, "request.media_type");
}

#[tokio::test]
async fn a_stuck_run_is_continued_and_no_other() {
    let fixture = Fixture::new().await;
    let run = fixture.run().await;
    let path = format!("/v1/runs/{run}/retry");
    fixture.post(&path, "", Vec::new()).await.problem(409, "run.illegal_transition");
    fixture.stick(run).await;
    let view: RunView = fixture.post(&path, "", Vec::new()).await.good();
    assert_eq!((view.state, view.reason), (StateKind::Queued, Some(QueueReason::Resumption)));
}

/// A finished run is executed again now and then. What the guest would not have asked for is found.
#[tokio::test]
async fn a_run_that_does_not_replay_is_found() {
    let fixture = Fixture::new().await;
    let (open, forged) = (fixture.run().await, fixture.run().await);
    fixture.complete(forged, "7").await;
    let open = fixture.service.self_check(open).await.unwrap();
    assert!(matches!(open, SelfCheck::Skipped(_)), "{open:?}");
    let SelfCheck::Failed(why) = fixture.service.self_check(forged).await.unwrap() else {
        panic!("the guest completes nothing")
    };
    assert!(why.contains("the guest failed in the replay"), "{why}");
    assert_eq!(fixture.service.self_checks(), (0, 1));
    let metrics = fixture.get("/metrics").await;
    assert!(metrics.text().contains("\neverstep_self_check_failures_total 1\n"));
}
