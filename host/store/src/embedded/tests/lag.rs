//! The database follows the log: reads are whole whatever it has and has not, at every moment.

use super::{lazy, open_at, open_with};
use crate::contract::{entry, first, line, next, run_id};
use crate::embedded::settings::Settings;
use crate::{Embedded, RunQuery, Shards, Store, StoreError};
use everstep_core::{Commit, InputHash, Payload, Record, RunState};
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Brings the database up to date.
async fn settle(store: &Embedded) {
    store.ready(&Shards::all(), None, 1).await.unwrap();
}

/// Commits `count` times behind `record`, two entries and one line each.
async fn go_on(store: &Embedded, mut record: Record, count: u64) -> Record {
    for _ in 0..count {
        let commit = next(&record, 2, 1);
        record = commit.record.clone();
        store.commit(commit).await.unwrap();
    }
    record
}

/// Reads of what is only in memory ask no database: there is none to be opened here.
#[tokio::test]
async fn what_is_in_memory_is_read_without_the_database() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), &lazy()).unwrap();
    let database = dir.path().join("data").join("everstep.db");
    let away = dir.path().join("away");
    fs::rename(&database, &away).unwrap();
    store.commit(first(1)).await.unwrap();
    let record = go_on(&store, first(1).record, 5).await;
    assert_eq!(store.record(run_id(1)).await.unwrap(), Some(record.clone()));
    assert_eq!(store.journal(run_id(1), 0, 99).await.unwrap().len(), 11);
    assert_eq!(store.journal(run_id(1), 99, 99).await.unwrap(), []);
    assert_eq!(store.logs(run_id(1), 3, 99).await.unwrap(), [line(3), line(4)]);
    assert!(!store.has_reference(run_id(1), InputHash::of(b"a")).await.unwrap());
    // And this does.
    assert_eq!(store.record(run_id(2)).await.unwrap_err().code(), "store.unavailable");
    fs::rename(&away, &database).unwrap();
    assert_eq!(store.record(run_id(2)).await.unwrap(), None);
}

#[tokio::test]
async fn a_journal_that_is_partly_in_the_database_is_read_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), &lazy()).unwrap();
    store.commit(first(1)).await.unwrap();
    let record = go_on(&store, first(1).record, 5).await;
    settle(&store).await;
    let record = go_on(&store, record, 5).await;
    for from in 0..=record.length {
        for limit in [0, 1, 3, 1_000] {
            let page = store.journal(run_id(1), from, limit).await.unwrap();
            assert!(page.len() as u64 >= (record.length - from).min(limit as u64));
            assert_eq!(page.is_empty(), from == record.length);
            for (seq, found) in (from..).zip(page).filter(|(seq, _)| *seq > 0) {
                assert_eq!(found, entry(seq));
            }
        }
    }
    let lines: Vec<_> = (2..10).map(line).collect();
    assert_eq!(store.logs(run_id(1), 2, 99).await.unwrap(), lines);
}

#[tokio::test]
async fn a_reference_is_known_wherever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), &lazy()).unwrap();
    let with = |record: &Record, name: &[u8]| {
        let mut commit = next(record, 1, 0);
        commit.references.push(InputHash::of(name));
        commit
    };
    store.commit(first(1)).await.unwrap();
    let one = with(&first(1).record, b"a");
    store.commit(one.clone()).await.unwrap();
    settle(&store).await;
    let two = with(&one.record, b"b");
    store.commit(two.clone()).await.unwrap();
    for settled in [false, true] {
        for (name, is_there) in [(b"a", true), (b"b", true), (b"c", false)] {
            let found = store.has_reference(run_id(1), InputHash::of(name)).await.unwrap();
            assert_eq!(found, is_there, "{settled}");
        }
        for name in [b"a", b"b"] {
            let again = store.commit(with(&two.record, name)).await;
            assert_eq!(again, Err(StoreError::Duplicate), "{settled}");
        }
        settle(&store).await;
    }
    // Two at once with the same reference: one of them.
    let one = with(&two.record, b"d");
    let other = with(&one.record, b"d");
    let (one, other) = tokio::join!(store.commit(one), store.commit(other));
    assert_eq!((one, other), (Ok(()), Err(StoreError::Duplicate)));
}

