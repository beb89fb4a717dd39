//! Runs outlive their server: it is stopped and killed at the worst moments, and each run goes on
//! as if nothing had happened.
#![allow(clippy::unwrap_used)]

use everstep_client::{Client, EntryView, RunId, StartBody, StateKind};
use everstep_core::{JournalEvent, Timestamp};
use everstep_tests::{Ledger, ServerProcess, body, completed, journal, reach, start, upload};
use futures::TryStreamExt;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn count(journal: &[EntryView], name: &str) -> usize {
    journal.iter().filter(|view| view.entry.event.name() == name).count()
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap())
}

async fn pass(due: Timestamp) {
    while now() < due {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn signup(sleep_ms: u64, mails: &Ledger) -> Value {
    let mail_server = mails.url();
    json!({
        "user_id": "u1", "email": "a@example.com",
        "sleep_ms": sleep_ms, "mail_server": mail_server,
    })
}

async fn messages(client: &Client, run: RunId) -> Vec<String> {
    let lines: Vec<_> = client.logs(run, 0).try_collect().await.unwrap();
    lines.into_iter().map(|view| view.line.message.trim().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_that_was_running_at_the_kill_is_attempted_again() {
    let (directory, ledger) = (tempfile::tempdir().unwrap(), Ledger::start().await);
    let server = ServerProcess::start(directory.path());
    upload(&server.client(), &["crash"]).await;
    ledger.hold(true);
    let input = json!({ "steps": 2, "sleep_ms": 10, "ledger": ledger.url() });
    let run = start(&server.client(), "crash", &input).await;
    ledger.has(1).await;
    server.kill();
    ledger.hold(false);

    let server = ServerProcess::start(directory.path());
    let output = completed(&server.client(), run).await;
    assert_eq!(output["values"].as_array().unwrap().len(), 2);
    let lines = ledger.lines();
    let begins: Vec<_> = lines
        .iter()
        .filter(|line| line.body["phase"] == "begin" && line.body["step"] == 1)
        .map(|line| line.body["token"].clone())
        .collect();
    assert_eq!(begins.len(), 2, "{lines:?}");
    assert_eq!(begins[0], begins[1], "the attempts share their token");
    let journal = journal(&server.client(), run).await;
    assert_eq!(count(&journal, "TaskCompleted"), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleep_goes_on_over_a_kill_and_nothing_is_done_or_logged_twice() {
    let (directory, mails) = (tempfile::tempdir().unwrap(), Ledger::start().await);
    let server = ServerProcess::start(directory.path());
    upload(&server.client(), &["onboarding"]).await;
    let run = start(&server.client(), "user-onboarding", &signup(2_500, &mails)).await;
    let view = reach(&server.client(), run, StateKind::Sleeping).await;
    let due = view.wakeup_at.unwrap();
    server.kill();

    let server = ServerProcess::start(directory.path());
    let client = server.client();
    assert_eq!(completed(&client, run).await["success"], true);
    let lines = mails.lines();
    assert_eq!(lines.len(), 2, "each mail is sent once: {lines:?}");
    assert!(lines[1].at >= due, "the sleep was over early");
    let messages = messages(&client, run).await;
    for message in ["starting onboarding", "u1 is verified", "onboarded"] {
        let times = messages.iter().filter(|line| *line == message).count();
        assert_eq!(times, 1, "{message}: {messages:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timer_that_was_due_while_the_server_was_down_fires_once() {
    let (directory, mails) = (tempfile::tempdir().unwrap(), Ledger::start().await);
    let server = ServerProcess::start(directory.path());
    upload(&server.client(), &["onboarding", "morning"]).await;
    let run = start(&server.client(), "user-onboarding", &signup(2_000, &mails)).await;
    let later = StartBody { delay_ms: Some(2_000), ..body("morning", &json!("Ann")) };
    let later = server.client().start(&later).await.unwrap().id;
    reach(&server.client(), run, StateKind::Sleeping).await;
    server.kill();
    pass(now().plus(2_100)).await;
    assert_eq!(mails.lines().len(), 1, "nobody was there to send the second");

    let server = ServerProcess::start(directory.path());
    let client = server.client();
    completed(&client, run).await;
    assert_eq!(completed(&client, later).await["text"], "Good morning, Ann!");
    assert_eq!(count(&journal(&client, run).await, "TimerFired"), 1);
    assert_eq!(count(&journal(&client, later).await, "AttemptStarted"), 1);
    assert_eq!(mails.lines().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graceful_end_in_the_middle_of_a_run_loses_nothing() {
    let (directory, ledger) = (tempfile::tempdir().unwrap(), Ledger::start().await);
    let server = ServerProcess::start(directory.path());
    let address = server.address().to_owned();
    upload(&server.client(), &["crash"]).await;
    let input = json!({ "steps": 5, "sleep_ms": 200, "ledger": ledger.url() });
    let run = start(&server.client(), "crash", &input).await;
    ledger.has(3).await;
    // A client that waits is let go, and goes on by itself when the server is back.
    let client = server.client();
    client.healthy().await.unwrap();
    let waiting = tokio::spawn(async move { completed(&client, run).await });
    assert_eq!(server.terminate(), Some(0));

    let server = ServerProcess::start_on(directory.path(), &address, &[]);
    let output = waiting.await.unwrap();
    let journal = journal(&server.client(), run).await;
    let recorded: Vec<Value> = journal
        .iter()
        .filter_map(|view| match &view.entry.event {
            JournalEvent::TaskCompleted { output, .. } => Some(output.read().unwrap()),
            _ => None,
        })
        .collect();
    assert_eq!(output["values"], json!(recorded));
    assert_eq!(recorded.len(), 5);
    assert_eq!(server.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_takes_too_long_fails_also_across_a_kill() {
    let (directory, mails) = (tempfile::tempdir().unwrap(), Ledger::start().await);
    let server = ServerProcess::start(directory.path());
    upload(&server.client(), &["onboarding"]).await;
    let input = signup(86_400_000, &mails);
    let body = StartBody { timeout_ms: Some(2_500), ..body("user-onboarding", &input) };
    let run = server.client().start(&body).await.unwrap().id;
    reach(&server.client(), run, StateKind::Sleeping).await;
    server.kill();

    let server = ServerProcess::start(directory.path());
    let view = reach(&server.client(), run, StateKind::Failed).await;
    assert_eq!(view.failure.unwrap().code, "run.timeout");
    assert!(view.updated_at.since(view.started_at) >= 2_500, "it was given up early");
    assert_eq!(mails.lines().len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_is_kept_over_a_kill() {
    let (directory, mails) = (tempfile::tempdir().unwrap(), Ledger::start().await);
    let server = ServerProcess::start(directory.path());
    upload(&server.client(), &["onboarding"]).await;
    let run = start(&server.client(), "user-onboarding", &signup(86_400_000, &mails)).await;
    reach(&server.client(), run, StateKind::Sleeping).await;
    server.client().cancel(run, &everstep_client::CancelBody::default()).await.unwrap();
    server.kill();

    let server = ServerProcess::start(directory.path());
    reach(&server.client(), run, StateKind::Cancelled).await;
    assert_eq!(mails.lines().len(), 1, "a cancelled run does nothing more");
}
