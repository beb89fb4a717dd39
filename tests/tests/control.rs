//! What people and tasks can do to runs that are under way: pause, wake, terminate, retry by hand,
//! undo, limits, heartbeats, secrets.
#![allow(clippy::unwrap_used)]

use everstep_client::{
    CancelBody, Client, EventBody, Payload, ReasonBody, RetryBody, RunId, StateKind,
    TaskOutcomeBody,
};
use everstep_core::JournalEvent;
use everstep_tests::{ServerProcess, completed, journal, reach, serve, start, through_snapshots};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// The names of the tasks that a run asked for, in order.
async fn tasks(client: &Client, run: RunId) -> Vec<String> {
    let task = |event: &JournalEvent| match event {
        JournalEvent::TaskScheduled { name, input, .. } => Some(format!("{name} {input}")),
        _ => None,
    };
    journal(client, run).await.iter().filter_map(|view| task(&view.entry.event)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_done_is_undone_in_reverse_when_the_work_fails() {
    let (server, _directory) = serve(&["travel"], &[]).await;
    let client = server.client();
    let run = start(&client, "travel", &json!({ "card": "empty" })).await;
    let failed = reach(&client, run, StateKind::Failed).await;
    assert_eq!(failed.failure.unwrap().code, "card.empty");
    assert_eq!(
        tasks(&client, run).await,
        [
            "book \"flight\"",
            "book \"hotel\"",
            "charge \"empty\"",
            "unbook \"hotel-1\"",
            "unbook \"flight-1\""
        ]
    );
    let run = start(&client, "travel", &json!({ "card": "good" })).await;
    assert_eq!(completed(&client, run).await, json!(["flight-1", "hotel-1"]));
    assert_eq!(tasks(&client, run).await.len(), 3);
    through_snapshots(&server.cli());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_gives_time_to_undo_and_a_termination_does_not() {
    let (server, _directory) = serve(&["travel"], &[]).await;
    let client = server.client();
    let input = json!({ "card": "good", "think_ms": 60_000 });
    let run = start(&client, "travel", &input).await;
    reach(&client, run, StateKind::Sleeping).await;
    let body = CancelBody { reason: Some("changed my mind".into()), grace_ms: Some(20_000) };
    client.cancel(run, &body).await.unwrap();
    let cancelled = reach(&client, run, StateKind::Cancelled).await;
    assert_eq!(cancelled.cancel_reason.as_deref(), Some("changed my mind"));
    let asked = tasks(&client, run).await;
    assert_eq!(asked[2..], ["unbook \"hotel-1\"", "unbook \"flight-1\""]);

    let run = start(&client, "travel", &input).await;
    reach(&client, run, StateKind::Sleeping).await;
    let gone = client.terminate(run, &ReasonBody { reason: Some("now".into()) }).await.unwrap();
    assert_eq!(gone.state, StateKind::Cancelled);
    assert_eq!(tasks(&client, run).await.len(), 2);
    let again = client.terminate(run, &ReasonBody::default()).await.unwrap();
    assert_eq!(again.state, StateKind::Cancelled, "asking again changes nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sleep_is_ended_early_by_an_operator() {
    let (server, _directory) = serve(&["travel"], &[]).await;
    let client = server.client();
    let input = json!({ "card": "good", "think_ms": 86_400_000 });
    let run = start(&client, "travel", &input).await;
    reach(&client, run, StateKind::Sleeping).await;
    client.wake(run).await.unwrap();
    assert_eq!(completed(&client, run).await, json!(["flight-1", "hotel-1"]));
    let late = client.wake(run).await.unwrap_err();
    assert_eq!(late.code(), "run.illegal_transition");
}

/// A task that is under way ends and its result is kept; the next one does not begin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_run_stands_still_until_it_is_resumed() {
    let (server, directory) = serve(&["toil", "travel"], &[]).await;
    let client = server.client();
    let run = start(&client, "toil", &json!({ "counts": [20], "singles": 1 })).await;
    while client.run(run).await.unwrap().operations.is_none_or(|all| all.is_empty()) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let reason = ReasonBody { reason: Some("maintenance".into()) };
    let paused = client.pause(run, &reason).await.unwrap();
    assert_eq!((paused.state, paused.paused.as_deref()), (StateKind::Paused, Some("maintenance")));
    client.pause(run, &ReasonBody::default()).await.unwrap();
    let ended = |view: &everstep_client::EntryView| view.entry.event.name() == "TaskCompleted";
    let begun = Instant::now();
    while !journal(&client, run).await.iter().any(ended) {
        assert!(begun.elapsed() < Duration::from_secs(30), "the task goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(client.run(run).await.unwrap().state, StateKind::Paused);
    assert_eq!(tasks(&client, run).await.len(), 1, "nothing new begins");
    // It stays paused over a restart.
    let address = server.address().to_owned();
    server.kill();
    let server = ServerProcess::start_on(&directory.path().join("data"), &address, &[]);
    assert_eq!(client.run(run).await.unwrap().state, StateKind::Paused);
    client.resume(run).await.unwrap();
    assert_eq!(completed(&client, run).await["counted"], json!([20]));
    assert!(client.resume(run).await.is_err());

    // A sleep that is over while its run is paused waits, too; a cancel makes the run move.
    let run = start(&client, "travel", &json!({ "card": "good", "think_ms": 300 })).await;
    reach(&client, run, StateKind::Sleeping).await;
    client.pause(run, &ReasonBody::default()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(client.run(run).await.unwrap().state, StateKind::Paused);
    client.cancel(run, &CancelBody::default()).await.unwrap();
    reach(&client, run, StateKind::Cancelled).await;
    through_snapshots(&server.cli());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_run_is_tried_again_by_hand_and_keeps_what_it_had() {
    let (server, _directory) = serve(&["pipeline", "travel"], &[]).await;
    let client = server.client();
    let run = start(&client, "travel", &json!({ "card": "empty" })).await;
    reach(&client, run, StateKind::Failed).await;
    let wrong = RetryBody { outcomes: vec![TaskOutcomeBody { task: "book".into(), output: None }] };
    let refused = client.retry(run, &wrong).await.unwrap_err();
    assert_eq!(refused.code(), "retry.task_not_failed", "{refused}");
    let before = tasks(&client, run).await.len();
    let paid =
        RetryBody { outcomes: vec![TaskOutcomeBody { task: "charge".into(), output: None }] };
    client.retry(run, &paid).await.unwrap();
    assert_eq!(completed(&client, run).await, json!(["flight-1", "hotel-1"]));
    let started = |event: &JournalEvent| match event {
        JournalEvent::TaskScheduled { reuses, .. } => Some(reuses.is_some()),
        _ => None,
    };
    let again: Vec<_> =
        journal(&client, run).await.iter().filter_map(|view| started(&view.entry.event)).collect();
    assert_eq!(again[before..], [true, true, true], "all three are answered by the first attempt");
    assert_eq!(client.run(run).await.unwrap().attempt, 2);

    // An event that was received in the first attempt answers the second one.
    let input = json!({ "rows": 4, "sleep_ms": 1, "approval_ms": 60_000 });
    let run = start(&client, "pipeline", &input).await;
    let no = Payload::from_value(&json!({ "by": "Eve", "granted": false })).unwrap();
    let no = EventBody { name: "approval".into(), data: Some(no), reference: None };
    client.send_event(run, &no).await.unwrap();
    reach(&client, run, StateKind::Failed).await;
    client.retry(run, &RetryBody::default()).await.unwrap();
    let failed = reach(&client, run, StateKind::Failed).await;
    assert_eq!((failed.attempt, failed.failure.unwrap().code.as_str()), (2, "approval.denied"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_tells_how_far_it_is_and_hears_that_it_is_not_wanted() {
    let (server, _directory) = serve(&["toil"], &[]).await;
    let client = server.client();
    let input = json!({ "counts": [400], "patience_ms": 4_000 });
    let run = start(&client, "toil", &input).await;
    let begun = Instant::now();
    loop {
        let operations = client.run(run).await.unwrap().operations.unwrap_or_default();
        let progress = operations.iter().find_map(|operation| operation.progress.as_ref());
        if progress.is_some_and(|progress| progress.read::<u64>().unwrap() > 1) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(30), "{operations:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The workflow gives the task up; the task hears it, and its last words are not the run's.
    assert_eq!(completed(&client, run).await["counted"], json!([]));

    let run = start(&client, "toil", &json!({ "silent": true })).await;
    assert_eq!(completed(&client, run).await["silent"], json!(7));
    let failure = |event: &JournalEvent| match event {
        JournalEvent::TaskAttemptFailed { failure, .. } => Some(failure.code.clone()),
        _ => None,
    };
    let failures: Vec<_> =
        journal(&client, run).await.iter().filter_map(|view| failure(&view.entry.event)).collect();
    assert_eq!(failures, ["task.heartbeat"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_keep_to_their_limits_over_all_runs() {
    let (server, _directory) = serve(&["toil"], &[]).await;
    let client = server.client();
    let input = json!({ "singles": 4, "limited": 4 });
    let runs = [start(&client, "toil", &input).await, start(&client, "toil", &input).await];
    let (mut singles, mut limited) = (Vec::new(), Vec::new());
    for run in runs {
        let results = completed(&client, run).await;
        let read = |name: &str| -> Vec<Value> { results[name].as_array().unwrap().clone() };
        singles.extend(read("singles").iter().map(|it| (it[0].as_u64(), it[1].as_u64())));
        limited.extend(read("limited").iter().map(|it| it.as_u64().unwrap()));
    }
    singles.sort_unstable();
    assert!(singles.windows(2).all(|pair| pair[0].1 <= pair[1].0), "they overlap: {singles:?}");
    limited.sort_unstable();
    // Eight of which ten may begin in a second: the last one begins 0.7 s after the first.
    assert!(limited[7] - limited[0] >= 600, "{limited:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_is_given_to_the_task_that_asks_for_it_and_to_nobody_else() {
    let token = format!("{:032x}", rand::random::<u128>());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &token).unwrap();
    let secret = format!("TOIL_TOKEN=@{}", file.path().display());
    let (server, directory) = serve(&["toil"], &["--secret", &secret]).await;
    let client = server.client();
    let run = start(&client, "toil", &json!({ "secret": true })).await;
    assert_eq!(completed(&client, run).await["secret"], json!(32));
    drop(server);
    for file in walk(directory.path()) {
        let bytes = std::fs::read(&file).unwrap();
        let found = bytes.windows(token.len()).any(|window| window == token.as_bytes());
        assert!(!found, "{} has the secret", file.display());
    }
    let (server, _directory) = serve(&["toil"], &[]).await;
    let client = server.client();
    let run = start(&client, "toil", &json!({ "secret": true })).await;
    let failed = reach(&client, run, StateKind::Failed).await;
    assert_eq!(failed.failure.unwrap().code, "secret.missing");
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(walk(&path)),
            false => files.push(path),
        }
    }
    files
}
