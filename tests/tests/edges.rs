//! What other systems get wrong, each on a real server: identical calls, starts in one instant, a
//! cancel that races with the end, long lives.
#![allow(clippy::unwrap_used)]

use everstep_client::{CancelBody, StateKind, WaitOptions};
use everstep_core::{JournalEvent, OpId};
use everstep_tests::{ServerProcess, completed, journal, serve, start};
use futures::future::join_all;
use serde_json::json;
use std::collections::BTreeSet;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_identical_calls_are_two_executions_with_two_results() {
    let (server, _directory) = serve(&["toil"], &[]).await;
    let client = server.client();
    let run = start(&client, "toil", &json!({ "counts": [2, 2] })).await;
    assert_eq!(completed(&client, run).await["counted"], json!([2, 2]));
    let ended = |event: &JournalEvent| match event {
        JournalEvent::TaskCompleted { op, .. } => Some(*op),
        _ => None,
    };
    let ended: BTreeSet<OpId> =
        journal(&client, run).await.iter().filter_map(|view| ended(&view.entry.event)).collect();
    assert_eq!(ended, [OpId(1), OpId(2)].into());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_starts_in_one_instant_are_twenty_runs() {
    let (server, _directory) = serve(&["fan-out"], &[]).await;
    let client = server.client();
    let input = json!({ "tasks": 1 });
    let runs = join_all((0..20).map(|_| start(&client, "fan-out", &input))).await;
    let distinct: BTreeSet<String> = runs.iter().map(ToString::to_string).collect();
    assert_eq!(distinct.len(), 20);
    for run in runs {
        completed(&client, run).await;
    }
}

/// Whoever comes first wins, and the other one is told; no run ends twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_that_races_with_the_end_has_one_winner() {
    let (server, _directory) = serve(&["fan-out"], &[]).await;
    let client = server.client();
    let (mut completed, mut cancelled) = (0, 0);
    for round in 0..40_u64 {
        let run = start(&client, "fan-out", &json!({ "tasks": 1 })).await;
        tokio::time::sleep(std::time::Duration::from_micros(round * 250)).await;
        let asked = client.cancel(run, &CancelBody::default()).await;
        let end = client.wait(run, &WaitOptions::default()).await.unwrap().run;
        let ends = journal(&client, run)
            .await
            .iter()
            .filter(|view| {
                matches!(
                    view.entry.event,
                    JournalEvent::RunCompleted { .. }
                        | JournalEvent::RunFailed { .. }
                        | JournalEvent::RunCancelled { .. }
                )
            })
            .count();
        assert_eq!(ends, 1, "run {run}");
        match end.state {
            StateKind::Completed => completed += 1,
            StateKind::Cancelled => {
                assert!(asked.is_ok(), "nobody else asked");
                cancelled += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(completed + cancelled, 40);
}

/// Longer than any page, batch or cache on the way, and restarted in the middle.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_journal_is_rebuilt_after_a_kill() {
    let (server, directory) = serve(&["bench"], &[]).await;
    let address = server.address().to_owned();
    let client = server.client();
    let run = start(&client, "bench-steps", &json!({ "steps": 6_000 })).await;
    while client.run(run).await.unwrap().journal_length < 4_000 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    server.kill();
    let server = ServerProcess::start_on(&directory.path().join("data"), &address, &[]);
    completed(&server.client(), run).await;
    assert_eq!(journal(&server.client(), run).await.len(), 12_003);
}
