//! The deterministic simulation (`tests/src/bin/sim`, docs/reliability.md): a few hundred seeds hold, a
//! seed is the same every time, and each defect that is planted is found.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::process::{Command, Output};

fn sim(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim")).args(words).output().unwrap()
}

/// The number in this variable, if there is one.
fn number(variable: &str, otherwise: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| otherwise.into())
}

#[test]
fn seeds_hold() {
    let (seeds, first) = (number("EVERSTEP_SIM_SEEDS", "400"), number("EVERSTEP_SIM_FIRST", "1"));
    let output = sim(&["--seeds", &seeds, "--first", &first]);
    let said = String::from_utf8_lossy(&output.stdout);
    println!("{said}");
    assert!(output.status.success(), "{said}");
    // A simulation in which nothing goes wrong shows nothing.
    let faults = ["the server crashes", "a host crashes", "a host is cut off", "its lease is lost"];
    let missing: Vec<_> = faults.iter().filter(|fault| !said.contains(**fault)).collect();
    assert!(seeds != "400" || missing.is_empty(), "never happened: {missing:?}\n{said}");
}

#[test]
fn a_seed_is_the_same_every_time() {
    for seed in ["3", "37", "1000001"] {
        let (once, again) = (sim(&["--seed", seed]), sim(&["--seed", seed]));
        assert!(once.stderr.len() > 1_000, "there is a trace");
        assert_eq!(once, again, "seed {seed}");
    }
    assert_ne!(sim(&["--seed", "3"]).stderr, sim(&["--seed", "37"]).stderr);
}

/// The defect, and what it is found by.
fn found(defect: &str, by: &str) {
    let output = sim(&["--seeds", "200", "--defect", defect]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{defect} was not found:\n{said}");
    assert!(said.contains(by), "{defect} was not found by `{by}`:\n{said}");
    let again = format!("DEFECT={defect}");
    assert!(said.contains(&again), "it says how to see it again:\n{said}");
}

#[test]
fn what_is_answered_before_it_is_durable_is_found() {
    found("answers-first", "begins although");
    found("loses-starts", "acknowledged, and not there");
    found("loses-events", "was acknowledged, and is not there");
}

#[test]
fn a_second_owner_is_found() {
    found("checks-no-tokens", "came behind");
}

#[test]
fn an_early_timer_is_found() {
    found("fires-early", "ms early");
}

#[test]
fn a_lost_message_is_found() {
    found("loses-messages", "does not end in");
}

#[test]
fn a_changed_result_is_found() {
    found("changes-results", "the replay diverges");
}
