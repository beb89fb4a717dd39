//! What removing runs leaves in the file: nothing, also when a crash comes between.

use super::open_at;
use crate::contract::{first, next, run_id};
use crate::{Shards, Store};
use everstep_core::{Payload, RunState};
use rusqlite::Connection;
use std::path::Path;
use std::sync::Arc;

/// A store with two runs that have ended, with journal, logs and tags.
async fn two_ended_runs(dir: &Path) -> crate::Embedded {
    let store = open_at(dir).unwrap();
    for n in [1, 2] {
        let mut start = first(n);
        Arc::make_mut(&mut start.record.origin).options.tags.insert("a".into(), "b".into());
        store.commit(start.clone()).await.unwrap();
        // A list waits for the database, so that the end has rows of its own.
        store.ready(&Shards::all(), None, 1).await.unwrap();
        let mut end = next(&start.record, 3, 2);
        end.record.state = RunState::Completed { output: Payload::null() };
        end.record.ready = false;
        store.commit(end).await.unwrap();
        store.ready(&Shards::all(), None, 1).await.unwrap();
    }
    store
}

/// The rows of each table, with the database opened by another program.
fn rows(dir: &Path) -> Vec<(&'static str, u32)> {
    let raw = Connection::open(dir.join("data").join("everstep.db")).unwrap();
    let count = |table| {
        let sql = format!("SELECT count(*) FROM {table}");
        (table, raw.query_row(&sql, [], |row| row.get(0)).unwrap())
    };
    ["runs", "run_tags", "events", "logs", "removed"].map(count).to_vec()
}

#[tokio::test]
async fn a_removed_run_leaves_no_row() {
    let dir = tempfile::tempdir().unwrap();
    let store = two_ended_runs(dir.path()).await;
    assert_eq!(store.remove(run_id(1)).await, Ok(true));
    store.close().await;
    let one = [("runs", 1), ("run_tags", 1), ("events", 2), ("logs", 1), ("removed", 0)];
    assert_eq!(rows(dir.path()), one);
}

#[tokio::test]
async fn what_a_crash_left_of_a_removed_run_goes_at_the_next_opening() {
    let dir = tempfile::tempdir().unwrap();
    two_ended_runs(dir.path()).await.close().await;
    let raw = Connection::open(dir.path().join("data").join("everstep.db")).unwrap();
    raw.execute_batch(
        "DELETE FROM run_tags WHERE run = 2; INSERT INTO removed VALUES (2);
         DELETE FROM runs WHERE no = 2;",
    )
    .unwrap();
    drop(raw);
    let store = open_at(dir.path()).unwrap();
    // The number of the removed run is not given away again.
    store.commit(first(3)).await.unwrap();
    assert_eq!(store.journal(run_id(3), 0, 10).await.unwrap().len(), 1);
    store.close().await;
    let kept = [("runs", 2), ("run_tags", 1), ("events", 3), ("logs", 1), ("removed", 0)];
    assert_eq!(rows(dir.path()), kept);
}
