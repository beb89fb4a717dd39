//! The format of the database file: its tables, its settings, and the checks when it is opened.
//!
//! A change of the tables, or of what stands in a row, is a new [`FORMAT`]; a file of a format that
//! is not known is refused untouched.

use crate::StoreError;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};
use std::path::Path;
use std::time::Duration;

/// The format that this version reads and writes (`PRAGMA user_version`).
pub(super) const FORMAT: u32 = 3;

/// Marks the file as Everstep's (`PRAGMA application_id`): "EVST".
const APPLICATION: u32 = 0x4556_5354;

/// Older ones could corrupt the database when the write-ahead log was reset.
const OLDEST_SQLITE: i32 = 3_051_003;

/// One row per commit in `events` and `logs` (`seq` is the position of its first item, `n` their
/// number), because rows are what costs. Runs have dense numbers, because small integers make small
/// indexes; a number is never used again, because rows of a removed run may be there for a while. There are no tables of timers and no queue: the earliest timer of a run and its need of
/// a host are indexed in its row. The state has no index entries for completed runs (16): that is
/// what nearly all runs are, so a list of them finds enough without one. Of what is indexed, most
/// columns are null in most runs and take no room in their index.
const TABLES: &str = "
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    no INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id BLOB NOT NULL UNIQUE,
    token INTEGER NOT NULL,
    length INTEGER NOT NULL,
    log_lines INTEGER NOT NULL,
    state INTEGER NOT NULL,
    wake_at INTEGER,
    ready_at INTEGER,
    ended_at INTEGER,
    failure_code TEXT,
    started_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    workflow TEXT NOT NULL,
    version TEXT NOT NULL,
    crc INTEGER NOT NULL,
    rec BLOB NOT NULL,
    first INTEGER NOT NULL,
    parent BLOB,
    module BLOB NOT NULL
) STRICT;
CREATE INDEX runs_open ON runs (module, started_at) WHERE state < 16;
CREATE INDEX runs_parent ON runs (parent, started_at) WHERE parent IS NOT NULL;
CREATE INDEX runs_wake ON runs (wake_at, run_id) WHERE wake_at IS NOT NULL;
CREATE INDEX runs_ready ON runs (ready_at, run_id) WHERE ready_at IS NOT NULL;
CREATE INDEX runs_start ON runs (started_at);
CREATE INDEX runs_workflow ON runs (workflow, started_at);
CREATE INDEX runs_state ON runs (state, started_at) WHERE state <> 16;
CREATE INDEX runs_ended ON runs (workflow, ended_at, run_id) WHERE ended_at IS NOT NULL;
CREATE INDEX runs_failure ON runs (failure_code, started_at) WHERE failure_code IS NOT NULL;

CREATE TABLE removed (run INTEGER PRIMARY KEY) STRICT;

CREATE TABLE run_tags (
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    started_at INTEGER NOT NULL,
    run INTEGER NOT NULL,
    PRIMARY KEY (name, value, started_at, run)
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    n INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (run, seq)
) STRICT;

CREATE TABLE logs (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    n INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    data BLOB NOT NULL,
    UNIQUE (run, seq)
) STRICT;

CREATE TABLE run_references (
    run INTEGER NOT NULL,
    reference BLOB NOT NULL,
    PRIMARY KEY (run, reference)
) STRICT, WITHOUT ROWID;

CREATE TABLE modules (
    no INTEGER PRIMARY KEY,
    digest BLOB NOT NULL UNIQUE,
    size INTEGER NOT NULL,
    uploaded_at INTEGER NOT NULL,
    engine INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    manifest TEXT NOT NULL
) STRICT;
CREATE TABLE module_bytes (module INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE publications (
    workflow TEXT PRIMARY KEY,
    revision INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    rec BLOB NOT NULL
) STRICT, WITHOUT ROWID;
";

/// What came to format 1 later. A file without it is as good: it is made when the file is opened.
/// The number of a schedule is never given twice, because cursors of lists are made of them.
const ADDED_TABLES: &str = "
CREATE TABLE IF NOT EXISTS schedules (
    no INTEGER PRIMARY KEY AUTOINCREMENT,
    id BLOB NOT NULL UNIQUE,
    revision INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    rec BLOB NOT NULL
) STRICT;
";

/// The connection of the thread that writes the database. Creates the tables in a new file.
pub(super) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    if rusqlite::version_number() < OLDEST_SQLITE {
        let version = rusqlite::version();
        return Err(StoreError::Unavailable(format!(
            "SQLite {version} can damage its log; build with 3.51.3 or later"
        )));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
    let connection = open(path, flags, 256)?;
    let is_new = check_format(&connection, path)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Unavailable(format!(
            "{}: the file system does not allow a shared write-ahead log (is it a network one?)",
            path.display()
        )));
    }
    // FULL: a COMMIT returns after the fsync of SQLite's log. `fullfsync` is what that takes on macOS.
    connection.execute_batch(
        "PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON;",
    )?;
    if is_new {
        connection.execute_batch(&format!(
            "BEGIN; {TABLES} PRAGMA application_id = {APPLICATION}; \
             PRAGMA user_version = {FORMAT}; COMMIT;"
        ))?;
    }
    connection.execute_batch(ADDED_TABLES)?;
    connection.execute(
        "INSERT INTO meta VALUES ('written_by', ?1) ON CONFLICT DO UPDATE
         SET value = excluded.value WHERE value <> excluded.value",
        [env!("CARGO_PKG_VERSION")],
    )?;
    Ok(connection)
}

