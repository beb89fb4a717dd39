//! New code under open runs, with the real program: the gate, the report, the switch of each run, side
//! by side, and back. Servers are killed in between.
#![allow(clippy::unwrap_used)]

use everstep_client::{
    Client, Digest, EventBody, RunFilter, RunId, StateKind, UpgradeBody, UpgradeReport, Uploaded,
    WorkflowView,
};
use everstep_tests::{
    Cli, ServerProcess, completed, guest, guest_with_lines, journal, reach, serve, start,
    through_snapshots, upload,
};
use serde_json::{Value, json};
use std::time::Duration;

fn path(example: &str) -> String {
    guest(example).to_str().unwrap().to_owned()
}

fn digest(example: &str) -> Digest {
    Digest::of(&std::fs::read(guest(example)).unwrap())
}

/// Orders that wait for their payment.
async fn orders(client: &Client, numbers: std::ops::Range<u64>) -> Vec<RunId> {
    let mut runs = Vec::new();
    for number in numbers {
        runs.push(start(client, "order", &json!(number)).await);
    }
    for run in &runs {
        reach(client, *run, StateKind::AwaitingEvent).await;
    }
    runs
}

async fn pay(client: &Client, run: RunId) -> Value {
    let paid = EventBody { name: "paid".into(), data: None, reference: None };
    client.send_event(run, &paid).await.unwrap();
    completed(client, run).await
}

async fn executes(client: &Client, run: RunId) -> Digest {
    client.run(run).await.unwrap().digest
}

