//! The file: its format, its settings, its permissions, and files that are something else.

use super::open_at;
use crate::contract::{first, run_id};
use crate::embedded::schema;
use crate::{Store, StoreError};
use rusqlite::Connection;
use std::path::PathBuf;

async fn closed_store() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).unwrap();
    store.commit(first(1)).await.unwrap();
    store.close().await;
    let database = dir.path().join("data").join("everstep.db");
    (dir, database)
}

#[tokio::test]
async fn a_file_of_another_format_is_refused_untouched() {
    for (found, author) in [(schema::FORMAT - 2, "0.0.1"), (schema::FORMAT + 1, "9.9.9")] {
        let (dir, database) = closed_store().await;
        let raw = Connection::open(&database).unwrap();
        raw.execute_batch(&format!(
            "PRAGMA user_version = {found}; UPDATE meta SET value = '{author}'"
        ))
        .unwrap();
        drop(raw);
        let before = std::fs::read(&database).unwrap();
        let refused = open_at(dir.path()).unwrap_err();
        let expected =
            StoreError::Format { found, known: schema::FORMAT, written_by: author.into() };
        assert_eq!(refused, expected);
        let words = format!("format {found} by everstep {author}");
        assert!(refused.to_string().contains(&words), "{refused}");
        assert_eq!(std::fs::read(&database).unwrap(), before);
        // The lock is not left behind by a refusal.
        assert_eq!(open_at(dir.path()).unwrap_err(), refused);
    }
}

#[tokio::test]
async fn a_file_that_is_something_else_is_refused_untouched() {
    let (dir, database) = closed_store().await;
    for content in [
        "another program's",
        "not even a database, but long enough to have a header, \
        which is a hundred bytes in SQLite's format, so there",
    ] {
        std::fs::remove_file(&database).unwrap();
        if content.starts_with("not") {
            std::fs::write(&database, content).unwrap();
        } else {
            let raw = Connection::open(&database).unwrap();
            raw.execute_batch("CREATE TABLE theirs (x)").unwrap();
        }
        let before = std::fs::read(&database).unwrap();
        let refused = open_at(dir.path()).unwrap_err();
        assert_eq!(refused.code(), "store.foreign", "{refused}");
        assert_eq!(std::fs::read(&database).unwrap(), before);
    }
}

#[tokio::test]
async fn an_interrupted_creation_is_begun_again() {
    let (dir, database) = closed_store().await;
    std::fs::write(&database, "").unwrap();
    let store = open_at(dir.path()).unwrap();
    assert_eq!(store.record(run_id(1)).await.unwrap(), None);
    store.commit(first(1)).await.unwrap();
}

#[tokio::test]
async fn everything_is_there_after_closing_and_opening() {
    let (dir, database) = closed_store().await;
    assert!(!database.with_extension("db-wal").exists(), "closing leaves one tidy file");
    let raw = Connection::open(&database).unwrap();
    let mode: String = raw.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "wal");
    drop(raw);
    let store = open_at(dir.path()).unwrap();
    assert_eq!(store.record(run_id(1)).await.unwrap(), Some(first(1).record));
    assert_eq!(store.commit(first(1)).await, Err(StoreError::AlreadyExists));
    assert_eq!(store.epoch(), 2, "it grows with each opening");
}

#[cfg(unix)]
#[tokio::test]
async fn the_data_directory_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let (dir, _) = closed_store().await;
    let mode = std::fs::metadata(dir.path().join("data")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let refused = open_at(&file).unwrap_err();
    assert_eq!(refused.code(), "store.unavailable");
    assert!(refused.to_string().contains("file/data"), "{refused}");
}

#[test]
fn a_transaction_of_the_writer_waits_for_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let connection = schema::open_writer(&dir.path().join("everstep.db")).unwrap();
    let setting = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    assert_eq!(setting("PRAGMA synchronous").unwrap(), 2, "FULL: the log is synced by each COMMIT");
    assert_eq!(setting("PRAGMA fullfsync").unwrap(), 1);
    assert_eq!(setting("PRAGMA page_size").unwrap(), 4_096);
}

/// As it was before there were schedules.
#[tokio::test]
async fn a_file_without_a_table_that_came_later_gets_it() {
    let (dir, database) = closed_store().await;
    let raw = Connection::open(&database).unwrap();
    raw.execute_batch("DROP TABLE schedules").unwrap();
    drop(raw);
    let store = open_at(dir.path()).unwrap();
    assert_eq!(store.record(run_id(1)).await.unwrap(), Some(first(1).record));
    assert!(store.schedules(None, 10).await.unwrap().schedules.is_empty());
}

/// Format 2 had no log.
#[tokio::test]
async fn a_file_from_before_there_was_a_log_is_taken_over() {
    let (dir, database) = closed_store().await;
    std::fs::remove_dir_all(dir.path().join("data").join("log")).unwrap();
    let raw = Connection::open(&database).unwrap();
    raw.execute_batch(
        "PRAGMA user_version = 2; DELETE FROM meta WHERE name IN ('applied', 'log_mark')",
    )
    .unwrap();
    drop(raw);
    let store = open_at(dir.path()).unwrap();
    assert_eq!(store.record(run_id(1)).await.unwrap(), Some(first(1).record));
    assert_eq!(store.epoch(), 2);
    store.commit(first(2)).await.unwrap();
    store.close().await;
    let raw = Connection::open(&database).unwrap();
    let format: u32 = raw.query_row("PRAGMA user_version", [], |row| row.get(0)).unwrap();
    assert_eq!(format, schema::FORMAT);
}
