//! What operators do to runs, with the command line against a real server: many at once, by the same
//! filters as the list.
#![allow(clippy::unwrap_used)]

use everstep_client::{BulkResult, EntryView, LogLineView, RunId, RunView, StateKind};
use everstep_tests::{Cli, ServerProcess, reach, serve, upload};
use serde_json::Value;
use std::time::{Duration, Instant};

struct Fixture {
    server: ServerProcess,
    cli: Cli,
    directory: tempfile::TempDir,
}

async fn with(examples: &[&str]) -> Fixture {
    let (server, directory) = serve(examples, &[]).await;
    Fixture { cli: server.cli(), server, directory }
}

fn ids(results: &[BulkResult]) -> Vec<String> {
    results.iter().map(|result| result.id.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_runs_are_cancelled_at_once() {
    let fixture = with(&["morning"]).await;
    let (cli, client) = (&fixture.cli, fixture.server.client());
    let start = |name: &str, more: &[&str]| {
        let input = format!("\"{name}\"");
        cli.done(&[&["start", "morning", "--input", &input][..], more].concat())
    };
    let late = ["--delay", "1h", "--tag", "team=night"];
    let (ann, bob, eve) = (start("Ann", &late), start("Bob", &late), start("Eve", &late));
    let done = start("Dan", &["--tag", "team=night"]);
    let other = start("Kim", &["--delay", "1h"]);
    reach(&client, done.parse().unwrap(), StateKind::Completed).await;

    let filter = ["runs", "cancel", "--workflow", "morning", "--tag", "team=night"];
    let dry = cli.json::<BulkResult>(&[&filter[..], &["--dry-run"]].concat());
    assert_eq!(ids(&dry), [&*eve, &bob, &ann], "{dry:?}");
    assert!(dry.iter().all(|result| result.ok && result.state == Some(StateKind::Scheduled)));
    let cut = cli.run(&[&filter[..], &["--dry-run", "--limit", "2"]].concat());
    assert_eq!((cut.code, cut.stdout.lines().count()), (0, 2), "{cut:?}");
    assert!(cut.stderr.contains("more runs match"), "{cut:?}");

    let said = cli.run(&[&filter[..], &["--reason", "no work tonight"]].concat());
    assert_eq!(said.code, 0, "{said:?}");
    assert!(said.stderr.contains("3 done"), "{said:?}");
    assert_eq!(said.stdout.lines().filter(|line| line.ends_with("done (cancelled)")).count(), 3);
    let cancelled = cli.json::<RunView>(&["runs", "list", "--state", "cancelled"]);
    assert_eq!(cancelled.len(), 3);
    assert!(cancelled.iter().all(|r| r.cancel_reason.as_deref() == Some("no work tonight")));

    // One of several fails: the others are done all the same.
    let nobody = RunId::from_key("no", "body").to_string();
    let mixed = cli.run(&["runs", "cancel", &other, &done, &nobody]);
    assert_eq!(mixed.code, 1, "{mixed:?}");
    for word in ["run.illegal_transition", "run.not_found", "done (cancelled)"] {
        assert!(mixed.stdout.contains(word), "{word}: {mixed:?}");
    }
    assert!(mixed.stderr.contains("1 done, 2 failed"), "{mixed:?}");
    let retried = cli.run(&["runs", "retry", "--state", "completed"]);
    assert_eq!(retried.code, 1, "{retried:?}");
    assert!(retried.stdout.contains("run.illegal_transition"), "{retried:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_done_to_all_runs_by_mistake() {
    let fixture = with(&["morning"]).await;
    let cli = &fixture.cli;
    let run = cli.done(&["start", "morning", "--input", "\"Ann\"", "--delay", "1h"]);
    for verb in ["cancel", "retry"] {
        for more in [
            &[][..],
            &["--dry-run"],
            &[&run, "--workflow", "morning"],
            &[&run, "--all"],
            &["--workflow", "morning", "--all"],
        ] {
            cli.run(&[&["runs", verb], more].concat()).refused(2, "runs.unselected");
        }
    }
    assert_eq!(cli.json::<RunView>(&["runs", "list", "--state", "scheduled"]).len(), 1);
    assert_eq!(cli.json::<BulkResult>(&["runs", "retry", "--all"]), []);
    assert_eq!(ids(&cli.json(&["runs", "cancel", "--all"])), [run]);
}

/// The lines of an export, checked to be one whole run after the other.
fn whole_runs(text: &str) -> Vec<(RunView, Vec<EntryView>, Vec<LogLineView>)> {
    let mut runs: Vec<(RunView, Vec<EntryView>, Vec<LogLineView>)> = Vec::new();
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).unwrap();
        match value["kind"].as_str().unwrap() {
            "run" => runs.push((serde_json::from_str(line).unwrap(), Vec::new(), Vec::new())),
            kind => {
                let (run, entries, logs) = runs.last_mut().unwrap();
                assert_eq!(value["run"], run.id.to_string());
                match kind {
                    "entry" => entries.push(serde_json::from_str(line).unwrap()),
                    _ => logs.push(serde_json::from_str(line).unwrap()),
                }
            }
        }
    }
    for (run, entries, logs) in &runs {
        let counts = (entries.len() as u64, logs.len() as u64);
        assert_eq!(counts, (run.journal_length, run.log_lines), "{}", run.id);
    }
    runs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_exported_whole() {
    let fixture = with(&["onboarding", "fan-out"]).await;
    let cli = &fixture.cli;
    let signup = r#"{"user_id": "u1", "email": "ann@example.com", "sleep_ms": 1}"#;
    let mut ids = Vec::new();
    for arguments in [
        ["start", "fan-out", "--input", r#"{"tasks": 600}"#, "--wait"],
        ["start", "user-onboarding", "--input", signup, "--wait"],
    ] {
        ids.push(cli.done(&arguments).lines().next().unwrap().to_owned());
    }
    let one = cli.done(&["runs", "export", &ids[1]]);
    let (run, entries, logs) = whole_runs(&one).remove(0);
    assert_eq!((run.id.to_string(), run.state), (ids[1].clone(), StateKind::Completed));
    assert_eq!(entries, cli.json::<EntryView>(&["runs", "journal", &ids[1]]));
    assert_eq!(logs, cli.json::<LogLineView>(&["runs", "logs", &ids[1]]));

    let file = fixture.directory.path().join("out.jsonl");
    let out = ["runs", "export", "--state", "completed", "--out", file.to_str().unwrap()];
    let said = cli.json::<Value>(&out).remove(0);
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!((&said["runs"], &said["bytes"]), (&2.into(), &text.len().into()));
    let runs = whole_runs(&text);
    assert_eq!(
        runs.iter().map(|(run, ..)| run.id.to_string()).collect::<Vec<_>>(),
        [&*ids[1], &ids[0]]
    );
    assert!(runs[1].1.len() > 1_200, "a long journal comes page by page: {}", runs[1].1.len());

    let nobody = RunId::from_key("no", "body").to_string();
    cli.run(&["runs", "export", &nobody]).refused(1, "run.not_found");
    cli.run(&["runs", "export"]).refused(2, "runs.unselected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_whose_time_is_up_are_exported_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let old = directory.path().join("old");
    let data = directory.path().join("data");
    let server = ServerProcess::start_on(
        &data,
        "127.0.0.1:0",
        &[
            "--retention",
            "never",
            "--retention-workflow",
            "morning=1s",
            "--retention-export",
            old.to_str().unwrap(),
        ],
    );
    let (cli, client) = (server.cli(), server.client());
    upload(&client, &["morning", "fan-out"]).await;
    let kept = cli.done(&["start", "fan-out", "--input", r#"{"tasks": 1}"#]);
    let later = cli.done(&["start", "morning", "--input", "\"Eve\"", "--delay", "1h"]);
    let start = ["start", "morning", "--key", "greet", "--tag", "team=night", "--input"];
    let run = cli.done(&[&start[..], &["\"Ann\""]].concat());
    // It is there for a second after its end, and gone at one of the next looks.
    let begun = Instant::now();
    while cli.run(&["runs", "show", &run]).code == 0 {
        assert!(begun.elapsed() < Duration::from_secs(60), "it is still there");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    cli.run(&["runs", "journal", &run]).refused(1, "run.not_found");
    cli.run(&["runs", "wait", &run]).refused(1, "run.not_found");
    assert!(cli.json::<RunView>(&["runs", "list", "--tag", "team=night"]).is_empty());
    let files: Vec<_> = std::fs::read_dir(&old).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    let exported = whole_runs(&std::fs::read_to_string(&files[0]).unwrap());
    assert_eq!(exported.len(), 1);
    let (gone, entries, _) = &exported[0];
    assert_eq!((gone.id.to_string(), gone.state), (run.clone(), StateKind::Completed));
    assert_eq!(entries.last().unwrap().entry.event.name(), "RunCompleted");

    // Its key is free again, also for another input; what is open or kept for ever is there.
    let again = cli.done(&[&start[..], &["\"Bob\""]].concat());
    assert_eq!(again, run, "the id derives from the key");
    reach(&client, kept.parse().unwrap(), StateKind::Completed).await;
    reach(&client, later.parse().unwrap(), StateKind::Scheduled).await;
}
