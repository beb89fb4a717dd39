//! Snapshots with the real program: runs with a long past go on after a kill in the time that their last
//! steps take, and whatever is wrong with a snapshot, the run goes on from its journal.
#![allow(clippy::unwrap_used)]

use everstep_client::{
    Client, EventBody, ResumeView, ResumedBy, RunId, RunView, StateKind, UploadOptions,
};
use everstep_tests::{ServerProcess, completed, guest, journal, reach, serve, start};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Enough that a snapshot pays.
const STEPS: u64 = 1_500;
/// Snapshots wherever they pay at all.
const EAGER: [&str; 2] = ["--snapshot-share", "1"];

/// Starts a run of so many steps that waits then.
async fn waiting(client: &Client, steps: u64) -> RunId {
    let run = start(client, "bench-waits", &json!({ "steps": steps })).await;
    reach(client, run, StateKind::AwaitingEvent).await;
    run
}

/// Ends the wait and tells how the run came into memory for that.
async fn resumed(client: &Client, run: RunId) -> ResumeView {
    let never = EventBody { name: "never".into(), data: None, reference: None };
    client.send_event(run, &never).await.unwrap();
    let _ = completed(client, run).await;
    client.run(run).await.unwrap().resumed.unwrap()
}

/// Where the embedded store keeps the snapshot of a run.
fn file(data: &Path, run: RunId) -> PathBuf {
    let folders = std::fs::read_dir(data.join("snapshots")).unwrap();
    let name = format!("{run}.snapshot");
    folders.map(|folder| folder.unwrap().path().join(&name)).find(|path| path.exists()).unwrap()
}

