//! Every example is run on a real server, and does what its first lines promise. `crash` has a
//! test of its own (`crash.rs`), `sandbox-probe` too (`sandbox.rs`).
#![allow(clippy::unwrap_used)]

use everstep_client::{CancelBody, EntryView, EventBody, Payload, RunId, StartBody, StateKind};
use everstep_core::{JournalEvent, Timestamp};
use everstep_tests::{
    Ledger, ServerProcess, body, completed, guest, journal, reach, serve, start, through_snapshots,
};
use serde_json::{Value, json};

struct Fixture {
    server: ServerProcess,
    _directory: tempfile::TempDir,
}

async fn with(example: &str) -> Fixture {
    let (server, _directory) = serve(&[example], &[]).await;
    Fixture { server, _directory }
}

fn count(journal: &[EntryView], name: &str) -> usize {
    journal.iter().filter(|view| view.entry.event.name() == name).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn onboarding_posts_two_emails_with_a_sleep_between() {
    let fixture = with("onboarding").await;
    let (client, mails) = (fixture.server.client(), Ledger::start().await);
    let input = json!({
        "user_id": "u1", "email": "ann@example.com",
        "sleep_ms": 1_200, "mail_server": mails.url(),
    });
    let run = start(&client, "user-onboarding", &input).await;
    assert_eq!(completed(&client, run).await, json!({ "success": true, "user_id": "u1" }));

    let lines = mails.lines();
    let bodies: Vec<_> = lines.iter().map(|line| line.body.clone()).collect();
    assert_eq!(
        bodies,
        [
            json!({ "to": "ann@example.com", "subject": "Please verify your address" }),
            json!({ "to": "ann@example.com", "subject": "Tips for your first days" }),
        ]
    );
    let journal = journal(&client, run).await;
    let (begun, due) = journal.iter().find_map(|view| sleep(view, "before-tips")).unwrap();
    let over = journal.iter().find(|view| view.entry.event.name() == "TimerFired").unwrap();
    assert_eq!(due.since(begun), 1_200);
    assert!(over.entry.at >= due, "the sleep was over early: {over:?}");
    assert!(lines[1].at >= due, "the tips were sent early");
    through_snapshots(&fixture.server.cli());
}

/// When a sleep of this name began, and when it is due.
fn sleep(view: &EntryView, wanted: &str) -> Option<(Timestamp, Timestamp)> {
    match &view.entry.event {
        JournalEvent::TimerStarted { name, due, .. } if name == wanted => {
            Some((view.entry.at, *due))
        }
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn payment_is_retried_with_growing_delays() {
    let fixture = with("payment").await;
    let client = fixture.server.client();
    let input = json!({ "amount_cents": 4_200, "succeeds_at_attempt": 4 });
    let run = start(&client, "payment", &input).await;
    let paid = completed(&client, run).await;
    assert_eq!(paid["amount_cents"], 4_200);
    assert_eq!(paid["attempts"], 4);
    assert!(paid["reference"].as_str().unwrap().starts_with(&run.to_string()), "{paid}");

    let journal = journal(&client, run).await;
    let mut delays = Vec::new();
    let mut not_before = Timestamp::default();
    for EntryView { entry, .. } in &journal {
        assert!(entry.at >= not_before, "an attempt ended before it was due: {entry:?}");
        if let JournalEvent::TaskAttemptFailed { attempt, failure, retry_at, .. } = &entry.event {
            assert_eq!(*attempt as usize, delays.len() + 1);
            assert_eq!(failure.code, "provider.unavailable");
            delays.push(retry_at.since(entry.at));
            not_before = *retry_at;
        }
    }
    assert_eq!(delays, [100, 200, 400]);
    through_snapshots(&fixture.server.cli());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_declined_payment_is_not_retried() {
    let fixture = with("payment").await;
    let client = fixture.server.client();
    let run = start(&client, "payment", &json!({ "amount_cents": 1, "declined": true })).await;
    let failure = reach(&client, run, StateKind::Failed).await.failure.unwrap();
    assert_eq!(failure.code, "card.declined");
    assert_eq!(failure.details.unwrap().read::<Value>().unwrap(), json!({ "amount_cents": 1 }));
    let journal = journal(&client, run).await;
    assert_eq!(count(&journal, "TaskAttemptFailed"), 0);
    assert_eq!(count(&journal, "TaskFailed"), 1);
    through_snapshots(&fixture.server.cli());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_run_is_tried_again_from_the_start_when_asked() {
    let fixture = with("payment").await;
    let client = fixture.server.client();
    // One more attempt than the task has; the run's own retry is what is left.
    let input = json!({ "amount_cents": 1, "succeeds_at_attempt": 6 });
    let retry = everstep_client::RetryPolicy::Fixed { max_attempts: 2, delay_ms: 50 };
    let body = StartBody { retry: Some(retry), ..body("payment", &input) };
    let run = client.start(&body).await.unwrap().id;
    let view = reach(&client, run, StateKind::Failed).await;
    assert_eq!(view.attempt, 2);
    assert_eq!(view.failure.unwrap().code, "provider.unavailable");
    let journal = journal(&client, run).await;
    assert_eq!(count(&journal, "AttemptStarted"), 2);
    assert_eq!(count(&journal, "AttemptFailed"), 1);
    assert_eq!(count(&journal, "TaskFailed"), 2, "what failed is tried anew");
    through_snapshots(&fixture.server.cli());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fan_out_joins_a_hundred_tasks() {
    let fixture = with("fan-out").await;
    let client = fixture.server.client();
    let run = start(&client, "fan-out", &json!({})).await;
    assert_eq!(completed(&client, run).await, json!({ "tasks": 100, "sum": 338_350 }));
    let journal = journal(&client, run).await;
    assert_eq!(count(&journal, "TaskScheduled"), 100);
    assert_eq!(count(&journal, "TaskCompleted"), 100);
    through_snapshots(&fixture.server.cli());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn morning_begins_when_it_is_due() {
    let fixture = with("morning").await;
    let client = fixture.server.client();
    let delayed =
        |delay_ms| StartBody { delay_ms: Some(delay_ms), ..body("morning", &json!("Ann")) };
    let run = client.start(&delayed(900)).await.unwrap().id;
    let output = completed(&client, run).await;
    assert_eq!(output["text"], "Good morning, Ann!");
    let journal = journal(&client, run).await;
    let JournalEvent::RunStarted { due, .. } = &journal[0].entry.event else { panic!() };
    assert_eq!(due.since(journal[0].entry.at), 900);
    assert!(journal[1].entry.at >= *due, "it began early: {:?}", journal[1]);
    let at: Timestamp = serde_json::from_value(output["at"].clone()).unwrap();
    assert!(at >= *due, "its clock shows when it began");

    let run = client.start(&delayed(3_600_000)).await.unwrap().id;
    let view = client.run(run).await.unwrap();
    assert_eq!(view.state, StateKind::Scheduled);
    assert_eq!(view.wakeup_at.unwrap().since(view.started_at), 3_600_000);
    let reason = Some("a day off".to_owned());
    client.cancel(run, &CancelBody { reason, ..CancelBody::default() }).await.unwrap();
    let view = reach(&client, run, StateKind::Cancelled).await;
    assert_eq!(view.cancel_reason.as_deref(), Some("a day off"));
    assert!(!began(&client, run).await, "nothing of it was executed");
    through_snapshots(&fixture.server.cli());
}

async fn began(client: &everstep_client::Client, run: RunId) -> bool {
    count(&journal(client, run).await, "AttemptStarted") > 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trial_ends_with_a_payment_or_without() {
    let fixture = with("trial").await;
    let client = fixture.server.client();
    let paying = start(&client, "trial", &json!({ "user": "u1" })).await;
    let waiting = start(&client, "trial", &json!({ "user": "u2", "trial_ms": 300 })).await;
    let data = Some(Payload::from_value(&json!({ "amount_cents": 900 })).unwrap());
    let payment = EventBody { name: "payment".into(), data, reference: None };
    client.send_event(paying, &payment).await.unwrap();
    assert_eq!(completed(&client, paying).await, json!({ "subscribed": true }));
    assert_eq!(completed(&client, waiting).await, json!({ "subscribed": false }));
    assert_eq!(count(&journal(&client, waiting).await, "EventTimedOut"), 1);
    through_snapshots(&fixture.server.cli());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bench_does_as_many_steps_as_it_is_told() {
    let fixture = with("bench").await;
    let client = fixture.server.client();
    let steps = start(&client, "bench-steps", &json!({ "steps": 20 })).await;
    let tasks = start(&client, "bench-fan-out", &json!({ "tasks": 50 })).await;
    assert_eq!(completed(&client, steps).await, json!(20));
    assert_eq!(completed(&client, tasks).await, json!(50));
    assert_eq!(count(&journal(&client, steps).await, "TaskCompleted"), 20);
    assert_eq!(count(&journal(&client, tasks).await, "TaskCompleted"), 50);
    through_snapshots(&fixture.server.cli());
}

/// `everstep bench` carries the example, so that it needs no guest compiler.
#[test]
fn the_bench_module_inside_the_program_is_the_example() {
    let cli = everstep_tests::Cli::new("http://127.0.0.1:1");
    let embedded = concat!(env!("CARGO_MANIFEST_DIR"), "/../host/cli/assets/bench.wasm");
    let built = guest("bench");
    let inspect = |file: &str| cli.json::<Value>(&["inspect", file]).remove(0)["manifest"].clone();
    assert_eq!(inspect(embedded), inspect(built.to_str().unwrap()));
}
