//! Not a test: what commits cost, next to the raw disk in the same run. To be run by hand, alone:
//! `cargo nextest run --release -p everstep-store --run-ignored only --no-capture speed`

use super::{lazy, open_at, open_with};
use crate::contract::{first, next};
use crate::embedded::settings::Settings;
use crate::{Embedded, Shards, Store};
use everstep_core::Record;
use std::io::{Seek, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The processor time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |place: usize| -> u64 { fields.get(place).map_or(0, |n| n.parse().unwrap()) };
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}

/// Appends of 700 bytes to a file that has its room already, with an fdatasync each.
fn raw_fsync(dir: &std::path::Path) -> Duration {
    let mut file = std::fs::File::create(dir.join("raw")).unwrap();
    file.write_all(&vec![0; 1 << 20]).unwrap();
    file.sync_all().unwrap();
    file.rewind().unwrap();
    let started = Instant::now();
    for _ in 0..1_000 {
        file.write_all(&[7; 700]).unwrap();
        file.sync_data().unwrap();
    }
    started.elapsed() / 1_000
}

/// One life: a start and ten steps, as a host makes them.
async fn live(store: &Embedded, n: u64, reads: bool) -> Record {
    let mut commit = first(n);
    for step in 0..11 {
        let record = commit.record.clone();
        store.commit(commit).await.unwrap();
        if reads && step % 5 == 0 {
            store.record(record.id()).await.unwrap().unwrap();
            store.journal(record.id(), 0, 1_000).await.unwrap();
        }
        commit = next(&record, 2, 0);
    }
    commit.record
}

async fn measure(name: &str, in_flight: u64, lives: u64, reads: bool) {
    let dir = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let raw = raw_fsync(dir.path());
    let store = Arc::new(open_at(dir.path()).unwrap());
    let (started, cpu_before) = (Instant::now(), cpu());
    let tasks: Vec<_> = (0..in_flight)
        .map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in (task..lives).step_by(usize::try_from(in_flight).unwrap()) {
                    live(&store, n, reads).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let (took, stats) = (started.elapsed(), store.stats().await.unwrap());
    store.close().await;
    let commits = u32::try_from(stats.commits).unwrap();
    eprintln!(
        "{name}: {:.0} commits/s, {:?} CPU each (with closing), {:.2} fsyncs and {} bytes each; \
         raw fsync {raw:?}",
        f64::from(commits) / took.as_secs_f64(),
        (cpu() - cpu_before) / commits,
        stats.fsyncs as f64 / f64::from(commits),
        stats.bytes_written / u64::from(commits),
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn speed() {
    measure("one committer", 1, 1_000, false).await;
    measure("16 in flight", 16, 5_000, false).await;
    measure("256 in flight", 256, 20_000, false).await;
    measure("256 in flight with reads", 256, 20_000, true).await;
}

/// Opening a copy that a crash left with as much in the log as there may be.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn speed_of_opening() {
    let dir = tempfile::tempdir_in(std::env::current_dir().unwrap()).unwrap();
    let settings = Settings { most_commits: 70_000, ..lazy() };
    let store = Arc::new(open_with(dir.path(), &settings).unwrap());
    let tasks: Vec<_> = (0..256_u64)
        .map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in (task..2_900).step_by(256) {
                    live(&store, n, false).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let (from, copy) = (dir.path().join("data"), dir.path().join("copy"));
    std::fs::create_dir_all(copy.join("data/log")).unwrap();
    for name in ["log/0", "log/1", "everstep.db", "everstep.db-wal"] {
        std::fs::copy(from.join(name), copy.join("data").join(name)).unwrap();
    }
    let started = Instant::now();
    let opened = open_at(&copy).unwrap();
    let took = started.elapsed();
    assert_eq!(opened.ready(&Shards::all(), None, 10_000).await.unwrap().len(), 2_900);
    eprintln!("{} commits in the log: open after {took:?}", store.stats().await.unwrap().commits);
}
