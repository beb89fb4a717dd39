//! Several servers on one Redis, as real processes: each takes care of some of the runs, any of them can
//! be asked anything, and none of them is missed.
#![allow(clippy::unwrap_used)]

use everstep_client::{Client, EventBody, RunId, StateKind};
use everstep_tests::{
    HostProcess, Ledger, RedisProcess, ServerProcess, completed, reach, start, upload,
};
use futures::future::join_all;
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// Those of a namespace that does not say otherwise.
const SHARDS: u64 = 64;
/// A look into the servers, now and then.
const LOOK: Duration = Duration::from_millis(100);

fn server(redis: &RedisProcess, folder: &Path, name: &str, more: &[&str]) -> ServerProcess {
    let data = folder.join(name);
    let mut arguments = vec!["--data", data.to_str().unwrap(), "--lease", "3s"];
    arguments.extend(["--heartbeat", "500ms"].iter().chain(more));
    ServerProcess::start_on(Path::new(&redis.url()), "127.0.0.1:0", &arguments)
}

fn never() -> EventBody {
    EventBody { name: "never".into(), data: None, reference: None }
}

/// Waits until every server owns at least one shard, and all of them own all.
async fn shared(servers: &[&ServerProcess]) -> Vec<u64> {
    loop {
        let owned = servers.iter().map(|server| server.metric("everstep_shards_owned"));
        let owned: Vec<u64> = join_all(owned).await;
        let (least, most) = (owned.iter().min().unwrap(), owned.iter().max().unwrap());
        if most - least <= 1 && owned.iter().sum::<u64>() == SHARDS {
            return owned;
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A run that waits for an event.
async fn begun(client: &Client, steps: u64) -> RunId {
    let run = start(client, "bench-waits", &json!({ "steps": steps })).await;
    reach(client, run, StateKind::AwaitingEvent).await;
    run
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_server_answers_for_all() {
    let (redis, folder) = (RedisProcess::start(), tempfile::tempdir().unwrap());
    let one = server(&redis, folder.path(), "one", &[]);
    let two = server(&redis, folder.path(), "two", &[]);
    let three = server(&redis, folder.path(), "three", &[]);
    let owned = shared(&[&one, &two, &three]).await;
    assert!(owned.iter().all(|shards| *shards >= 21), "{owned:?}");
    let clients = [one.client(), two.client(), three.client()];

    // What is uploaded to one is known to all; runs that one started are advanced by their owner.
    upload(&clients[0], &["bench"]).await;
    let mut runs = Vec::new();
    for n in 0..24 {
        runs.push(begun(&clients[n % 3], 3).await);
    }
    let each = [&one, &two, &three].map(|server| server.metric("everstep_runs_started_total"));
    assert_eq!(join_all(each).await, [8, 8, 8]);

    // An event that is given to one server wakes the run wherever it is; a wait at a third one hears it.
    let ends = runs.iter().enumerate().map(|(n, run)| {
        let (waits, sends) = (clients[(n + 2) % 3].clone(), clients[(n + 1) % 3].clone());
        async move {
            let run = *run;
            let wait = tokio::spawn(async move { completed(&waits, run).await });
            sends.send_event(run, &never()).await.unwrap();
            wait.await.unwrap()
        }
    });
    for end in join_all(ends.map(Box::pin)).await {
        assert_eq!(end, json!(3));
    }
    for client in &clients {
        assert_eq!(client.hosts().await.unwrap().hosts.len(), 3, "those of all servers");
    }

    // A schedule that is made anywhere fires, once.
    let every = json!({ "reference": "often", "spec": { "every": { "interval_ms": 1_000 } },
        "start": { "workflow": "bench-steps", "input": { "steps": 1 } } });
    let made: Value = reqwest::Client::new()
        .post(format!("{}/v1/schedules", two.url()))
        .json(&every)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let id = made["schedule"]["id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    loop {
        let url = format!("{}/v1/schedules/{id}", three.url());
        let seen: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        if seen["fired"].as_u64().is_some_and(|fired| fired >= 3) {
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    for server in [one, two, three] {
        assert_eq!(server.terminate(), Some(0));
    }
}

/// Runs with tasks and sleeps under three servers of which one is killed, one is stopped for longer than
/// its claims last, and one ends well. Hosts of their own are connected to all of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_go_on_when_servers_come_and_go() {
    let (redis, folder) = (RedisProcess::start(), tempfile::tempdir().unwrap());
    let ledger = Ledger::start().await;
    let one = server(&redis, folder.path(), "one", &["--no-host"]);
    let two = server(&redis, folder.path(), "two", &["--no-host"]);
    let three = server(&redis, folder.path(), "three", &["--no-host"]);
    shared(&[&one, &two, &three]).await;
    let urls = [&one, &two, &three].map(ServerProcess::url).join(",");
    let _hosts =
        ["a", "b"].map(|name| HostProcess::start(&urls, &folder.path().join(name), name, &[]));
    let client = three.client();
    upload(&client, &["crash"]).await;
    let input = json!({ "steps": 4, "sleep_ms": 3_000, "ledger": ledger.url() });
    let mut runs = Vec::new();
    for n in 0..30 {
        let at = [&one, &two, &three][n % 3].client();
        runs.push(start(&at, "crash", &input).await);
    }
    one.kill();
    tokio::time::sleep(Duration::from_secs(1)).await;
    two.signal(Signal::STOP);
    tokio::time::sleep(Duration::from_secs(5)).await;
    two.signal(Signal::CONT);
    shared(&[&two, &three]).await;
    ledger.check(&client, &runs).await;

    // The ones that are left, and one that comes: then one goes as it should.
    let four = server(&redis, folder.path(), "four", &[]);
    shared(&[&two, &three, &four]).await;
    let more = start(&four.client(), "crash", &input).await;
    assert_eq!(two.terminate(), Some(0));
    ledger.check(&client, &[more]).await;
    shared(&[&three, &four]).await;
}
