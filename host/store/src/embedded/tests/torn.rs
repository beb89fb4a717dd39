//! Power cuts: whatever part of the log reached the disk, and however little of the database, a store
//! opens with a whole number of commits, and with every one whose acknowledgement came after that
//! part was written. Damage in front of what was acknowledged later is never passed over.

use super::crash::check_whole;
use super::{lazy, open_at, open_with};
use crate::contract::{first, next, run_id};
use crate::{Embedded, Shards, Store, StoreError};
use std::fs;
use std::path::Path;

/// A store that was left as a power cut leaves it when SQLite has written nothing for a while.
struct Left {
    /// The length of the log and of the journal at each acknowledgement.
    acknowledged: Vec<(usize, u64)>,
    database: Vec<u8>,
    wal: Vec<u8>,
    log: Vec<u8>,
}

impl Left {
    async fn record() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open_with(dir.path(), &lazy()).unwrap();
        let data = dir.path().join("data");
        let mut acknowledged = Vec::new();
        let mut commit = first(1);
        for _ in 0..40 {
            let record = commit.record.clone();
            store.commit(commit).await.unwrap();
            let written = store.stats().await.unwrap().bytes_written;
            acknowledged.push((usize::try_from(written).unwrap(), record.length));
            commit = next(&record, 1 + record.length % 3, record.length % 2);
        }
        let read = |name: &str| fs::read(data.join(name)).unwrap();
        let (database, wal) = (read("everstep.db"), read("everstep.db-wal"));
        Self { acknowledged, database, wal, log: read("log/0") }
    }

    /// What is in the log; the rest of the file is room.
    fn written(&self) -> usize {
        self.acknowledged.last().unwrap().0
    }

    /// The length of the journal when the log was so long.
    fn promised(&self, log: usize) -> u64 {
        self.acknowledged.iter().rfind(|(size, _)| *size <= log).map_or(0, |(_, length)| *length)
    }

    /// Opens a store with this log.
    fn open(&self, dir: &Path, log: &[u8]) -> Result<Embedded, StoreError> {
        let data = dir.join("data");
        fs::create_dir_all(data.join("log")).unwrap();
        fs::write(data.join("everstep.db"), &self.database).unwrap();
        fs::write(data.join("everstep.db-wal"), &self.wal).unwrap();
        fs::write(data.join("log/0"), log).unwrap();
        open_at(dir)
    }
}

/// The length of the run's journal, when all of it is as it was committed.
async fn whole_length(store: &Embedded) -> u64 {
    let Some(record) = store.record(run_id(1)).await.unwrap() else { return 0 };
    check_whole(store, &record).await;
    record.length
}

#[tokio::test]
async fn a_log_that_is_cut_off_anywhere_keeps_what_was_acknowledged() {
    let left = Left::record().await;
    for cut in (0..left.written()).step_by(left.written() / 60).chain([left.written()]) {
        let dir = tempfile::tempdir().unwrap();
        let store = left.open(dir.path(), &left.log[..cut]).unwrap();
        assert_eq!(whole_length(&store).await, left.promised(cut), "the log was cut at {cut}");
    }
}

#[tokio::test]
async fn damage_in_front_of_acknowledged_commits_is_refused_and_changes_nothing() {
    let left = Left::record().await;
    let last = left.acknowledged[left.acknowledged.len() - 2].0;
    for place in (0..left.written()).step_by(left.written() / 40) {
        let dir = tempfile::tempdir().unwrap();
        let mut log = left.log.clone();
        log[place] ^= 4;
        match left.open(dir.path(), &log) {
            Ok(store) => {
                // The last batch may be one that was torn; or it was a byte that says nothing.
                let length = whole_length(&store).await;
                assert!(length == left.promised(left.written()) || place >= last);
                assert!(length >= left.promised(last));
            }
            Err(error) => {
                assert_eq!(error.code(), "store.corrupt", "{error}");
                assert!(error.to_string().contains("data/log/0: batch"), "{error}");
                assert!(place < last, "what nobody was told of stops the store: {error}");
                assert_eq!(fs::read(dir.path().join("data/log/0")).unwrap(), log);
            }
        }
    }
}

/// SQLite's own log is not synced with each commit: nothing of it is needed.
#[tokio::test]
async fn a_database_that_lost_all_that_was_not_synced_is_brought_up_to_date() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).unwrap();
    let data = dir.path().join("data");
    let old = [fs::read(data.join("everstep.db")), fs::read(data.join("everstep.db-wal"))]
        .map(Result::unwrap);
    let mut records = Vec::new();
    for n in 1..=20 {
        let mut commit = first(n);
        for _ in 0..5 {
            let record = commit.record.clone();
            store.commit(commit).await.unwrap();
            commit = next(&record, 1 + record.length % 3, record.length % 2);
        }
        records.push(store.record(run_id(n)).await.unwrap().unwrap());
        store.ready(&Shards::all(), None, 1).await.unwrap();
    }
    let log = fs::read(data.join("log/0")).unwrap();
    let [database, wal] = old;
    let left = Left { acknowledged: Vec::new(), database, wal, log };
    let dir = tempfile::tempdir().unwrap();
    let reopened = left.open(dir.path(), &left.log).unwrap();
    for record in records {
        assert_eq!(reopened.record(record.id()).await.unwrap(), Some(record.clone()));
        check_whole(&reopened, &record).await;
    }
    assert_eq!(
        reopened.ready(&Shards::all(), None, 100).await.unwrap(),
        store.ready(&Shards::all(), None, 100).await.unwrap()
    );
}
