//! Tests of the timeline: runs in every state, as they are drawn.

use super::samples::{at, entries, run};
use super::*;
use insta::assert_snapshot;

fn drawn(run: &RunView, entries: &[EntryView], omitted: u64) -> String {
    Timeline { run, entries, omitted, now: at(60_000), paint: Paint::plain() }.render()
}

#[test]
fn a_completed_run() {
    let journal = entries(samples::COMPLETED);
    assert_snapshot!(drawn(&run(), &journal, 0));
}

#[test]
fn a_sleeping_run_with_pending_operations() {
    let journal = entries(samples::SLEEPING);
    assert_snapshot!(drawn(&samples::sleeping(), &journal, 0));
}

#[test]
fn a_run_that_is_retried_and_asked_to_stop() {
    let journal = entries(samples::RETRIED);
    let run = RunView {
        state: StateKind::Cancelled,
        attempt: 2,
        output: None,
        cancel_reason: Some("ordered twice".into()),
        ..run()
    };
    assert_snapshot!(drawn(&run, &journal, 0));
}

#[test]
fn a_stuck_run_shows_the_difference() {
    let journal = entries(&samples::SLEEPING[..3]);
    assert_snapshot!(drawn(&samples::stuck(), &journal, 0));
}

#[test]
fn a_long_journal_is_shown_in_part() {
    let mut journal = entries(samples::COMPLETED);
    journal.drain(3..6);
    assert_snapshot!(drawn(&run(), &journal, 3));
}

#[test]
fn hostile_names_stay_in_their_place() {
    let hostile = r##"{"type":"TaskScheduled","data":{"op":1,"name":"\u001b[2J\nrm","input":"\u0007",
        "input_hash":"00000000000000000000000000000000","options":{}}}"##;
    let text = drawn(&run(), &entries(&[(1, hostile)]), 0);
    assert!(!text.contains('\x1b') && !text.contains('\x07'), "{text:?}");
}
