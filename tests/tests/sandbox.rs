//! What a workflow sees is the same wherever it runs, and what it must not do ends in a documented
//! code without harm to others. The guest is the example `sandbox-probe`.
#![allow(clippy::unwrap_used)]

use everstep_client::{Client, RunView, StartBody, StateKind};
use everstep_core::JournalEvent;
use everstep_tests::{ServerProcess, body, completed, journal, reach, start, upload};
use serde_json::{Value, json};

const PROBE: &str = "sandbox-probe";

/// What a probe saw, and what it asked for: kind, name and hash of the input.
async fn observe(data: &std::path::Path) -> (Value, Vec<String>) {
    let server = ServerProcess::start(data);
    let client = server.client();
    upload(&client, &["sandbox-probe"]).await;
    let key = Some("the same everywhere".to_owned());
    let body = StartBody { idempotency_key: key, ..body(PROBE, &json!({ "deed": "observe" })) };
    let run = client.start(&body).await.unwrap().id;
    let seen = completed(&client, run).await;
    let commands =
        journal(&client, run).await.into_iter().filter_map(|view| match view.entry.event {
            JournalEvent::TaskScheduled { op, name, input_hash, .. } => {
                Some(format!("{op} task {name} {input_hash}"))
            }
            JournalEvent::TimerStarted { op, name, .. } => Some(format!("{op} timer {name}")),
            JournalEvent::RunCompleted { .. } => Some("complete".to_owned()),
            _ => None,
        });
    let commands = commands.collect();
    // It has opened its standard streams, so it has no snapshots, and says why.
    let id = run.to_string();
    let through = server.cli().run(&["runs", "replay", &id, "--through-snapshots"]);
    assert_eq!(through.code, 1);
    assert!(through.stderr.contains("snapshot.none"), "{}", through.stderr);
    assert!(through.stderr.contains("open handles"), "{}", through.stderr);
    assert_eq!(server.terminate(), Some(0));
    (seen, commands)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_show_a_run_the_same_world() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (mut first, commands) = observe(directories[0].path()).await;
    let (mut second, others) = observe(directories[1].path()).await;
    assert_eq!(commands, others);
    assert_eq!(commands.len(), 3, "{commands:?}");

    for seen in [&mut first, &mut second] {
        assert_eq!(seen["now"], seen["system_time"], "the two clocks are one");
        let moved = |clock: &str| seen[clock].as_u64().unwrap();
        // One is read behind the sleep of 50 ms, the other behind the task that follows, too.
        assert!(moved("instant_moved_ms") >= 50, "{seen}");
        assert!(moved("now_moved_ms") >= moved("instant_moved_ms"), "{seen}");
        assert_eq!(seen["refused"].as_array().unwrap().len(), 1, "a file was opened");
        // The time of day is the one thing that differs between two executions.
        for time in ["now", "system_time", "instant_moved_ms", "now_moved_ms"] {
            seen.as_object_mut().unwrap().remove(time);
        }
    }
    assert_eq!(first, second);
}

async fn deed(client: &Client, deed: &str) -> everstep_client::RunId {
    start(client, PROBE, &json!({ "deed": deed })).await
}

fn stuck(view: RunView) -> (String, String) {
    let cause = view.stuck.unwrap();
    assert!(!cause.remedy.is_empty(), "{cause:?}");
    (cause.code, cause.message)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_evil_deed_has_its_code_and_harms_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let client = server.client();
    upload(&client, &["sandbox-probe", "bench"]).await;
    let deeds = [
        ("trap", "guest.trap"),
        ("loop", "guest.fuel"),
        ("memory", "limit.memory"),
        ("block", "guest.blocking"),
        // A part of the stack lies in the guest's memory. Which part ends first is up to its frames.
        ("recursion", "guest.stack or guest.trap"),
        ("http", "guest.unavailable"),
    ];
    let mut runs = Vec::new();
    let mut others = Vec::new();
    for (name, _) in deeds {
        runs.push(deed(&client, name).await);
        others.push(start(&client, "bench-steps", &json!({ "steps": 10 })).await);
    }
    for other in others {
        assert_eq!(completed(&client, other).await, json!(10), "others go on");
    }
    for ((name, expected), run) in deeds.into_iter().zip(&runs) {
        let (code, message) = stuck(reach(&client, *run, StateKind::Stuck).await);
        assert!(expected.split(" or ").any(|known| known == code), "{name}: {code}: {message}");
        match name {
            "trap" => {
                assert!(message.contains("this workflow panics on purpose"), "{message}");
                assert!(message.contains("sandbox_probe"), "no backtrace: {message}");
            }
            "loop" => assert!(message.contains("sandbox_probe"), "no backtrace: {message}"),
            "recursion" => assert!(message.contains("descend"), "no backtrace: {message}"),
            "http" => assert!(message.contains("task"), "no way out: {message}"),
            _ => {}
        }
    }
    // A stuck run may be given up.
    client.cancel(runs[0], &everstep_client::CancelBody::default()).await.unwrap();
    reach(&client, runs[0], StateKind::Cancelled).await;
    assert_eq!(server.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_has_no_files() {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(directory.path());
    let client = server.client();
    upload(&client, &["sandbox-probe"]).await;
    let run = deed(&client, "file").await;
    let failure = reach(&client, run, StateKind::Failed).await.failure.unwrap();
    assert!(!failure.message.contains("root:"), "{failure:?}");
}
