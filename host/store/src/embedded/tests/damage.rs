//! Bits that flip in the file: noticed when they are read, reported with run and position, and of no
//! consequence for anything else.

use super::{lazy, open_at, open_with};
use crate::contract::{first, next, run_id};
use crate::{NewModule, RunQuery, Shards, Store, StoreError};
use everstep_core::manifest::{FORMAT, Manifest};
use everstep_core::schedule::{ScheduleBody, ScheduledStart, Spec};
use everstep_core::{Digest, Schedule, Timestamp};
use rusqlite::Connection;
use tempfile::TempDir;

/// Two runs with two commits each, in rows of their own; afterwards the file is changed behind the store's back.
async fn damaged_store(damage: &str) -> (crate::Embedded, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).unwrap();
    for n in [1, 2] {
        for commit in [first(n), next(&first(n).record, 2, 2)] {
            store.commit(commit).await.unwrap();
            // A list waits for the database, so that each commit has rows of its own.
            store.ready(&Shards::all(), None, 1).await.unwrap();
        }
    }
    store.close().await;
    let raw = Connection::open(dir.path().join("data").join("everstep.db")).unwrap();
    raw.execute_batch(damage).unwrap();
    drop(raw);
    (open_at(dir.path()).unwrap(), dir)
}

fn corrupt<T: std::fmt::Debug>(answer: Result<T, StoreError>, words: &[&str]) {
    let error = answer.unwrap_err();
    assert_eq!(error.code(), "store.corrupt", "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "`{error}` does not say `{word}`");
    }
}

/// Replaces the byte in the middle of a blob by another.
fn flip(table: &str, column: &str, condition: &str) -> String {
    format!(
        "UPDATE {table} SET {column} = CAST(substr({column}, 1, length({column}) / 2)
         || CASE WHEN substr({column}, length({column}) / 2 + 1, 1) = x'58' THEN x'59' ELSE x'58' END
         || substr({column}, length({column}) / 2 + 2) AS BLOB) WHERE {condition}"
    )
}

#[tokio::test]
async fn a_flipped_bit_in_an_event_row_is_noticed() {
    let (store, _dir) = damaged_store(&flip("events", "data", "run = 1 AND seq = 1")).await;
    let id = run_id(1).to_string();
    corrupt(store.journal(run_id(1), 0, 10).await, &[&id, "journal at position 1", "checksum"]);
    corrupt(store.journal(run_id(1), 2, 10).await, &["position 1"]);
    assert_eq!(store.journal(run_id(1), 0, 1).await.unwrap(), first(1).entries);
    assert_eq!(store.journal(run_id(2), 0, 10).await.unwrap().len(), 3);
    assert_eq!(store.logs(run_id(1), 0, 10).await.unwrap().len(), 2);
    store.commit(first(3)).await.unwrap();
}

#[tokio::test]
async fn a_flipped_bit_in_a_log_row_is_noticed() {
    let (store, _dir) = damaged_store(&flip("logs", "data", "run = 2")).await;
    corrupt(store.logs(run_id(2), 0, 10).await, &[&run_id(2).to_string(), "log at position 0"]);
    assert_eq!(store.logs(run_id(1), 0, 10).await.unwrap().len(), 2);
    assert_eq!(store.journal(run_id(2), 0, 10).await.unwrap().len(), 3);
}

#[tokio::test]
async fn a_flipped_bit_in_a_record_is_noticed_and_hides_no_other_run() {
    let (store, _dir) = damaged_store(&flip("runs", "rec", "no = 1")).await;
    corrupt(store.record(run_id(1)).await, &[&run_id(1).to_string(), "record"]);
    let page = store.runs(&RunQuery::default()).await.unwrap();
    assert_eq!(page.damaged, [run_id(1)]);
    assert_eq!(page.runs.len(), 1);
    assert_eq!(page.runs[0].id(), run_id(2));
}

#[tokio::test]
async fn rows_that_are_missing_or_in_the_wrong_place_are_noticed() {
    let (store, _dir) = damaged_store("DELETE FROM events WHERE run = 1 AND seq = 0").await;
    corrupt(store.journal(run_id(1), 0, 10).await, &["position 0", "missing"]);
    let (store, _dir) = damaged_store("DELETE FROM events WHERE run = 1 AND seq = 1").await;
    corrupt(store.journal(run_id(1), 0, 10).await, &["position 1", "missing"]);
    corrupt(store.journal(run_id(1), 2, 10).await, &["position 2", "missing"]);
    // A row of one run, whole, under another run.
    let swap = "UPDATE events SET run = 9 WHERE run = 1 AND seq = 1;
                UPDATE events SET run = 1 WHERE run = 2 AND seq = 1;
                UPDATE events SET run = 2 WHERE run = 9";
    let (store, _dir) = damaged_store(swap).await;
    corrupt(store.journal(run_id(1), 0, 10).await, &["position 1", "checksum"]);
    let (store, _dir) = damaged_store("UPDATE runs SET length = 2 WHERE no = 1").await;
    corrupt(store.record(run_id(1)).await, &["record"]);
    let (store, _dir) = damaged_store("UPDATE runs SET state = 17 WHERE no = 1").await;
    corrupt(store.record(run_id(1)).await, &["columns"]);
}

