//! Audits and self-checks with the real program: what activations leave of a guest is recorded, whatever
//! rebuilds the run must leave the same, and finished runs are executed again and compared.
#![allow(clippy::unwrap_used)]

use everstep_client::{Client, EntryView, EventBody, Payload, StateKind, UploadOptions};
use everstep_core::JournalEvent;
use everstep_tests::{ServerProcess, completed, guest, journal, reach, serve, start};
use serde_json::json;
use std::time::Duration;

const AUDIT: [&str; 3] = ["--audit", "--self-check", "50ms"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_guest_leaves_is_recorded_and_compared_by_whoever_rebuilds_it() {
    let (server, folder) = serve(&["pipeline"], &AUDIT).await;
    let input = json!({"rows": 4, "sleep_ms": 1, "approval_ms": 60_000});
    let run = start(&server.client(), "pipeline", &input).await;
    reach(&server.client(), run, StateKind::AwaitingEvent).await;
    // The next server replays what was recorded, and compares.
    server.kill();
    let server = ServerProcess::start_on(&folder.path().join("data"), "127.0.0.1:0", &AUDIT);
    let client = server.client();
    let data = Payload::from_value(&json!({"by": "Ada", "granted": true})).unwrap();
    let approval = EventBody { name: "approval".into(), data: Some(data), reference: None };
    client.send_event(run, &approval).await.unwrap();
    completed(&client, run).await;

    let entries = journal(&client, run).await;
    let hashes: Vec<_> = entries
        .iter()
        .filter_map(|it| match &it.entry.event {
            JournalEvent::StateHashed { hash, .. } => Some(hash.unwrap().to_string()),
            _ => None,
        })
        .collect();
    let steps = entries.iter().filter(|it| it.entry.event.begins_step()).count();
    assert!(steps > 3 && hashes.len() == steps, "{} hashes, {steps} steps", hashes.len());
    let distinct: std::collections::BTreeSet<_> = hashes.iter().collect();
    assert!(distinct.len() > 1, "{hashes:?}");

    while server.metric("everstep_self_checks_total").await < 3 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(server.metric("everstep_self_check_failures_total").await, 0);

    // A replay elsewhere compares, too: the file with another hash does not pass.
    let (cli, file) = (server.cli(), folder.path().join("run.jsonl"));
    let path = file.to_str().unwrap();
    let _ = cli.done(&["runs", "export", &run.to_string(), "--out", path]);
    let module = guest("pipeline");
    let replay = ["runs", "replay", path, "--module", module.to_str().unwrap()];
    let _ = cli.done(&replay);
    let text = std::fs::read_to_string(&file).unwrap();
    let forged = hashes[0].clone();
    assert_ne!(forged, hashes[1]);
    std::fs::write(&file, text.replacen(&hashes[1], &forged, 1)).unwrap();
    let said = cli.run(&replay);
    assert_eq!(said.code, 5, "{said:?}");
    assert!(said.stderr.contains("memory: "), "{said:?}");
    assert!(said.stderr.contains(&forged), "{said:?}");
}

/// A guest that computed a side value is not in memory what one is that was given it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn side_values_are_no_divergence() {
    let (server, folder) = serve(&["golden-first"], &AUDIT).await;
    let run = start(&server.client(), "events", &json!(null)).await;
    reach(&server.client(), run, StateKind::Sleeping).await;
    server.client().wake(run).await.unwrap();
    let tell = |client: Client, number: u64| async move {
        reach(&client, run, StateKind::AwaitingEvent).await;
        let data = Some(Payload::from_value(&json!(number)).unwrap());
        let event = EventBody { name: "told".into(), data, reference: None };
        client.send_event(run, &event).await.unwrap();
    };
    tell(server.client(), 1).await;
    let seen = |view: &EntryView| matches!(view.entry.event, JournalEvent::ValueRecorded { .. });
    while !journal(&server.client(), run).await.iter().any(seen) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    server.kill();
    let server = ServerProcess::start_on(&folder.path().join("data"), "127.0.0.1:0", &AUDIT);
    tell(server.client(), 2).await;
    completed(&server.client(), run).await;
    let _ = server.cli().done(&["runs", "replay", &run.to_string()]);
}

/// Another module leaves other memory, and that is no divergence; nor is a fork, which is told other
/// things.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audited_runs_are_upgraded_and_forked() {
    let (server, _folder) = serve(&["upgrades-first"], &AUDIT).await;
    let client = server.client();
    let run = start(&client, "order", &json!(7)).await;
    reach(&client, run, StateKind::AwaitingEvent).await;
    let fixed = std::fs::read(guest("upgrades-fixed")).unwrap();
    let options = UploadOptions { replace: true, ..UploadOptions::default() };
    client.upload_observed(fixed, options, |_| {}, |_| {}).await.unwrap();
    let paid = EventBody { name: "paid".into(), data: None, reference: None };
    client.send_event(run, &paid).await.unwrap();
    completed(&client, run).await;
    let entries = journal(&client, run).await;
    let modules: std::collections::BTreeSet<_> = entries
        .iter()
        .filter_map(|it| match &it.entry.event {
            JournalEvent::StateHashed { module, .. } => Some(module.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(modules.len(), 2, "{modules:?}");
    let at = entries.iter().position(|it| it.entry.event.name() == "EventAwaited").unwrap();
    let at = at.to_string();
    let _ = server.cli().done(&["runs", "fork", &run.to_string(), "--at", &at]);
    let _ = server.cli().done(&["runs", "replay", &run.to_string()]);
}
