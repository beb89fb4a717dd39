//! A disk that is full: the server acknowledges nothing that it cannot keep, says so with a code, and
//! goes on with everything that it had acknowledged once there is room and it was started again.
#![allow(clippy::unwrap_used)]

use everstep_client::{Client, StateKind};
use everstep_tests::{ServerProcess, body, completed, reach, start, upload};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::json;
use std::path::Path;
use std::time::Duration;

/// Files may become this much larger than the largest one is.
const ROOM: u64 = 2 << 20;

/// The largest file below a folder.
fn largest(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let sizes = entries.map(|entry| match entry.file_type().unwrap().is_dir() {
        true => largest(&entry.path()),
        false => entry.metadata().unwrap().len(),
    });
    sizes.max().unwrap_or_default()
}

/// Lets writes of the process fail that make a file larger than this.
fn bound(server: &ServerProcess, bytes: u64) {
    let pid = Pid::from_raw(i32::try_from(server.pid()).unwrap()).unwrap();
    let limit = Rlimit { current: Some(bytes), maximum: None };
    prlimit(Some(pid), Resource::Fsize, limit).unwrap();
}

/// Starts runs until one is refused: those that were acknowledged, and the code of the refusal.
async fn fill(client: &Client) -> (Vec<everstep_client::RunId>, String) {
    let input = json!({ "said": ["x".repeat(200_000)] });
    let mut acknowledged = Vec::new();
    for _ in 0..1_000 {
        match client.start(&body("echo", &input)).await {
            Ok(started) => acknowledged.push(started.id),
            Err(error) => return (acknowledged, error.code().to_owned()),
        }
    }
    panic!("the disk never became full")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_outlives_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = ServerProcess::start(&data);
    let client = server.client();
    upload(&client, &["bench", "echo"]).await;
    let sleeper = start(&client, "bench-waits", &json!({ "steps": 3 })).await;
    reach(&client, sleeper, StateKind::AwaitingEvent).await;

    bound(&server, largest(&data) + ROOM);
    let (acknowledged, code) = fill(&client).await;
    assert_eq!(code, "store.unavailable");
    assert!(!acknowledged.is_empty(), "there was room for some");
    let again = client.start(&body("bench-waits", &json!({ "steps": 1 }))).await.unwrap_err();
    assert_eq!(again.code(), "store.unavailable", "nothing is written any more");
    let ready = reqwest::get(format!("{}/readyz", server.url())).await.unwrap();
    assert_eq!(ready.status(), 503, "a load balancer is told");
    server.signal(Signal::TERM);
    drop(server);

    // There is room again.
    let server = ServerProcess::start(&data);
    let client = server.client();
    for run in acknowledged {
        assert!(client.run(run).await.unwrap().journal_length > 0, "{run}");
    }
    let go = everstep_client::EventBody { name: "never".into(), data: None, reference: None };
    client.send_event(sleeper, &go).await.unwrap();
    let done = tokio::time::timeout(Duration::from_secs(60), completed(&client, sleeper)).await;
    done.expect("it goes on");
    assert_eq!(server.terminate(), Some(0));
}
