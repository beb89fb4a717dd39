//! What every example must pass: its runs are the same whether their guests stay in memory or go through
//! a snapshot behind every activation.

use crate::cli::Cli;
use serde_json::Value;

/// Runs of a server that are looked at, at most: the newest ones.
const MOST: usize = 12;

/// Replays the runs of a server twice, each time in a process of its own: once as they are, and once with
/// the guest put into a snapshot behind every activation and restored from it. What they ask for, show, and
/// have in memory in the end must be the same.
///
/// # Panics
/// When it is not, or there are no runs.
pub fn through_snapshots(cli: &Cli) {
    let runs: Vec<Value> = cli.json(&["runs", "list"]);
    let mut compared = 0;
    for run in runs.iter().filter(|run| run["attempt"].as_u64() > Some(0)).take(MOST) {
        let id = run["id"].as_str().unwrap();
        let replayed = |more: &[&str]| {
            let arguments = ["runs", "replay", id, "--memory"];
            cli.json::<Value>(&[&arguments[..], more].concat()).remove(0)
        };
        let straight = replayed(&[]);
        assert_eq!(replayed(&["--through-snapshots"]), straight, "run {id}");
        compared += 1;
    }
    assert!(compared > 0, "there are no runs");
}
