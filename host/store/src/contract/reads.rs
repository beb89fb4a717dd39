//! What is read back, in which order, in which pieces.

use super::fixture::{entry, first, line, next, run_id};
use crate::{Due, Ready, Shards, Store};
use everstep_core::record::{CancelRequest, RetryCause};
use everstep_core::{Failure, Payload, Record, RunState, Timestamp};
use std::sync::Arc;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// Every part of a commit comes back as it was, whatever state the run is in.
pub async fn what_is_committed_is_read_back(store: Arc<dyn Store>) {
    let failure = Failure {
        code: "card.declined".into(),
        message: "no".into(),
        details: Payload::from_value(&[1.5]).ok(),
        retryable: false,
    };
    let states = [
        RunState::Scheduled { at: at(5) },
        RunState::Running,
        RunState::Sleeping { timer: "a day".into(), wakeup_at: at(6) },
        RunState::AwaitingRetry {
            cause: RetryCause::Task { name: "charge".into() },
            next_attempt_at: at(7),
            failure: failure.clone(),
        },
        RunState::Completed { output: Payload::from_value("done").unwrap() },
        RunState::Failed { failure },
        RunState::Cancelled { reason: "enough".into() },
    ];
    for (n, state) in (1..).zip(states) {
        let mut commit = first(n);
        commit.record.state = state;
        commit.record.cancel = Some(CancelRequest { reason: "x".into(), deadline: at(9) });
        commit.record.wake_at = Some(at(8));
        commit.logs = vec![line(0), line(1)];
        commit.record.log_lines = 2;
        store.commit(commit.clone()).await.unwrap();
        let id = commit.run_id();
        assert_eq!(store.record(id).await.unwrap(), Some(commit.record));
        assert_eq!(store.journal(id, 0, 9).await.unwrap(), commit.entries);
        assert_eq!(store.logs(id, 0, 9).await.unwrap(), commit.logs);
    }
}

/// Nothing is not an error.
pub async fn an_unknown_run_has_nothing(store: Arc<dyn Store>) {
    assert_eq!(store.record(run_id(1)).await.unwrap(), None);
    assert_eq!(store.journal(run_id(1), 0, 9).await.unwrap(), []);
    assert_eq!(store.logs(run_id(1), 0, 9).await.unwrap(), []);
    assert_eq!(store.runs(&crate::RunQuery::default()).await.unwrap(), crate::RunPage::default());
    assert_eq!(store.due(&Shards::all(), at(u64::MAX), None, 9).await.unwrap(), []);
    assert_eq!(store.ready(&Shards::all(), None, 9).await.unwrap(), []);
}

/// A run with a journal of 1 + 3 + 1 + 10 + … entries and as many log lines less one.
async fn long_run(store: &Arc<dyn Store>) -> Record {
    store.commit(first(1)).await.unwrap();
    let mut record = first(1).record;
    for n in [3, 1, 10, 0, 2, 30] {
        let commit = next(&record, n, n);
        record = commit.record.clone();
        store.commit(commit).await.unwrap();
    }
    store.commit(first(2)).await.unwrap();
    record
}

/// From every position, with every limit, the pages make the same journal; what was committed together
/// comes together.
pub async fn pages_of_a_journal_fit_together(store: Arc<dyn Store>) {
    let length = long_run(&store).await.length;
    let ends = [1, 4, 5, 15, 17, length];
    for from in 0..=length + 1 {
        for limit in [0, 1, 4, 1_000] {
            let page = store.journal(run_id(1), from, limit).await.unwrap();
            assert_eq!(page.is_empty(), from >= length);
            let end = from + page.len() as u64;
            assert!(page.is_empty() || ends.contains(&end), "a page ends at {end}");
            assert!(page.len() as u64 >= (length.saturating_sub(from)).min(limit as u64));
            for (seq, found) in (from..).zip(page).filter(|(seq, _)| *seq > 0) {
                assert_eq!(found, entry(seq));
            }
        }
    }
    assert_eq!(store.journal(run_id(1), u64::MAX, 9).await.unwrap(), []);
}

