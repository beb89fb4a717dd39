//! Group commit: commits share fsyncs, answers come after them, and an error of the disk stops all.

use super::{lazy, open_at, open_with};
use crate::contract::{first, next, run_id};
use crate::embedded::directory::Directory;
use crate::embedded::schema;
use crate::embedded::settings::Settings;
use crate::{Embedded, RunQuery, Shards, Store};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_commits_share_fsyncs() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open_at(dir.path()).unwrap());
    let tasks: Vec<_> = (0..256)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut commit = first(n);
                for _ in 0..8 {
                    let record = commit.record.clone();
                    store.commit(commit).await.unwrap();
                    commit = next(&record, 1, 0);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let stats = store.stats().await.unwrap();
    assert_eq!(stats.commits, 256 * 8);
    assert!(stats.fsyncs < stats.commits / 4, "{stats:?}");
    assert!(stats.bytes_written > stats.fsyncs * 4_096, "{stats:?}");
    assert_eq!(stats.waiting, 0);
}

#[tokio::test]
async fn a_commit_on_its_own_has_an_fsync_of_its_own_and_a_refused_one_has_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).unwrap();
    let mut commit = first(1);
    for done in 1..=20 {
        let record = commit.record.clone();
        store.commit(commit.clone()).await.unwrap();
        store.commit(commit).await.unwrap_err();
        let stats = store.stats().await.unwrap();
        assert_eq!((stats.commits, stats.fsyncs), (done, done));
        commit = next(&record, 1, 0);
    }
}

/// A store whose fsyncs of the log fail as long as `broken` is set.
fn breakable() -> (Embedded, Arc<AtomicBool>, Arc<AtomicU64>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let broken = Arc::new(AtomicBool::new(false));
    let tried = Arc::new(AtomicU64::new(0));
    let (is_broken, count) = (Arc::clone(&broken), Arc::clone(&tried));
    let sync = move |file: &File| {
        count.fetch_add(1, Ordering::SeqCst);
        if is_broken.load(Ordering::SeqCst) {
            return Err(std::io::Error::other("the disk is broken"));
        }
        file.sync_data()
    };
    let settings = Settings { sync: Arc::new(sync), ..Settings::default() };
    (open_with(dir.path(), &settings).unwrap(), broken, tried, dir)
}

#[tokio::test]
async fn a_failed_fsync_stops_the_store_for_good() {
    let (store, broken, tried, dir) = breakable();
    store.commit(first(1)).await.unwrap();
    broken.store(true, Ordering::SeqCst);
    let before = tried.load(Ordering::SeqCst);
    let (one, two) = tokio::join!(store.commit(first(2)), store.commit(first(3)));
    for answer in [one, two] {
        assert_eq!(answer.unwrap_err().code(), "store.unavailable");
    }
    // Nothing is tried again, even when the disk seems to be well.
    broken.store(false, Ordering::SeqCst);
    assert_eq!(store.commit(first(4)).await.unwrap_err().code(), "store.unavailable");
    assert_eq!(tried.load(Ordering::SeqCst), before + 1);
    let reason = store.record(run_id(1)).await.unwrap_err();
    assert_eq!(reason, store.stats().await.unwrap_err());
    assert!(reason.to_string().contains("the disk is broken"), "{reason}");
    let listed = store.runs(&RunQuery::default()).await;
    assert_eq!(listed.unwrap_err(), reason);
    store.close().await;

    let store = open_at(dir.path()).unwrap();
    assert!(store.record(run_id(1)).await.unwrap().is_some());
    assert_eq!(store.record(run_id(4)).await.unwrap(), None);
}

#[tokio::test]
async fn a_failed_transaction_stops_the_store_for_good_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let directory = Directory::open(&dir.path().join("data")).unwrap();
    let mut connection = schema::open_writer(&directory.database()).unwrap();
    let broken = Arc::new(AtomicBool::new(false));
    let is_broken = Arc::clone(&broken);
    connection.commit_hook(Some(move || is_broken.load(Ordering::SeqCst))).unwrap();
    let store = Embedded::start(directory, connection, &lazy()).unwrap();
    for n in [1, 2] {
        store.commit(first(n)).await.unwrap();
    }
    broken.store(true, Ordering::SeqCst);
    // A list needs the database to be up to date.
    assert_eq!(store.ready(&Shards::all(), None, 9).await.unwrap_err().code(), "store.unavailable");
    broken.store(false, Ordering::SeqCst);
    assert_eq!(store.commit(first(3)).await.unwrap_err().code(), "store.unavailable");
    assert_eq!(store.record(run_id(1)).await.unwrap_err(), store.stats().await.unwrap_err());
    store.close().await;

    let store = open_at(dir.path()).unwrap();
    let kept: Vec<_> =
        store.ready(&Shards::all(), None, 9).await.unwrap().iter().map(|ready| ready.run).collect();
    assert_eq!(kept, [run_id(1), run_id(2)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_writes_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open_at(dir.path()).unwrap());
    let tasks: Vec<_> = (0..200)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { (n, store.commit(first(n)).await) })
        })
        .collect();
    tokio::task::yield_now().await;
    store.close().await;
    let mut committed = Vec::new();
    for task in tasks {
        match task.await.unwrap() {
            (n, Ok(())) => committed.push(n),
            (_, Err(error)) => assert_eq!(error.code(), "store.unavailable"),
        }
    }
    let store = open_at(dir.path()).unwrap();
    let all = store.ready(&Shards::all(), None, 1_000).await.unwrap();
    let kept: Vec<_> = all.iter().map(|ready| ready.run).collect();
    assert_eq!(kept, committed.into_iter().map(run_id).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_makes_committers_wait() {
    let (store, ..) = breakable();
    let store = Arc::new(store);
    let tasks: Vec<_> = (0..6_000)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move { store.commit(first(n)).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(store.stats().await.unwrap().commits, 6_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_logs_do_not_grow_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open_at(dir.path()).unwrap());
    let data = dir.path().join("data");
    let files = [data.join("log/0"), data.join("log/1"), data.join("everstep.db-wal")];
    let mut commits: Vec<_> = (0..512).map(first).collect();
    while store.stats().await.unwrap().bytes_written < 200 << 20 {
        let tasks: Vec<_> = commits
            .into_iter()
            .map(|commit| {
                let store = Arc::clone(&store);
                tokio::spawn(async move {
                    let record = commit.record.clone();
                    store.commit(commit).await.unwrap();
                    next(&record, 40, 0)
                })
            })
            .collect();
        commits = Vec::new();
        for task in tasks {
            commits.push(task.await.unwrap());
        }
    }
    for (file, most) in files.iter().zip([33, 33, 100]) {
        let size = std::fs::metadata(file).unwrap().len();
        assert!(size <= most << 20, "{} has {size} bytes", file.display());
    }
}
