//! Power cuts: whatever part of the log reached the disk, a store opens with a whole number of
//! commits, and with every one whose acknowledgement came after that part was written.

use super::crash::check_whole;
use super::open_at;
use crate::Store;
use crate::contract::{first, next, run_id};
use std::fs;
use std::path::Path;

/// The length of the log and of the journal at each acknowledgement, and copies of both files as
/// they are on the disk while the store is open.
async fn recorded() -> (Vec<(u64, u64)>, Vec<u8>, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).unwrap();
    let data = dir.path().join("data");
    let log = data.join("everstep.db-wal");
    let mut acknowledged = Vec::new();
    let mut commit = first(1);
    for _ in 0..40 {
        let record = commit.record.clone();
        store.commit(commit).await.unwrap();
        acknowledged.push((fs::metadata(&log).unwrap().len(), record.length));
        commit = next(&record, 1 + record.length % 3, record.length % 2);
    }
    (acknowledged, fs::read(data.join("everstep.db")).unwrap(), fs::read(log).unwrap())
}

/// Opens a store with these files; the length of the run's journal.
async fn recovered_length(database: &[u8], log: &[u8]) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fs::create_dir(&data).unwrap();
    let write = |name: &str, bytes: &[u8]| fs::write(Path::new(&data).join(name), bytes).unwrap();
    write("everstep.db", database);
    write("everstep.db-wal", log);
    let store = open_at(dir.path()).unwrap();
    let Some(record) = store.record(run_id(1)).await.unwrap() else { return 0 };
    check_whole(&store, &record).await;
    record.length
}

#[tokio::test]
async fn a_log_that_is_cut_off_anywhere_keeps_what_was_acknowledged() {
    let (acknowledged, database, log) = recorded().await;
    let step = log.len() / 60;
    for cut in (0..log.len()).step_by(step).chain([log.len()]) {
        let kept = acknowledged.iter().rfind(|(size, _)| *size <= cut as u64);
        let length = recovered_length(&database, &log[..cut]).await;
        let promised = kept.map_or(0, |(_, length)| *length);
        assert!(length >= promised, "{length} of {promised} entries with the log cut at {cut}");
        assert!(length == 0 || acknowledged.iter().any(|(_, whole)| *whole == length));
    }
}

#[tokio::test]
async fn a_log_with_a_flipped_bit_is_good_up_to_there() {
    let (acknowledged, database, log) = recorded().await;
    for place in (100..log.len()).step_by(log.len() / 40) {
        let mut flipped = log.clone();
        flipped[place] ^= 4;
        let kept = acknowledged.iter().rfind(|(size, _)| *size <= place as u64);
        let length = recovered_length(&database, &flipped).await;
        assert!(length >= kept.map_or(0, |(_, length)| *length));
        assert!(length == 0 || acknowledged.iter().any(|(_, whole)| *whole == length));
    }
}
