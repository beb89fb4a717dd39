//! The two segments of the log in turn, under load; and what a crash at the moment of an fsync leaves.

use super::crash::check_whole;
use super::{open_at, open_with};
use crate::contract::{first, next, run_id};
use crate::embedded::backlog::Backlog;
use crate::embedded::log::Unapplied;
use crate::embedded::schema;
use crate::embedded::settings::Settings;
use crate::{Embedded, RunQuery, Store};
use everstep_core::{JournalEvent, Payload};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// The length of each run.
type Lengths = BTreeMap<u64, u64>;

/// What was answered.
type Answered = Arc<Mutex<Lengths>>;

/// Commits to eight runs at once.
async fn load(store: &Arc<Embedded>, commits: u64, answered: &Answered) {
    let tasks: Vec<_> = (0..8)
        .map(|n| {
            let (store, answered) = (Arc::clone(store), Arc::clone(answered));
            tokio::spawn(async move {
                let mut commit = first(n);
                for _ in 0..commits {
                    let record = commit.record.clone();
                    store.commit(commit).await.unwrap();
                    answered.lock().unwrap().insert(n, record.length);
                    commit = next(&record, 1 + record.length % 3, record.length % 2);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

async fn check_all(store: &Embedded, answered: &Lengths) {
    for (n, length) in answered {
        let record = store.record(run_id(*n)).await.unwrap().expect("an answered run");
        assert!(record.length >= *length, "run {n} lost acknowledged entries");
    }
    let page = store.runs(&RunQuery { limit: 100, ..RunQuery::default() }).await.unwrap();
    assert_eq!(page.damaged, []);
    for record in page.runs {
        check_whole(store, &record).await;
    }
}

/// At every fsync the log has all that the database does not have durably, and the segments stay as
/// short as they should be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_is_used_again_only_when_the_database_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("data").join("log");
    let opened: Arc<OnceLock<(u64, Arc<Backlog>)>> = Arc::default();
    let (known, place) = (Arc::clone(&opened), log.clone());
    let sync = move |file: &File| {
        if let Some((mark, backlog)) = known.get() {
            let durable = backlog.durable();
            let unapplied = Unapplied::read(&place, *mark, durable).unwrap();
            assert!(unapplied.last().unwrap_or(durable) >= backlog.last());
        }
        file.sync_data()
    };
    let settings = Settings {
        segment: 32 << 10,
        lag: Duration::from_millis(3),
        sync: Arc::new(sync),
        ..Settings::default()
    };
    let store = Arc::new(open_with(dir.path(), &settings).unwrap());
    let database = dir.path().join("data").join("everstep.db");
    let (_, mark) = schema::log_state(&schema::open_reader(&database).unwrap()).unwrap();
    assert!(opened.set((mark.unwrap(), Arc::clone(&store.backlog))).is_ok());
    let answered = Answered::default();
    load(&store, 250, &answered).await;
    assert!(store.stats().await.unwrap().bytes_written > 10 * 2 * (32 << 10));
    for segment in ["0", "1"] {
        assert_eq!(fs::metadata(log.join(segment)).unwrap().len(), 1 << 20);
    }
    let answered = answered.lock().unwrap().clone();
    check_all(&store, &answered).await;
    store.close().await;
    check_all(&open_at(dir.path()).unwrap(), &answered).await;
}

/// It has a segment to itself, which becomes short again.
#[tokio::test]
async fn a_commit_larger_than_a_segment_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { segment: 16 << 10, most_bytes: 64 << 10, ..Settings::default() };
    let store = open_with(dir.path(), &settings).unwrap();
    store.commit(first(1)).await.unwrap();
    let mut large = next(&first(1).record, 1, 0);
    let output = Payload::from_value(&"x".repeat(3 << 20)).unwrap();
    large.entries[0].event = JournalEvent::RunCompleted { output };
    store.commit(large.clone()).await.unwrap();
    let lengths = || {
        let length = |segment| dir.path().join("data").join("log").join(segment);
        ["0", "1"].map(|segment| fs::metadata(length(segment)).unwrap().len())
    };
    assert_eq!(lengths(), [1 << 20, 4 << 20]);
    let mut record = large.record.clone();
    for _ in 0..80 {
        let commit = next(&record, 2, 0);
        record = commit.record.clone();
        store.commit(commit).await.unwrap();
    }
    assert_eq!(lengths(), [1 << 20, 1 << 20]);
    assert_eq!(store.journal(run_id(1), 1, 1).await.unwrap()[0], large.entries[0]);
    drop(store);
    let store = open_at(dir.path()).unwrap();
    assert_eq!(store.journal(run_id(1), 1, 1).await.unwrap()[0], large.entries[0]);
    assert_eq!(store.record(run_id(1)).await.unwrap(), Some(record));
}

/// The directory is copied while the writer is about to sync, and the applier goes on; the last batch
/// of the copy is cut somewhere, as if some of it had not come to the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_at_any_fsync_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let copies = tempfile::tempdir().unwrap();
    let answered = Answered::default();
    let taken: Arc<Mutex<Vec<(PathBuf, Lengths)>>> = Arc::default();
    let (from, to) = (dir.path().join("data"), copies.path().to_owned());
    let (seen, copied) = (Arc::clone(&answered), Arc::clone(&taken));
    let calls = Mutex::new(0_usize);
    let sync = move |file: &File| {
        let mut calls = calls.lock().unwrap();
        *calls += 1;
        if calls.is_multiple_of(13) {
            let promised = seen.lock().unwrap().clone();
            let copy = to.join(calls.to_string());
            copy_crashed(&from, &copy.join("data"), *calls);
            copied.lock().unwrap().push((copy, promised));
        }
        file.sync_data()
    };
    let settings =
        Settings { lag: Duration::from_millis(2), sync: Arc::new(sync), ..Settings::default() };
    let store = Arc::new(open_with(dir.path(), &settings).unwrap());
    load(&store, 100, &answered).await;
    store.close().await;
    let taken = std::mem::take(&mut *taken.lock().unwrap());
    assert!(taken.len() > 3, "hardly anything was copied");
    for (copy, promised) in taken {
        let store = open_at(&copy).unwrap();
        check_all(&store, &promised).await;
        // And again, after it was brought up to date.
        store.close().await;
        check_all(&open_at(&copy).unwrap(), &promised).await;
    }
}

/// The log first: what the database copied later may have more, and never less than it needs.
fn copy_crashed(from: &Path, to: &Path, torn: usize) {
    fs::create_dir_all(to.join("log")).unwrap();
    let mut log = fs::read(from.join("log/0")).unwrap();
    // The batch that is being synced is the last thing that is not zero; some of it is lost.
    let written = log.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let lost = (torn % 5) * 60;
    log[written.saturating_sub(lost)..].fill(0);
    fs::write(to.join("log/0"), log).unwrap();
    for name in ["everstep.db", "everstep.db-wal"] {
        fs::copy(from.join(name), to.join(name)).unwrap();
    }
}
