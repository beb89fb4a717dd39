//! What every example must pass: its runs are the same whether their guests stay in memory or go through
//! a snapshot behind every activation.

use crate::cli::Cli;
use serde_json::Value;

/// Runs of a server that are looked at, at most: the newest ones.
const MOST: usize = 12;

/// Replays the runs of a server twice, each time in a process of its own: once as they are, and once with
/// the guest put into a snapshot behind every activation and restored from it. What they ask for, show, and
/// have in memory in the end must be the same. Runs whose guests hold handles have no snapshots.
///
/// # Panics
/// When it is not, or there are no runs.
pub fn through_snapshots(cli: &Cli) {
    let runs: Vec<Value> = cli.json(&["runs", "list"]);
    let mut compared = 0;
    for run in runs.iter().filter(|run| run["attempt"].as_u64() > Some(0)).take(MOST) {
        let id = run["id"].as_str().unwrap();
        let replay = ["runs", "replay", id, "--memory", "--json"];
        let straight = cli.run(&replay);
        let through = cli.run(&[&replay[..], &["--through-snapshots"]].concat());
        assert_eq!(straight.code, 0, "run {id}: {straight:?}");
        if through.stderr.contains("open handles") {
            assert!(through.stderr.contains("error[snapshot.none]"), "{through:?}");
            continue;
        }
        let [straight, through] = [straight, through].map(|said| {
            serde_json::from_str::<Value>(&said.stdout).unwrap_or_else(|_| panic!("{said:?}"))
        });
        assert_eq!(through, straight, "run {id}");
        compared += 1;
    }
    assert!(compared > 0, "there are no runs");
}
