//! Opening the store: applies what the log has and the database has not, before anything else; then
//! begins a new log behind it. Until that is durable the old log is not touched, so that a crash in
//! between costs nothing.

use crate::StoreError;
use crate::embedded::applier::in_one_transaction;
use crate::embedded::apply::Runs;
use crate::embedded::log::Unapplied;
use crate::embedded::rows::Packed;
use crate::embedded::schema;
use rusqlite::Connection;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;

/// What one transaction applies, about.
const PORTION: usize = 8_192;

/// How the new log begins.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) epoch: u64,
    /// In every frame of the new log.
    pub(super) mark: u64,
    /// The number in front of its first batch.
    pub(super) last: u64,
}

/// Brings the database up to date and counts the opening, durably.
pub(super) fn recover(connection: &Connection, log: &Path) -> Result<Beginning, StoreError> {
    let (applied, mark) = schema::log_state(connection)?;
    let last = match mark {
        Some(mark) => apply(connection, log, mark, applied)?,
        None => applied,
    };
    // A batch that was torn may have had the next number: that is never used again.
    let last = last + 1;
    let mark = RandomState::new().hash_one(last);
    let epoch = schema::begin_log(connection, last, mark)?;
    Ok(Beginning { epoch, mark, last })
}

/// Applies what is behind `applied`; returns the number of the last batch.
fn apply(connection: &Connection, log: &Path, mark: u64, applied: u64) -> Result<u64, StoreError> {
    let unapplied = Unapplied::read(log, mark, applied)?;
    let Some(last) = unapplied.last() else { return Ok(applied) };
    tracing::info!(from = applied + 1, to = last, "applying the log");
    let mut runs = Runs::prepare(connection)?;
    let mut commits: Vec<Packed> = Vec::new();
    for batch in unapplied.batches(log) {
        let (number, batch) = batch?;
        commits.extend(batch);
        if commits.len() >= PORTION || number == last {
            in_one_transaction(connection, &mut runs, commits.iter(), number)?;
            commits.clear();
        }
    }
    Ok(last)
}
