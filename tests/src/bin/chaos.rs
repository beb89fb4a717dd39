//! The chaos suite for people: `make chaos`. Prints a table for each scenario, and exits with 1 when a
//! promise was not kept; then everything that was seen is left where the last line says.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use everstep_tests::chaos::{Plan, Stored, run};
use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "chaos [--seconds N] [--seed N] [--scenario redis|cluster|all] [--keep]";

#[tokio::main]
async fn main() -> ExitCode {
    let (mut seconds, mut seed, mut scenario, mut keep) = (120, None, "all".to_owned(), false);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_else(|| panic!("{word} needs a value: {USAGE}"));
        match word.as_str() {
            "--seconds" => seconds = value().parse().expect(USAGE),
            // An empty one is none, so that make need not know.
            "--seed" => seed = value().parse().ok(),
            "--scenario" => scenario = value(),
            "--keep" => keep = true,
            _ => panic!("{word}: {USAGE}"),
        }
    }
    let seed: u64 = seed.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let scenarios = match scenario.as_str() {
        "redis" => vec![Stored::Redis],
        "cluster" => vec![Stored::RedisCluster],
        "all" => vec![Stored::Redis, Stored::RedisCluster],
        _ => panic!("{scenario}: {USAGE}"),
    };
    let mut good = true;
    for stored in scenarios {
        let name = format!("everstep-chaos-{seed}-{stored:?}-{}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        let lasts = Duration::from_secs(seconds);
        let plan = Plan { stored, lasts, seed, folder: folder.clone() };
        // What is killed by Ctrl-C leaves no processes behind.
        let report = tokio::select! {
            report = run(&plan) => report,
            _ = tokio::signal::ctrl_c() => return ExitCode::FAILURE,
        };
        println!("{report}");
        good &= report.is_good();
        if report.is_good() && !keep {
            std::fs::remove_dir_all(&folder).unwrap();
        }
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