/// Whether the transactions that follow wait for their fsync. Those before one that does are then on
/// the disk, too, because they stand in front of it in SQLite's log.
pub(super) fn set_durable(connection: &Connection, durable: bool) -> rusqlite::Result<()> {
    connection.execute_batch(match durable {
        true => "PRAGMA synchronous = FULL",
        false => "PRAGMA synchronous = NORMAL",
    })
}

/// The last batch of the log that is in the tables, and the mark of the log, if there ever was one.
pub(super) fn log_state(connection: &Connection) -> Result<(u64, Option<u64>), StoreError> {
    let number = |name: &str| -> Result<Option<u64>, StoreError> {
        let value: Option<String> = connection
            .query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0))
            .optional()?;
        let wrong = |text: &str| StoreError::corrupt(format!("meta `{name}` is `{text}`"));
        value.map(|text| text.parse().map_err(|_| wrong(&text))).transpose()
    };
    Ok((number("applied")?.unwrap_or(0), number("log_mark")?))
}

/// Notes, inside a transaction, that all batches of the log up to this one are in the tables.
pub(super) fn set_applied(connection: &Connection, batch: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO meta VALUES ('applied', ?1) ON CONFLICT DO UPDATE
             SET value = excluded.value",
        )?
        .execute([batch.to_string()])
        .map(drop)
}

/// Begins a log with this mark behind batch `last`, and counts one more opening of the data, durably;
/// returns the count.
pub(super) fn begin_log(connection: &Connection, last: u64, mark: u64) -> Result<u64, StoreError> {
    let transaction = connection.unchecked_transaction()?;
    set_applied(&transaction, last)?;
    transaction.execute(
        "INSERT INTO meta VALUES ('log_mark', ?1) ON CONFLICT DO UPDATE SET value = excluded.value",
        [mark.to_string()],
    )?;
    // Not with RETURNING: the commit of a statement that returns rows is done, and may fail, when
    // the statement is reset, where nobody hears of it.
    transaction.execute(
        "INSERT INTO meta VALUES ('epoch', '1') ON CONFLICT DO UPDATE
         SET value = CAST(CAST(value AS INTEGER) + 1 AS TEXT)",
        [],
    )?;
    let epoch: String =
        transaction
            .query_row("SELECT value FROM meta WHERE name = 'epoch'", [], |row| row.get(0))?;
    transaction.commit()?;
    epoch.parse().map_err(|_| StoreError::corrupt(format!("the epoch is `{epoch}`")))
}

/// The connection of the thread that moves SQLite's log into the database file.
pub(super) fn open_checkpoints(path: &Path) -> Result<Connection, StoreError> {
    let connection = open(path, OpenFlags::SQLITE_OPEN_READ_WRITE, 1)?;
    connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA checkpoint_fullfsync = ON;")?;
    Ok(connection)
}

/// A connection that only reads.
pub(super) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    open(path, OpenFlags::SQLITE_OPEN_READ_ONLY, 16)
}

fn open(path: &Path, flags: OpenFlags, cache_mib: u32) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| StoreError::Unavailable(format!("{}: {error}", path.display())))?;
    // Nobody else of ours writes; this is for people who look at the file with other tools.
    connection.busy_timeout(Duration::from_secs(5))?;
    connection.set_prepared_statement_cache_capacity(64);
    connection
        .execute_batch(&format!(
            "PRAGMA cache_size = -{}; PRAGMA mmap_size = 1073741824;",
            cache_mib * 1024
        ))
        .map_err(|error| unreadable(path, error))?;
    Ok(connection)
}

fn unreadable(path: &Path, error: rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            StoreError::Foreign { path: path.to_owned(), why: error.to_string() }
        }
        _ => error.into(),
    }
}

/// Whether the file is new; an error when it is neither new nor one of ours.
fn check_format(connection: &Connection, path: &Path) -> Result<bool, StoreError> {
    let foreign = |why: String| StoreError::Foreign { path: path.to_owned(), why };
    let number = |pragma: &str| connection.query_row(pragma, [], |row| row.get::<_, u32>(0));
    let application = number("PRAGMA application_id").map_err(|error| unreadable(path, error))?;
    let found = number("PRAGMA user_version")?;
    if application == 0 && found == 0 {
        let objects = number("SELECT count(*) FROM sqlite_schema")?;
        return match objects {
            0 => Ok(true),
            _ => Err(foreign("it is another program's database".into())),
        };
    }
    if application != APPLICATION {
        return Err(foreign(format!("its application id is {application:#x}")));
    }
    if found != FORMAT {
        let written_by = connection
            .query_row("SELECT value FROM meta WHERE name = 'written_by'", [], |row| row.get(0))
            .optional()
            .ok()
            .flatten()
            .unwrap_or_else(|| "of an unknown version".to_owned());
        return Err(StoreError::Format { found, known: FORMAT, written_by });
    }
    Ok(false)
}