#[tokio::test]
async fn a_journal_begins_anew_across_the_boundary() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), &lazy()).unwrap();
    store.commit(first(1)).await.unwrap();
    let record = go_on(&store, first(1).record, 4).await;
    settle(&store).await;
    let record = go_on(&store, record, 4).await;
    let mut anew = next(&record, 3, 0);
    anew.record.first = record.length + 1;
    store.commit(anew.clone()).await.unwrap();
    let record = go_on(&store, anew.record.clone(), 2).await;
    let begins = record.first;
    let expected: Vec<_> = (begins..record.length).map(entry).collect();
    for round in 0..2 {
        for from in [0, 5, begins - 1, record.length] {
            assert_eq!(store.journal(run_id(1), from, 99).await.unwrap(), [], "{round}: {from}");
        }
        assert_eq!(store.journal(run_id(1), begins, 99).await.unwrap(), expected, "{round}");
        assert_eq!(store.logs(run_id(1), 0, 99).await.unwrap().len(), 10);
        settle(&store).await;
    }
    store.close().await;
    let store = open_at(dir.path()).unwrap();
    assert_eq!(store.journal(run_id(1), begins, 99).await.unwrap(), expected);
}

fn ended(record: &Record) -> Commit {
    let mut end = next(record, 1, 0);
    end.record.state = RunState::Completed { output: Payload::null() };
    end.record.ready = false;
    end
}

/// A start with the id of a run that is being removed comes before or behind the removal, whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_starts_while_its_namesake_is_removed_is_one_or_the_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), &lazy()).unwrap();
    for round in 0..30 {
        match store.commit(first(1)).await {
            Ok(()) | Err(StoreError::AlreadyExists) => {}
            Err(other) => panic!("{other}"),
        }
        let record = store.record(run_id(1)).await.unwrap().unwrap();
        let end = ended(&record);
        store.commit(end.clone()).await.unwrap();
        if round % 2 == 0 {
            settle(&store).await;
        }
        let (removed, started) = tokio::join!(store.remove(run_id(1)), store.commit(first(1)));
        assert_eq!(removed, Ok(true));
        let found = store.record(run_id(1)).await.unwrap();
        match started {
            Ok(()) => assert_eq!(found, Some(first(1).record)),
            Err(error) => assert_eq!((error, found), (StoreError::AlreadyExists, None)),
        }
    }
}

/// Readers that never rest, while the applier moves all from memory to the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_never_see_a_hole() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { lag: Duration::from_millis(1), ..Settings::default() };
    let store = Arc::new(open_with(dir.path(), &settings).unwrap());
    let lengths: Arc<Vec<AtomicU64>> = Arc::new((0..4).map(|_| AtomicU64::new(0)).collect());
    let readers: Vec<_> = (0..4)
        .map(|n: u64| {
            let (store, lengths) = (Arc::clone(&store), Arc::clone(&lengths));
            tokio::spawn(async move {
                let mut from = 0;
                loop {
                    let promised = lengths[n as usize].load(Ordering::SeqCst);
                    let record = store.record(run_id(n)).await.unwrap();
                    let length = record.map_or(0, |record| record.length);
                    assert!(length >= promised, "a commit is not seen behind its answer");
                    let page = store.journal(run_id(n), from, usize::MAX).await.unwrap();
                    assert!(from + page.len() as u64 >= length, "the journal ends too early");
                    for (seq, found) in (from..).zip(page).filter(|(seq, _)| *seq > 0) {
                        assert_eq!(found, entry(seq));
                    }
                    if promised > 1_000 {
                        break;
                    }
                    // From the beginning, from the middle, from near the end.
                    from = [0, length / 2, length.saturating_sub(3)][(promised % 3) as usize];
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    let writers: Vec<_> = (0..4)
        .map(|n: u64| {
            let (store, lengths) = (Arc::clone(&store), Arc::clone(&lengths));
            tokio::spawn(async move {
                let mut commit = first(n);
                while commit.expected_length <= 1_000 {
                    let record = commit.record.clone();
                    store.commit(commit).await.unwrap();
                    lengths[n as usize].store(record.length, Ordering::SeqCst);
                    commit = next(&record, 1 + record.length % 3, 0);
                }
            })
        })
        .collect();
    for task in writers.into_iter().chain(readers) {
        task.await.unwrap();
    }
}

/// Lists wait for the database as long as they must, also while others keep it busy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_show_what_was_answered_before() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open_with(dir.path(), &lazy()).unwrap());
    let tasks: Vec<_> = (0..8_u64)
        .map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in (task..160).step_by(8) {
                    let mut start = first(n);
                    let origin = Arc::make_mut(&mut start.record.origin);
                    origin.workflow = format!("w{n}");
                    store.commit(start).await.unwrap();
                    let query = RunQuery { workflow: Some(format!("w{n}")), ..RunQuery::default() };
                    assert_eq!(store.runs(&query).await.unwrap().runs.len(), 1);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}
