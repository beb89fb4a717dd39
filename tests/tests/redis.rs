//! A server on a real Redis: what it promises on a folder it promises there as well, and everything can be
//! moved from one kind of store to the other.
#![allow(clippy::unwrap_used)]

use everstep_client::{EventBody, StateKind};
use everstep_tests::{
    Cli, Ledger, RedisProcess, ServerProcess, completed, journal, reach, start, upload,
};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// A server on this Redis; its compiled modules are kept in a folder of that name.
fn server(redis: &RedisProcess, folder: &Path, name: &str) -> ServerProcess {
    let data = folder.join(name);
    ServerProcess::start_on(
        Path::new(&redis.url()),
        "127.0.0.1:0",
        &["--data", data.to_str().unwrap()],
    )
}

fn never() -> EventBody {
    EventBody { name: "never".into(), data: None, reference: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_survive_crashes_of_the_server_and_of_redis() {
    let (mut redis, folder) = (RedisProcess::start(), tempfile::tempdir().unwrap());
    let ledger = Ledger::start().await;
    let one = server(&redis, folder.path(), "one");
    upload(&one.client(), &["crash"]).await;
    let input = json!({ "steps": 4, "sleep_ms": 1_500, "ledger": ledger.url() });
    let mut runs = Vec::new();
    for _ in 0..20 {
        runs.push(start(&one.client(), "crash", &input).await);
    }
    one.kill();
    redis.crash();
    // Redis has the claim of the one that was killed, until it runs out.
    let two = server(&redis, folder.path(), "two");
    tokio::time::sleep(Duration::from_millis(500)).await;
    redis.crash();
    ledger.check(&two.client(), &runs).await;
    assert_eq!(two.terminate(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_moved_to_redis_and_back() {
    let (redis, folder) = (RedisProcess::start(), tempfile::tempdir().unwrap());
    let data = folder.path().join("data");
    let one = ServerProcess::start(&data);
    upload(&one.client(), &["bench"]).await;
    let done = start(&one.client(), "bench-steps", &json!({ "steps": 5 })).await;
    completed(&one.client(), done).await;
    let open = start(&one.client(), "bench-waits", &json!({ "steps": 5 })).await;
    reach(&one.client(), open, StateKind::AwaitingEvent).await;
    let before = journal(&one.client(), open).await;
    let cli = Cli::new(one.url());
    let (from, to) = (data.to_str().unwrap().to_owned(), redis.url());
    cli.run(&["store", "copy", "--from", &from, "--to", &to]).refused(1, "store.in_use");
    assert_eq!(one.terminate(), Some(0));

    let said: Value = cli.json(&["store", "copy", "--from", &from, "--to", &to]).remove(0);
    assert_eq!(
        (&said["runs"], &said["compared"], &said["modules"]),
        (&json!(2), &json!(2), &json!(1))
    );
    cli.run(&["store", "copy", "--from", &from, "--to", &to]).refused(1, "copy.not_empty");

    let two = server(&redis, folder.path(), "two");
    assert_eq!(journal(&two.client(), open).await, before);
    two.client().send_event(open, &never()).await.unwrap();
    assert_eq!(completed(&two.client(), open).await, json!(5));
    assert_eq!(two.terminate(), Some(0));

    let back = folder.path().join("back");
    let copied = cli.done(&["store", "copy", "--from", &to, "--to", back.to_str().unwrap()]);
    assert!(copied.contains("2 runs are the same"), "{copied}");
    let three = ServerProcess::start(&back);
    assert_eq!(completed(&three.client(), open).await, json!(5));
    assert_eq!(completed(&three.client(), done).await, json!(5));
}

#[test]
fn what_is_no_store_is_refused() {
    let cli = Cli::new("http://127.0.0.1:1");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    cli.run(&["store", "copy", "--from", path, "--to", "x"]).refused(2, "store.missing");
    cli.run(&["server", "--store", "postgres://x"]).refused(2, "store.unsupported");
    cli.run(&["server", "--store", "redis://"]).refused(2, "store.bad_url");
    let nobody = "redis://127.0.0.1:1?patience_ms=200&attempt_ms=100";
    cli.run(&["server", "--listen", "127.0.0.1:0", "--store", nobody])
        .refused(1, "store.unavailable");
}
