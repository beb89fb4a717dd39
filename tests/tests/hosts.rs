//! Hosts on other machines, as processes of their own: they share the work, and runs outlive them.
#![allow(clippy::unwrap_used)]

use everstep_client::{Client, EventBody, HostView, ResumedBy, RunId, StartBody, StateKind};
use everstep_tests::{
    Cli, HostProcess, Ledger, ServerProcess, body, completed, journal, reach, serve, start,
};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A server without a host of its own, which misses its hosts soon, but whose leases last for longer
/// than any test: whatever waits for one to end fails.
const SERVER: &[&str] = &["--no-host", "--heartbeat", "500ms", "--lease", "10m"];

async fn server(examples: &[&str]) -> (ServerProcess, TempDir) {
    serve(examples, SERVER).await
}

async fn host(client: &Client, name: &str) -> Option<HostView> {
    client.hosts().await.unwrap().hosts.into_iter().find(|host| host.name == name)
}

/// Waits until this holds of a host.
async fn until(client: &Client, name: &str, holds: impl Fn(Option<&HostView>) -> bool) {
    let begun = Instant::now();
    loop {
        let found = host(client, name).await;
        if holds(found.as_ref()) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{name}: {found:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn steps(ledger: &Ledger, steps: u32, sleep_ms: u64) -> Value {
    json!({ "steps": steps, "sleep_ms": sleep_ms, "ledger": ledger.url() })
}

async fn start_many(client: &Client, count: usize, workflow: &str, input: &Value) -> Vec<RunId> {
    let mut runs = Vec::new();
    for _ in 0..count {
        runs.push(start(client, workflow, input).await);
    }
    runs
}

/// Every run completed, with so many results that nobody changed.
async fn check(client: &Client, ledger: &Ledger, runs: &[RunId], steps: usize) {
    let counts = ledger.check(client, runs).await;
    assert!(counts.iter().all(|count| *count == steps), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hosts_share_a_hundred_runs_and_keep_what_they_know() {
    let ((server, folder), ledger) = (server(&["crash"]).await, Ledger::start().await);
    let client = server.client();
    let one = HostProcess::connected(server.url(), folder.path(), "one", &[]);
    let two = HostProcess::connected(server.url(), folder.path(), "two", &[]);
    let runs = start_many(&client, 100, "crash", &steps(&ledger, 3, 300)).await;
    check(&client, &ledger, &runs, 3).await;
    assert_eq!(ledger.lines().len(), 100 * 3 * 2, "each task was executed once");
    for name in ["one", "two"] {
        until(&client, name, |host| host.is_some_and(|host| host.leases == 0)).await;
        let said = host(&client, name).await.unwrap();
        assert!(said.connected && said.protocol == Some(1) && said.address.is_some(), "{said:?}");
    }
    drop((one, two));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_runs_of_a_killed_host_go_on_elsewhere_long_before_their_leases_end() {
    let ((server, folder), ledger) = (server(&["crash"]).await, Ledger::start().await);
    let client = server.client();
    let one = HostProcess::connected(server.url(), folder.path(), "one", &[]);
    ledger.hold(true);
    let runs = start_many(&client, 8, "crash", &steps(&ledger, 2, 100)).await;
    ledger.has(8).await;
    assert_eq!(host(&client, "one").await.unwrap().leases, 8);
    let two = HostProcess::connected(server.url(), folder.path(), "two", &[]);
    one.kill();
    ledger.has(16).await;
    assert_eq!(host(&client, "two").await.unwrap().leases, 8);
    ledger.hold(false);
    check(&client, &ledger, &runs, 2).await;
    drop(two);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_stood_still_can_write_nothing_and_goes_on_with_new_work() {
    let ((server, folder), ledger) = (server(&["crash"]).await, Ledger::start().await);
    let client = server.client();
    let one = HostProcess::connected(server.url(), folder.path(), "one", &[]);
    ledger.hold(true);
    let runs = start_many(&client, 5, "crash", &steps(&ledger, 2, 100)).await;
    ledger.has(5).await;
    one.pause();
    let two = HostProcess::connected(server.url(), folder.path(), "two", &[]);
    // The same tasks once more: the first host has lost its leases.
    ledger.has(10).await;
    ledger.hold(false);
    check(&client, &ledger, &runs, 2).await;
    let mut before = Vec::new();
    for run in &runs {
        before.push(journal(&client, *run).await);
    }
    // Its tasks have their answers now; whatever it makes of them is refused.
    one.go_on();
    one.next("lost");
    one.next("connected");
    until(&client, "one", |host| host.is_some_and(|host| host.connected)).await;
    two.kill();
    let input = steps(&ledger, 2, 100);
    let more = start_many(&client, 3, "crash", &input).await;
    check(&client, &ledger, &more, 2).await;
    check(&client, &ledger, &runs, 2).await;
    for (run, before) in runs.iter().zip(before) {
        assert_eq!(journal(&client, *run).await, before, "{run} was written to");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hosts_outlive_their_server() {
    let ((server, folder), ledger) = (server(&["crash"]).await, Ledger::start().await);
    let one = HostProcess::connected(server.url(), folder.path(), "one", &[]);
    let two = HostProcess::connected(server.url(), folder.path(), "two", &[]);
    let address = server.address().to_owned();
    let runs = start_many(&server.client(), 20, "crash", &steps(&ledger, 4, 200)).await;
    ledger.has(40).await;
    server.kill();
    let data = folder.path().join("data");
    let server = ServerProcess::start_on(&data, &address, SERVER);
    check(&server.client(), &ledger, &runs, 4).await;
    for host in [&one, &two] {
        host.next("lost");
        host.next("connected");
    }
    assert_eq!(server.terminate(), Some(0), "hosts do not keep a server from ending");
    one.next("lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_is_asked_to_stop_hands_everything_back_at_once() {
    let ((server, folder), ledger) = (server(&["crash"]).await, Ledger::start().await);
    let client = server.client();
    let drain = ["--drain-timeout", "300ms"];
    let one = HostProcess::connected(server.url(), folder.path(), "one", &drain);
    ledger.hold(true);
    let runs = start_many(&client, 5, "crash", &steps(&ledger, 2, 100)).await;
    ledger.has(5).await;
    one.ask_to_stop();
    // The tasks do not end in time, so they are begun again elsewhere. Leases last ten minutes.
    one.next("stopped");
    assert_eq!(one.ended(), Some(0));
    assert_eq!(host(&client, "one").await, None, "it said goodbye");
    let two =
        HostProcess::connected(server.url(), folder.path(), "two", &["--drain-timeout", "1m"]);
    ledger.has(10).await;
    // Now they end in time: their results are kept, and nothing is done twice.
    two.ask_to_stop();
    until(&client, "two", |host| host.is_some_and(|host| host.draining)).await;
    let late = start(&client, "crash", &steps(&ledger, 1, 0)).await;
    ledger.hold(false);
    assert_eq!(two.ended(), Some(0));
    for run in &runs {
        let ended = journal(&client, *run).await;
        let count = ended.iter().filter(|it| it.entry.event.name() == "TaskCompleted").count();
        assert_eq!(count, 1, "{run}: what was under way ended, and nothing new began");
    }
    let three = HostProcess::connected(server.url(), folder.path(), "three", &[]);
    check(&client, &ledger, &runs, 2).await;
    check(&client, &ledger, &[late], 1).await;
    drop(three);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_and_workflows_lead_runs_to_their_hosts() {
    let ((server, folder), ledger) = (server(&["crash", "echo"]).await, Ledger::start().await);
    let client = server.client();
    let plain = HostProcess::connected(server.url(), folder.path(), "plain", &[]);
    let input = steps(&ledger, 1, 0);
    let large = StartBody { pool: Some("large".into()), ..body("crash", &input) };
    let large = client.start(&large).await.unwrap().id;
    let small = start(&client, "crash", &input).await;
    check(&client, &ledger, &[small], 1).await;
    let view = client.run(large).await.unwrap();
    assert_eq!((view.state, view.options.pool.as_deref()), (StateKind::Queued, Some("large")));
    plain.ask_to_stop();
    assert_eq!(plain.ended(), Some(0));
    let arguments = ["--pool", "large", "--workflows", "echo,crash"];
    let pool = HostProcess::connected(server.url(), folder.path(), "pool", &arguments);
    check(&client, &ledger, &[large], 1).await;
    let only = ["--workflows", "echo"];
    let echoes = HostProcess::connected(server.url(), folder.path(), "echoes", &only);
    let waits = start(&client, "crash", &input).await;
    let said = host(&client, "echoes").await.unwrap();
    assert_eq!((said.workflows.as_slice(), said.pool), (&["echo".to_owned()][..], None));
    pool.ask_to_stop();
    assert_eq!(pool.ended(), Some(0));
    assert_eq!(client.run(waits).await.unwrap().state, StateKind::Queued);
    let any = HostProcess::connected(server.url(), folder.path(), "any", &[]);
    check(&client, &ledger, &[waits], 1).await;
    drop((echoes, any));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_stay_with_the_host_that_knows_them() {
    let ((server, folder), ledger) = (server(&["crash"]).await, Ledger::start().await);
    let client = server.client();
    let one = HostProcess::connected(server.url(), folder.path(), "one", &[]);
    let two = HostProcess::connected(server.url(), folder.path(), "two", &[]);
    let runs = start_many(&client, 6, "crash", &steps(&ledger, 6, 400)).await;
    check(&client, &ledger, &runs, 6).await;
    // Each host tells with its next heartbeat how many runs it had to rebuild.
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let hosts = client.hosts().await.unwrap().hosts;
    let replays: u64 = hosts.iter().map(|host| host.replays).sum();
    assert_eq!(replays, 0, "{hosts:?}");
    let metrics = reqwest::get(format!("{}/metrics", server.url())).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.contains("\neverstep_resumes_by_replay_total 0\n"), "{metrics}");
    assert!(metrics.contains("\neverstep_hosts 2\n"), "{metrics}");
    drop((one, two));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_with_one_place_never_has_two_runs() {
    let ((server, folder), ledger) = (server(&["crash"]).await, Ledger::start().await);
    let client = server.client();
    let place = ["--concurrency", "1"];
    let one = HostProcess::connected(server.url(), folder.path(), "one", &place);
    ledger.hold(true);
    let runs = start_many(&client, 5, "crash", &steps(&ledger, 2, 50)).await;
    ledger.has(1).await;
    let said = host(&client, "one").await.unwrap();
    assert_eq!((said.leases, said.free), (1, 0));
    ledger.hold(false);
    check(&client, &ledger, &runs, 2).await;
    let mut under_way: i32 = 0;
    for line in ledger.lines() {
        under_way += if line.body["phase"] == "begin" { 1 } else { -1 };
        assert!((0..=1).contains(&under_way), "two tasks at once: {:?}", ledger.lines());
    }
    drop(one);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_serves_several_servers_and_waits_for_one_that_is_down() {
    let (one, folder) = server(&["crash"]).await;
    let (other, other_folder) = server(&["crash"]).await;
    let ledger = Ledger::start().await;
    let address = other.address().to_owned();
    let servers = format!("{},{}", one.url(), other.url());
    assert_eq!(other.terminate(), Some(0));
    let both = HostProcess::connected(&servers, folder.path(), "both", &["--concurrency", "2"]);
    let runs = start_many(&one.client(), 4, "crash", &steps(&ledger, 2, 50)).await;
    check(&one.client(), &ledger, &runs, 2).await;
    let other = ServerProcess::start_on(&other_folder.path().join("data"), &address, SERVER);
    both.next("connected");
    let (first, second) = (one.client(), other.client());
    let runs = start_many(&first, 4, "crash", &steps(&ledger, 2, 50)).await;
    let others = start_many(&second, 4, "crash", &steps(&ledger, 2, 50)).await;
    check(&first, &ledger, &runs, 2).await;
    check(&second, &ledger, &others, 2).await;
    let listed = other.cli().done(&["hosts", "list"]);
    assert!(listed.contains("both") && listed.contains("all workflows"), "{listed}");
    drop(both);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_shares_the_work_with_that_of_the_server_and_needs_no_module_twice() {
    let ledger = Ledger::start().await;
    let (server, folder) = serve(&["crash"], &["--concurrency", "2"]).await;
    let client = server.client();
    let place = ["--concurrency", "2"];
    let one = HostProcess::connected(server.url(), folder.path(), "one", &place);
    ledger.hold(true);
    let runs = start_many(&client, 4, "crash", &steps(&ledger, 1, 0)).await;
    ledger.has(4).await;
    let hosts = client.hosts().await.unwrap().hosts;
    let leases: Vec<_> = hosts.iter().map(|host| host.leases).collect();
    assert_eq!(leases, [2, 2], "{hosts:?}");
    ledger.hold(false);
    check(&client, &ledger, &runs, 1).await;
    let cached = std::fs::read_dir(folder.path().join("host/modules")).unwrap();
    assert_eq!(cached.count(), 1, "it keeps the module that it fetched");
    drop(one);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let cli = Cli::new("http://127.0.0.1:9");
    cli.run(&["host", "--server", "https://flows"]).refused(2, "client.address");
    cli.run(&["host", "--pool", "a b"]).refused(2, "option.invalid");
    cli.run(&["server", "--lease", "1s", "--heartbeat", "1s"]).refused(2, "option.invalid");
    cli.run(&["hosts", "list"]).refused(3, "server.unreachable");
}

/// What one host has taken a snapshot of, another goes on from.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_one_host_serves_another() {
    let (server, folder) = server(&["bench"]).await;
    let client = server.client();
    let one = HostProcess::connected(server.url(), folder.path(), "one", &[]);
    let run = start(&client, "bench-waits", &json!({ "steps": 1_500 })).await;
    reach(&client, run, StateKind::AwaitingEvent).await;
    let snapshots = folder.path().join("data/snapshots");
    let begun = Instant::now();
    while std::fs::read_dir(&snapshots).map_or(0, Iterator::count) == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "no snapshot was taken");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    one.kill();
    let _two = HostProcess::connected(server.url(), folder.path(), "two", &[]);
    let never = EventBody { name: "never".into(), data: None, reference: None };
    client.send_event(run, &never).await.unwrap();
    assert_eq!(completed(&client, run).await, json!(1_500));
    let resumed = client.run(run).await.unwrap().resumed.unwrap();
    assert_eq!(resumed.by, ResumedBy::Snapshot, "{resumed:?}");
}
