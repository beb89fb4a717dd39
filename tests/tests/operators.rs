//! What operators do to runs, with the command line against a real server: many at once, by the same
//! filters as the list.
#![allow(clippy::unwrap_used)]

use everstep_client::{BulkResult, RunId, RunView, StateKind};
use everstep_tests::{Cli, ServerProcess, reach, upload};

struct Fixture {
    server: ServerProcess,
    cli: Cli,
    _directory: tempfile::TempDir,
}

async fn with(examples: &[&str]) -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(&directory.path().join("data"));
    upload(&server.client(), examples).await;
    Fixture { cli: server.cli(), server, _directory: directory }
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
