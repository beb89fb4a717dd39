//! Removing runs that have ended, and finding them. A run vanishes in one transaction; what a long
//! one leaves of its journal and its logs follows in pieces, so that no commit waits for long. The
//! table `removed` knows the runs of which something is left, also after a crash.

use crate::StoreError;
use crate::embedded::refusal::Refusal;
use crate::{Ended, embedded::read};
use everstep_core::{Record, RunId, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

/// Rows that one transaction deletes of one run, at most.
const PIECE: usize = 1_000;

/// A run to be removed, with what the tables need to know of it.
#[derive(Debug)]
pub(super) struct Removal {
    run: RunId,
    started_at: u64,
    tags: Vec<(String, String)>,
}

impl Removal {
    pub(super) fn of(record: &Record) -> Self {
        let origin = &record.origin;
        Self {
            run: record.id(),
            started_at: origin.started_at.as_millis(),
            tags: origin.options.tags.clone().into_iter().collect(),
        }
    }

    pub(super) fn run(&self) -> RunId {
        self.run
    }
}

/// How far a removal has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Removed {
    /// There was no such run.
    Nothing,
    /// All of it is gone.
    Whole,
    /// The run is gone; rows of the one with this number are left.
    Rows(i64),
}

/// Removes a run that has ended, inside the writer's transaction.
pub(super) fn run(connection: &Connection, removal: &Removal) -> Result<Removed, Refusal> {
    let found = connection
        .prepare_cached("SELECT no, ended_at IS NOT NULL FROM runs WHERE run_id = ?1")?
        .query_row([removal.run.as_bytes()], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (no, ended): (i64, bool) = match found {
        Some(found) => found,
        None => return Ok(Removed::Nothing),
    };
    if !ended {
        return Err(Refusal::Refused(StoreError::NotEnded));
    }
    for (name, value) in &removal.tags {
        connection
            .prepare_cached(
                "DELETE FROM run_tags
                 WHERE name = ?1 AND value = ?2 AND started_at = ?3 AND run = ?4",
            )?
            .execute(params![name, value, removal.started_at, no])?;
    }
    connection.prepare_cached("DELETE FROM runs WHERE no = ?1")?.execute([no])?;
    if delete_rows(connection, no)? {
        return Ok(Removed::Whole);
    }
    connection.prepare_cached("INSERT INTO removed VALUES (?1)")?.execute([no])?;
    Ok(Removed::Rows(no))
}

/// Deletes the next piece of what a removed run has left, inside a transaction.
pub(super) fn rows(connection: &Connection, no: i64) -> rusqlite::Result<Removed> {
    if !delete_rows(connection, no)? {
        return Ok(Removed::Rows(no));
    }
    connection.prepare_cached("DELETE FROM removed WHERE run = ?1")?.execute([no])?;
    Ok(Removed::Whole)
}

/// Deletes a piece of the rows of a run; says whether that was the last of them.
fn delete_rows(connection: &Connection, no: i64) -> rusqlite::Result<bool> {
    let mut left = PIECE;
    for (table, key) in [("events", "id"), ("logs", "id"), ("run_references", "reference")] {
        let sql = format!(
            "DELETE FROM {table} WHERE run = ?1
             AND {key} IN (SELECT {key} FROM {table} WHERE run = ?1 LIMIT ?2)"
        );
        left -= connection.prepare_cached(&sql)?.execute(params![no, left])?;
        if left == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Deletes what a crash has left of removed runs. Called when the store is opened.
pub(super) fn finish(connection: &Connection) -> Result<(), StoreError> {
    let left: Vec<i64> = connection
        .prepare("SELECT run FROM removed")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    for no in left {
        while let Removed::Rows(_) = rows(connection, no)? {}
    }
    Ok(())
}

/// Runs that have ended and need no host, by workflow and then by time.
pub(super) fn ended(
    connection: &Connection,
    after: Option<&Ended>,
    limit: usize,
) -> Result<Vec<Ended>, StoreError> {
    let (workflow, at, run) = after.map_or(("", -1, RunId::from_bytes([0; 16])), |after| {
        (after.workflow.as_str(), read::millis(after.at), after.run)
    });
    let mut statement = connection.prepare_cached(
        "SELECT workflow, ended_at, run_id FROM runs INDEXED BY runs_ended
         WHERE ended_at IS NOT NULL AND (workflow, ended_at, run_id) > (?1, ?2, ?3)
         ORDER BY workflow, ended_at, run_id LIMIT ?4",
    )?;
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = statement.query_map(params![workflow, at, run.as_bytes(), limit], |row| {
        let (workflow, at, run) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let (at, run) = (Timestamp::from_millis(at), RunId::from_bytes(run));
        Ok(Ended { workflow, at, run })
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}
