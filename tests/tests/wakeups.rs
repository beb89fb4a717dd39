//! Nothing that a run waits for gets lost: results that arrive in heaps, retries that come due at
//! any moment, a cancel while every slot of the host is taken, a guest that hogs the processor.
#![allow(clippy::unwrap_used)]

use everstep_client::{CancelBody, RunId, StateKind};
use everstep_tests::{Ledger, ServerProcess, completed, journal, reach, start, upload};
use serde_json::json;
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_that_arrive_in_heaps_are_all_delivered() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let client = server.client();
    upload(&client, &["fan-out"]).await;
    for tasks in [257_u64, 600, 5_000] {
        let run = start(&client, "fan-out", &json!({ "tasks": tasks })).await;
        let sum = tasks * (tasks + 1) * (2 * tasks + 1) / 6;
        assert_eq!(completed(&client, run).await, json!({ "tasks": tasks, "sum": sum }));
    }
}

/// Retries every 20 ms come due between any two lines of the host's code sooner or later.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retries_go_on_whenever_they_come_due() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let client = server.client();
    upload(&client, &["crash"]).await;
    // Nobody listens on port 1, so every attempt fails.
    let input = json!({ "steps": 1, "sleep_ms": 1, "ledger": "http://127.0.0.1:1/" });
    let mut runs: Vec<RunId> = Vec::new();
    for _ in 0..30 {
        runs.push(start(&client, "crash", &input).await);
    }
    let begun = Instant::now();
    for run in &runs {
        while client.run(*run).await.unwrap().journal_length < 20 {
            assert!(begun.elapsed() < Duration::from_secs(60), "{run} is not tried again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        client.cancel(*run, &CancelBody::default()).await.unwrap();
    }
    for run in &runs {
        reach(&client, *run, StateKind::Cancelled).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_is_heard_while_every_slot_is_taken() {
    let ledger = Ledger::start().await;
    ledger.hold(true);
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start_on(directory.path(), "127.0.0.1:0", &["--concurrency", "1"]);
    let client = server.client();
    upload(&client, &["crash"]).await;
    let input = json!({ "steps": 1, "sleep_ms": 1, "ledger": ledger.url() });
    let run = start(&client, "crash", &input).await;
    ledger.has(1).await;
    client.cancel(run, &CancelBody::default()).await.unwrap();
    reach(&client, run, StateKind::Cancelled).await;
    let attempts = journal(&client, run).await;
    assert!(!attempts.iter().any(|view| view.entry.event.name() == "TaskAttemptFailed"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guests_that_loop_are_stopped_once_each_and_others_go_on() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let client = server.client();
    upload(&client, &["sandbox-probe", "bench"]).await;
    let mut loops = Vec::new();
    for _ in 0..6 {
        loops.push(start(&client, "sandbox-probe", &json!({ "deed": "loop" })).await);
    }
    let other = start(&client, "bench-steps", &json!({ "steps": 3 })).await;
    completed(&client, other).await;
    for run in loops {
        let view = reach(&client, run, StateKind::Stuck).await;
        assert_eq!(view.stuck.unwrap().code, "guest.fuel");
    }
}