async fn kept(data: &Path, run: RunId) -> PathBuf {
    for _ in 0..500 {
        if data.join("snapshots").exists()
            && let Ok(path) = std::panic::catch_unwind(|| file(data, run))
        {
            return path;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("no snapshot of {run} was taken")
}

async fn refused(server: &ServerProcess) -> u64 {
    server.metric("everstep_snapshots_refused_total").await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_with_a_long_past_goes_on_from_its_snapshot_after_a_kill() {
    let (server, folder) = serve(&["bench"], &[]).await;
    let data = folder.path().join("data");
    let client = server.client();
    let resting = waiting(&client, STEPS).await;
    kept(&data, resting).await;
    // Another is in the middle of its work.
    let busy = start(&client, "bench-steps", &json!({ "steps": 2 * STEPS })).await;
    kept(&data, busy).await;
    server.kill();

    let server = ServerProcess::start(&data);
    let client = server.client();
    let length = client.run(resting).await.unwrap().journal_length;
    let view = resumed(&client, resting).await;
    assert_eq!(view.by, ResumedBy::Snapshot);
    assert!(view.entries < length / 2, "{view:?} of {length} entries");
    assert_eq!(completed(&client, busy).await, json!(2 * STEPS));
    let busy: RunView = client.run(busy).await.unwrap();
    assert_eq!(busy.resumed.unwrap().by, ResumedBy::Snapshot);
    let shown = server.cli().done(&["runs", "show", &resting.to_string()]);
    assert!(shown.contains("resumed") && shown.contains("snapshot"), "{shown}");
    // They go with their runs, and what was decided on one stands in the journal like everything else.
    for run in [resting, busy.id] {
        let gone = std::panic::catch_unwind(|| file(&data, run)).is_err();
        assert!(gone, "the snapshot of {run} is still there");
        let _ = server.cli().done(&["runs", "replay", &run.to_string()]);
    }
    assert_eq!(refused(&server).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_not_what_it_should_be_is_refused_and_the_journal_replayed() {
    let (server, folder) = serve(&["bench"], &[]).await;
    let data = folder.path().join("data");
    let client = server.client();
    let mut runs = Vec::new();
    for _ in 0..6 {
        runs.push(start(&client, "bench-waits", &json!({ "steps": STEPS })).await);
    }
    let mut files = Vec::new();
    for run in &runs {
        reach(&client, *run, StateKind::AwaitingEvent).await;
        files.push(kept(&data, *run).await);
    }
    server.kill();

    let whole: Vec<_> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    let write = |run: usize, bytes: &[u8]| std::fs::write(&files[run], bytes).unwrap();
    write(0, &whole[0][..whole[0].len() / 2]);
    let mut flipped = whole[1].clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    write(1, &flipped);
    // Of another run.
    write(2, &whole[3]);
    write(3, b"");
    std::fs::remove_file(&files[4]).unwrap();

    let server = ServerProcess::start(&data);
    let client = server.client();
    for run in &runs[..5] {
        assert_eq!(resumed(&client, *run).await.by, ResumedBy::Replay);
    }
    // One that is missing was not refused.
    assert_eq!(refused(&server).await, 4);
    assert_eq!(resumed(&client, runs[5]).await.by, ResumedBy::Snapshot);
}

/// An older snapshot of the same attempt is no mistake: there is more behind it in the journal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_snapshot_serves_with_a_longer_tail() {
    let (server, folder) = serve(&["bench"], &EAGER).await;
    let data = folder.path().join("data");
    let run = start(&server.client(), "bench-waits", &json!({ "steps": STEPS })).await;
    let early = kept(&data, run).await;
    let older = std::fs::read(&early).unwrap();
    reach(&server.client(), run, StateKind::AwaitingEvent).await;
    let newest = std::fs::read(&early).unwrap();
    server.kill();
    assert_ne!(older, newest, "there was only one");
    std::fs::write(&early, older).unwrap();
    let server = ServerProcess::start(&data);
    let view = resumed(&server.client(), run).await;
    assert_eq!(view.by, ResumedBy::Snapshot);
    assert!(view.entries > STEPS / 4, "{view:?}");
    assert_eq!(refused(&server).await, 0);
}

/// A store that is put back to what it was, and goes on from there, gets another journal of the same
/// length. What was taken of the first one means nothing to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_another_past_is_refused() {
    const NONE: [&str; 2] = ["--snapshot-share", "0"];
    let (server, folder) = serve(&["bench"], &EAGER).await;
    let data = folder.path().join("data");
    let run = start(&server.client(), "bench-waits", &json!({ "steps": STEPS })).await;
    let snapshot = kept(&data, run).await;
    server.kill();
    let backup = folder.path().join("backup");
    let copied = Command::new("cp").arg("-r").args([&data, &backup]).status().unwrap();
    assert!(copied.success());

    let server = ServerProcess::start_on(&data, "127.0.0.1:0", &EAGER);
    let length = reach(&server.client(), run, StateKind::AwaitingEvent).await.journal_length;
    // The first server may have come as far as the second one: only a snapshot of its own will do.
    let image = std::fs::read(&snapshot).unwrap();
    server.kill();
    let there = backup.join(snapshot.strip_prefix(&data).unwrap());
    let server = ServerProcess::start_on(&backup, "127.0.0.1:0", &NONE);
    let view = reach(&server.client(), run, StateKind::AwaitingEvent).await;
    assert_eq!(view.journal_length, length);
    server.kill();
    assert_ne!(std::fs::read(&there).unwrap(), image, "the run had come to its end before");
    std::fs::write(&there, image).unwrap();

    let server = ServerProcess::start_on(&backup, "127.0.0.1:0", &NONE);
    assert_eq!(resumed(&server.client(), run).await.by, ResumedBy::Replay);
    assert_eq!(refused(&server).await, 1);
}

/// New code gets a guest of its own: the memory of the old one means nothing to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upgrade_does_not_go_through_a_snapshot() {
    let (server, folder) = serve(&["bench"], &[]).await;
    let data = folder.path().join("data");
    let client = server.client();
    let run = waiting(&client, STEPS).await;
    kept(&data, run).await;
    // A custom section changes the digest and nothing else.
    let other = [std::fs::read(guest("bench")).unwrap(), vec![0, 3, 2, b'v', b'2']].concat();
    let options = UploadOptions { replace: true, ..UploadOptions::default() };
    let uploaded = client.upload_observed(other, options, |_| {}, |_| {}).await.unwrap();
    assert_eq!(uploaded.upgrade.unwrap().moved, 1);
    server.kill();
    let server = ServerProcess::start(&data);
    let client = server.client();
    assert_eq!(resumed(&client, run).await.by, ResumedBy::Replay);
    let names: Vec<_> =
        journal(&client, run).await.iter().map(|view| view.entry.event.name()).collect();
    assert!(names.contains(&"RunUpgraded"), "{names:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_share_of_the_time_no_snapshots_are_taken() {
    let (server, folder) = serve(&["bench"], &["--snapshot-share", "0"]).await;
    let data = folder.path().join("data");
    let run = waiting(&server.client(), STEPS).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.kill();
    let server = ServerProcess::start(&data);
    assert_eq!(resumed(&server.client(), run).await.by, ResumedBy::Replay);
    assert!(
        !data.join("snapshots").exists()
            || std::fs::read_dir(data.join("snapshots")).unwrap().count() == 0
    );
}