/// What `upload` says as JSON, and its exit code.
fn upload_said(cli: &Cli, example: &str, more: &[&str]) -> (i32, Value, String) {
    let path = path(example);
    let mut arguments = vec!["upload", &path, "--json"];
    arguments.extend(more);
    let said = cli.run(&arguments);
    let value = serde_json::from_str(&said.stdout).unwrap_or(Value::Null);
    (said.code, value, said.stderr)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_runs_go_on_on_a_module_that_passes_and_survive_a_kill_right_after() {
    let (server, folder) = serve(&["upgrades-first"], &[]).await;
    let client = server.client();
    let runs = orders(&client, 0..30).await;
    let fixed = digest("upgrades-fixed");

    // Without `--replace` the version is taken.
    server.cli().run(&["upload", &path("upgrades-fixed")]).refused(1, "module.version_taken");
    let (code, said, stderr) =
        upload_said(&server.cli(), "upgrades-fixed", &["--replace", "--dry-run"]);
    assert_eq!((code, said["active"].as_bool()), (0, Some(false)), "{stderr}");
    assert_eq!(said["upgrade"]["passed"], 30);
    assert_eq!(executes(&client, runs[0]).await, digest("upgrades-first"));
    assert_eq!(client.modules().await.unwrap().modules.len(), 1);

    let (code, said, stderr) = upload_said(&server.cli(), "upgrades-fixed", &["--replace"]);
    assert_eq!(code, 0, "{stderr}");
    let uploaded: Uploaded = serde_json::from_value(said).unwrap();
    let report = uploaded.upgrade.unwrap();
    assert_eq!((report.runs, report.passed, report.moved), (30, 30, 30));
    assert_eq!((uploaded.module.digest, uploaded.module.open_runs), (fixed, 30));
    server.kill();

    let server = ServerProcess::start(&folder.path().join("data"));
    let client = server.client();
    for (number, run) in runs.iter().enumerate() {
        assert_eq!(executes(&client, *run).await, fixed);
        assert_eq!(pay(&client, *run).await, json!(format!("SHIPPED FROM SHELF {}", number % 10)));
    }
    let entries = journal(&client, runs[7]).await;
    let upgraded = entries.iter().filter(|it| it.entry.event.name() == "RunUpgraded");
    assert_eq!(upgraded.count(), 1);
    // The whole journal replays on the module that it ended on.
    let replay = server.cli().run(&["runs", "replay", &runs[7].to_string()]);
    assert_eq!(replay.code, 0, "{}", replay.stderr);
    let new = start(&client, "order", &json!(5)).await;
    reach(&client, new, StateKind::AwaitingEvent).await;
    assert_eq!(executes(&client, new).await, fixed);
    through_snapshots(&server.cli());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_module_that_diverges_is_refused_with_a_grouped_report_and_changes_nothing() {
    let (server, _folder) = serve(&["upgrades-first"], &[]).await;
    let client = server.client();
    let runs = orders(&client, 1..13).await;
    let done = runs[0];
    pay(&client, done).await;

    let cli = server.cli();
    let refused = cli.run(&["upload", &path("upgrades-broken"), "--replace"]);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    for words in [
        "checked 11 open runs in ",
        "0 pass, 11 do not",
        "11 × divergence: the journal has task `reserve`, the module asks for task `check`",
        "for example run ",
        "at journal position 2",
        "asked for at",
        "check",
        "nothing was changed",
        "error[upgrade.diverges]",
        "--allow-diverging",
    ] {
        assert!(refused.stderr.contains(words), "`{words}` is not in\n{}", refused.stderr);
    }
    assert_eq!(client.modules().await.unwrap().modules.len(), 1);
    assert_eq!(executes(&client, runs[1]).await, digest("upgrades-first"));

    let (code, said, _) = upload_said(&cli, "upgrades-broken", &["--replace"]);
    let report: UpgradeReport = serde_json::from_value(said).unwrap();
    assert_eq!((code, report.failed, report.findings.len()), (5, 11, 11));
    assert!(report.findings.iter().all(|finding| finding.divergence.is_some()));
    // The place in the code of the module, as its author knows it.
    let trace = report.groups[0].backtrace.join("\n");
    assert!(trace.contains("task::start"), "{trace}");
    let lines = guest_with_lines("upgrades-broken");
    let said = cli.run(&["upload", lines.to_str().unwrap(), "--replace"]);
    assert_eq!(said.code, 5, "{said:?}");
    // The optimiser may give the line of the function.
    assert!(said.stderr.contains("upgrades/broken/src/lib.rs:2"), "{said:?}");

    // Who says so gets it: those that do not pass stay where they are.
    let (code, said, stderr) =
        upload_said(&cli, "upgrades-broken", &["--replace", "--allow-diverging"]);
    assert_eq!((code, &said["upgrade"]["moved"]), (0, &json!(0)), "{stderr}");
    assert_eq!(pay(&client, runs[1]).await, json!("shipped from shelf 2"));
    let new = start(&client, "order", &json!(3)).await;
    reach(&client, new, StateKind::AwaitingEvent).await;
    assert_eq!(executes(&client, new).await, digest("upgrades-broken"));
    let tasks = journal(&client, new).await;
    assert!(format!("{tasks:?}").contains("check"), "{tasks:?}");

    // The open runs of each module are counted, and keep it from being retired.
    let first = client.module(digest("upgrades-first")).await.unwrap();
    assert_eq!(first.open_runs, 10);
    cli.run(&["modules", "retire", &first.digest.to_string()]).refused(1, "module.in_use");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_run_side_by_side_and_the_last_change_is_taken_back_with_one_command() {
    let (server, _folder) = serve(&["upgrades-first", "upgrades-next"], &[]).await;
    let client = server.client();
    let cli = server.cli();
    let new = start(&client, "order", &json!(1)).await;
    assert_eq!(client.run(new).await.unwrap().version, "1.1");
    let _ = cli.done(&["modules", "rollback", "order"]);
    let old = start(&client, "order", &json!(1)).await;
    assert_eq!(client.run(old).await.unwrap().version, "1.0");
    let workflow: Vec<WorkflowView> = cli.json(&["modules", "versions", "order"]);
    assert_eq!(workflow[0].current.as_deref(), Some("1.0"));
    cli.run(&["modules", "rollback", "order"]).refused(1, "workflow.nothing_to_roll_back");
    let _ = cli.done(&["modules", "default", "order", "--newest"]);
    assert_eq!(client.workflow("order").await.unwrap().current.as_deref(), Some("1.1"));
    for run in [old, new] {
        reach(&client, run, StateKind::AwaitingEvent).await;
        pay(&client, run).await;
    }
    // A module without open runs can be closed, and opened again by its upload.
    let _ = cli.done(&["modules", "retire", &digest("upgrades-next").to_string()]);
    assert_eq!(client.workflow("order").await.unwrap().current.as_deref(), Some("1.0"));
    let retired = ["start", "order", "--version", "1.1", "--input", "1"];
    cli.run(&retired).refused(1, "version.retired");
    upload(&client, &["upgrades-next"]).await;
    assert_eq!(client.workflow("order").await.unwrap().current.as_deref(), Some("1.1"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_module_comes_back_with_the_runs_that_pass() {
    let (server, _folder) = serve(&["upgrades-first"], &[]).await;
    let (client, cli) = (server.client(), server.cli());
    let runs = orders(&client, 0..5).await;
    let (code, _, stderr) = upload_said(&cli, "upgrades-fixed", &["--replace"]);
    assert_eq!(code, 0, "{stderr}");
    // One has gone on on the new code meanwhile, and ends there.
    assert_eq!(pay(&client, runs[0]).await, json!("SHIPPED FROM SHELF 0"));
    let said = cli.run(&["modules", "rollback", "order"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(said.stderr.contains("4 runs were moved"), "{}", said.stderr);
    for run in &runs[1..] {
        assert_eq!(executes(&client, *run).await, digest("upgrades-first"));
    }
    assert_eq!(pay(&client, runs[1]).await, json!("shipped from shelf 1"));
    assert_eq!(
        journal(&client, runs[1])
            .await
            .iter()
            .filter(|it| it.entry.event.name() == "RunUpgraded")
            .count(),
        2
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chosen_runs_are_moved_to_another_version_when_they_pass() {
    let (server, _folder) = serve(&["upgrades-first", "upgrades-next"], &[]).await;
    let (client, cli) = (server.client(), server.cli());
    // Orders that have not begun can still begin otherwise.
    let mut waiting = everstep_tests::body("order", &json!(7));
    (waiting.version, waiting.delay_ms) = (Some("1.0".into()), Some(3_600_000));
    let waiting = client.start(&waiting).await.unwrap().id;
    let mut begun = everstep_tests::body("order", &json!(8));
    begun.version = Some("1.0".into());
    let begun = client.start(&begun).await.unwrap().id;
    reach(&client, begun, StateKind::AwaitingEvent).await;

    let all = ["runs", "upgrade", "--workflow", "order", "--to", "1.1"];
    let refused = cli.run(&all);
    assert_eq!(refused.code, 5, "{}", refused.stderr);
    assert!(refused.stderr.contains("1 pass, 1 do not"), "{}", refused.stderr);
    assert_eq!(client.run(waiting).await.unwrap().version, "1.0");

    let moved = cli.run(&["runs", "upgrade", &waiting.to_string(), "--to", "1.1"]);
    assert_eq!(moved.code, 0, "{}", moved.stderr);
    let run = client.run(waiting).await.unwrap();
    assert_eq!((run.version.as_str(), run.state), ("1.1", StateKind::Scheduled));
    let newer = RunFilter { version: Some("1.1".into()), ..RunFilter::default() };
    assert_eq!(client.runs(&newer).await.unwrap().runs.len(), 1);
    // Again there is nothing to do; and what has ended is refused.
    let again = cli.run(&["runs", "upgrade", &waiting.to_string(), "--to", "1.1"]);
    assert!(again.code == 0 && again.stderr.contains("checked 0 open runs"), "{}", again.stderr);
    pay(&client, begun).await;
    let ended = ["runs", "upgrade", &begun.to_string(), "--to", "1.1"];
    cli.run(&ended).refused(1, "run.illegal_transition");
    cli.run(&["runs", "upgrade"]).refused(2, "runs.unselected");
}

/// Runs that go on all the time are moved between two of their commits, again and again, and nothing is
/// done twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_moved_while_they_go_on() {
    let (server, _folder) = serve(&["busy-first"], &[]).await;
    let client = server.client();
    let mut runs = Vec::new();
    for _ in 0..8 {
        runs.push(start(&client, "busy", &json!(1_500)).await);
    }
    let (first, second) = (digest("busy-first"), digest("busy-second"));
    assert_ne!(first, second);
    upload_said(&server.cli(), "busy-second", &["--replace"]);
    let mut moved = 0;
    for round in 0..6 {
        let to = if round % 2 == 0 { first } else { second };
        let body = UpgradeBody { digest: Some(to), all: true, ..UpgradeBody::default() };
        moved += client.upgrade(&body, |_| {}).await.unwrap().moved;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(moved > 0, "no run was moved while it went on");
    for run in runs {
        assert_eq!(completed(&client, run).await, json!(1_500 * 1_501 / 2));
        let replay = server.cli().run(&["runs", "replay", &run.to_string()]);
        assert_eq!(replay.code, 0, "{}", replay.stderr);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stuck_runs_are_grouped_moved_to_the_mended_module_and_let_go_on_together() {
    let (server, _folder) = serve(&["upgrades-fragile"], &[]).await;
    let (client, cli) = (server.client(), server.cli());
    let mut runs = Vec::new();
    for count in [1, 1, 0, 1] {
        let run = start(&client, "second-price", &json!(count)).await;
        reach(&client, run, StateKind::Stuck).await;
        runs.push(run);
    }
    let listed = cli.run(&["runs", "list", "--state", "stuck"]);
    let line = "4 × second-price 1.0, guest.trap: panicked at upgrades/fragile/src/lib.rs:15";
    assert!(listed.stderr.contains(line), "{}", listed.stderr);
    let groups: Vec<Value> = cli.json(&["runs", "list", "--state", "stuck", "--group"]);
    assert_eq!((groups.len(), &groups[0]["runs"]), (1, &json!(4)), "{groups:?}");
    assert_eq!(groups[0]["code"], "guest.trap");

    let (code, said, stderr) = upload_said(&cli, "upgrades-mended", &["--replace"]);
    assert_eq!((code, &said["upgrade"]["moved"]), (0, &json!(4)), "{stderr}");
    // They go on when somebody says so.
    assert_eq!(client.run(runs[0]).await.unwrap().state, StateKind::Stuck);
    let retry = ["runs", "retry", "--state", "stuck", "--cause", "guest.trap"];
    let preview = cli.run(&[&retry[..], &["--dry-run"]].concat());
    assert!(preview.stderr.contains("4 would be done"), "{}", preview.stderr);
    assert_eq!(client.run(runs[0]).await.unwrap().state, StateKind::Stuck);
    let _ = cli.done(&retry);
    for run in runs {
        assert_eq!(completed(&client, run).await, json!(0));
    }
}