#[tokio::test]
async fn a_commit_that_meets_damage_is_refused_alone() {
    // A row that no record knows of stands where the next commit wants to write.
    let rogue = "INSERT INTO events (run, seq, n, crc, data) VALUES (1, 3, 1, 0, x'00')";
    let (store, _dir) = damaged_store(rogue).await;
    let second = |n: u64| next(&first(n).record, 2, 2).record;
    let (met, fine, new) = tokio::join!(
        store.commit(next(&second(1), 1, 0)),
        store.commit(next(&second(2), 1, 0)),
        store.commit(first(3)),
    );
    corrupt(met, &["contradict"]);
    fine.unwrap();
    new.unwrap();
    assert_eq!(store.record(run_id(1)).await.unwrap(), Some(second(1)));
    assert_eq!(store.journal(run_id(2), 0, 10).await.unwrap().len(), 4);
    store.commit(next(&first(3).record, 1, 0)).await.unwrap();
}

/// The same damage, done after the writer has looked: what was acknowledged waits in the log until
/// somebody has mended the tables.
#[tokio::test]
async fn tables_that_contradict_the_log_stop_the_store_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_with(dir.path(), &lazy()).unwrap();
    store.commit(first(1)).await.unwrap();
    store.ready(&Shards::all(), None, 1).await.unwrap();
    let raw = Connection::open(dir.path().join("data").join("everstep.db")).unwrap();
    let rogue = "INSERT INTO events (run, seq, n, crc, data) VALUES (1, 1, 1, 0, x'00')";
    raw.execute_batch(rogue).unwrap();
    let second = next(&first(1).record, 2, 2);
    store.commit(second.clone()).await.unwrap();
    let id = run_id(1).to_string();
    let stopped = store.ready(&Shards::all(), None, 1).await.unwrap_err();
    assert!(stopped.to_string().contains(&id), "{stopped}");
    store.close().await;
    corrupt(open_at(dir.path()).map(drop), &[&id, "contradict the log"]);
    raw.execute_batch("DELETE FROM events WHERE crc = 0").unwrap();
    let store = open_at(dir.path()).unwrap();
    assert_eq!(store.record(run_id(1)).await.unwrap(), Some(second.record));
    assert_eq!(store.journal(run_id(1), 1, 9).await.unwrap(), second.entries);
}

#[tokio::test]
async fn damaged_modules_are_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).unwrap();
    let manifest =
        Manifest { format: FORMAT, sdk: "s".into(), workflows: Vec::new(), tasks: Vec::new() };
    for bytes in [b"one", b"two"] {
        let uploaded_at = Timestamp::from_millis(1);
        let manifest = manifest.clone();
        store
            .publish(
                Some(NewModule { bytes: bytes.to_vec(), uploaded_at, engine: 1, manifest }),
                vec![],
            )
            .await
            .unwrap();
    }
    let raw = Connection::open(dir.path().join("data").join("everstep.db")).unwrap();
    raw.execute_batch(
        "UPDATE module_bytes SET data = x'00' WHERE module = 1;
         UPDATE modules SET manifest = replace(manifest, '1', '2') WHERE no = 2",
    )
    .unwrap();
    let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
    corrupt(store.module_bytes(one).await, &[&one.to_string()]);
    corrupt(store.module(two).await, &[&two.to_string(), "manifest"]);
    corrupt(store.modules().await, &[&two.to_string()]);
    assert!(store.module(one).await.unwrap().is_some());
    assert_eq!(store.module_bytes(two).await.unwrap(), Some(b"two".to_vec()));
}

#[tokio::test]
async fn a_damaged_schedule_is_noticed_and_hides_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).unwrap();
    let schedule = |reference: &str| {
        let spec = Spec::Every { interval_ms: 1_000, offset_ms: 0 };
        let body = ScheduleBody {
            reference: Some(reference.into()),
            ..ScheduleBody::new(spec, ScheduledStart::new("w"))
        };
        Schedule::new(body, [0; 16], Timestamp::from_millis(5)).unwrap()
    };
    let (one, two) = (schedule("one"), schedule("two"));
    for schedule in [&one, &two] {
        store.put_schedule(schedule.clone(), None).await.unwrap();
    }
    let raw = Connection::open(dir.path().join("data").join("everstep.db")).unwrap();
    raw.execute_batch(&flip("schedules", "rec", "no = 1")).unwrap();
    drop(raw);
    corrupt(store.schedule(one.id).await, &[&one.id.to_string(), "checksum"]);
    let page = store.schedules(None, 10).await.unwrap();
    assert_eq!((page.schedules, page.damaged), (vec![two], vec![one.id]));
}