/// The same for log lines.
pub async fn pages_of_logs_fit_together(store: Arc<dyn Store>) {
    let lines = long_run(&store).await.log_lines;
    let mut from = 0;
    while from < lines {
        let page = store.logs(run_id(1), from, 7).await.unwrap();
        assert!(!page.is_empty());
        for found in page {
            assert_eq!(found, line(from));
            from += 1;
        }
    }
    assert_eq!(store.logs(run_id(1), lines, 7).await.unwrap(), []);
    assert_eq!(store.logs(run_id(1), lines - 1, 7).await.unwrap(), [line(lines - 1)]);
}

/// By time, then by run; page by page.
pub async fn runs_are_due_in_order(store: Arc<dyn Store>) {
    let mut expected = Vec::new();
    for n in 1..=40 {
        let mut commit = first(n);
        let due = Due { at: at(1_000 + (n * 7) % 5), run: run_id(n) };
        commit.record.wake_at = Some(due.at);
        store.commit(commit).await.unwrap();
        expected.push(due);
    }
    expected.sort();
    let mut found = Vec::new();
    loop {
        let page = store.due(&Shards::all(), at(2_000), found.last().copied(), 7).await.unwrap();
        assert!(page.len() <= 7);
        if page.is_empty() {
            break;
        }
        found.extend(page);
    }
    assert_eq!(found, expected);
    let soon = store.due(&Shards::all(), at(1_001), None, 100).await.unwrap();
    assert_eq!(
        soon,
        expected.iter().filter(|due| due.at <= at(1_001)).copied().collect::<Vec<_>>()
    );
    assert_eq!(store.due(&Shards::all(), at(999), None, 100).await.unwrap(), []);
}

/// Set, moved and cleared by nothing but the record.
pub async fn a_timer_moves_with_its_record(store: Arc<dyn Store>) {
    let mut commit = first(1);
    let mut record = commit.record.clone();
    for wake_at in [Some(at(10)), Some(at(10)), Some(at(5)), None, Some(at(20)), None] {
        commit.record.wake_at = wake_at;
        record.clone_from(&commit.record);
        store.commit(commit).await.unwrap();
        let due = store.due(&Shards::all(), at(100), None, 10).await.unwrap();
        assert_eq!(
            due,
            wake_at.map(|at| Due { at, run: run_id(1) }).into_iter().collect::<Vec<_>>()
        );
        commit = next(&record, 1, 0);
    }
    store.commit(commit).await.unwrap();
}

/// A run keeps its place in the line as long as it is ready, and gets a new one when it is ready
/// again.
pub async fn ready_runs_wait_in_line(store: Arc<dyn Store>) {
    for n in [3, 1, 2] {
        store.commit(first(n)).await.unwrap();
    }
    let mut sleeper = first(4);
    sleeper.record.ready = false;
    store.commit(sleeper.clone()).await.unwrap();
    let line = |n: u64| Ready { since: first(n).record.updated_at, run: run_id(n) };
    assert_eq!(store.ready(&Shards::all(), None, 10).await.unwrap(), [line(1), line(2), line(3)]);
    assert_eq!(store.ready(&Shards::all(), None, 2).await.unwrap(), [line(1), line(2)]);
    assert_eq!(store.ready(&Shards::all(), Some(line(2)), 10).await.unwrap(), [line(3)]);

    let mut still = next(&first(1).record, 1, 0);
    still.record.updated_at = at(1_800_000_000_000);
    store.commit(still.clone()).await.unwrap();
    let mut still_sleeping = next(&still.record, 0, 0);
    still_sleeping.record.state = RunState::Running;
    store.commit(still_sleeping.clone()).await.unwrap();
    assert_eq!(store.ready(&Shards::all(), None, 10).await.unwrap(), [line(1), line(2), line(3)]);

    let mut done = next(&still_sleeping.record, 1, 0);
    done.record.ready = false;
    store.commit(done.clone()).await.unwrap();
    assert_eq!(store.ready(&Shards::all(), None, 10).await.unwrap(), [line(2), line(3)]);
    let mut again = next(&done.record, 1, 0);
    again.record.ready = true;
    store.commit(again.clone()).await.unwrap();
    let last = Ready { since: again.record.updated_at, run: run_id(1) };
    assert_eq!(store.ready(&Shards::all(), None, 10).await.unwrap(), [line(2), line(3), last]);
}
