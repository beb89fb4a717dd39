//! Reads of single runs, and of what is due or ready. Called on reader connections, inside a
//! transaction. Whatever is returned has been checked against its checksum and its neighbours.

use crate::embedded::rows::{Kind, damaged, unpack, unpack_record};
use crate::{Due, Ready, StoreError};
use everstep_core::{InputHash, Record, RunId, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use serde::de::DeserializeOwned;

/// Rows are read until their data has this size, whatever was asked for.
pub(super) const PAGE_BYTES: usize = 16 << 20;

pub(super) fn record(connection: &Connection, id: RunId) -> Result<Option<Record>, StoreError> {
    let mut find = connection
        .prepare_cached("SELECT length, log_lines, crc, state, rec FROM runs WHERE run_id = ?1")?;
    let mut rows = find.query([id.as_bytes()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let place = (row.get(0)?, row.get(1)?, row.get(2)?);
    let data = row.get_ref(4)?.as_blob().map_err(rusqlite::Error::from)?;
    unpack_record(id, place, row.get(3)?, data).map(Some)
}

pub(super) fn has_reference(
    connection: &Connection,
    id: RunId,
    reference: InputHash,
) -> Result<bool, StoreError> {
    let found = connection
        .prepare_cached(
            "SELECT 1 FROM run_references
             WHERE run = (SELECT no FROM runs WHERE run_id = ?1) AND reference = ?2",
        )?
        .exists(params![id.as_bytes(), reference.as_bytes()])?;
    Ok(found)
}

pub(super) fn references(
    connection: &Connection,
    id: RunId,
    after: Option<InputHash>,
    limit: usize,
) -> Result<Vec<InputHash>, StoreError> {
    // No reference is as short as the empty one, so all are behind it.
    let after = after.map_or_else(Vec::new, |after| after.as_bytes().to_vec());
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(
        "SELECT reference FROM run_references
         WHERE run = (SELECT no FROM runs WHERE run_id = ?1) AND reference > ?2
         ORDER BY reference LIMIT ?3",
    )?;
    let found = statement.query_map(params![id.as_bytes(), after, limit], |row| {
        Ok(InputHash::from_bytes(row.get(0)?))
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// Journal entries or log lines from a position on. The rows must follow each other without a gap
/// up to where the run says they end; a run with a hole in its past would replay another life.
pub(super) fn items<T: DeserializeOwned>(
    connection: &Connection,
    kind: Kind,
    id: RunId,
    from: u64,
    limit: usize,
) -> Result<Vec<T>, StoreError> {
    let (end, rows) = match kind {
        Kind::Logs => (
            "SELECT no, log_lines, 0 FROM runs WHERE run_id = ?1",
            "SELECT seq, n, crc, data FROM logs WHERE run = ?1 AND seq >= coalesce(
                (SELECT max(seq) FROM logs WHERE run = ?1 AND seq <= ?2), ?2) ORDER BY seq",
        ),
        _ => (
            "SELECT no, length, first FROM runs WHERE run_id = ?1",
            "SELECT seq, n, crc, data FROM events WHERE run = ?1 AND seq >= coalesce(
                (SELECT max(seq) FROM events WHERE run = ?1 AND seq <= ?2), ?2) ORDER BY seq",
        ),
    };
    let found = connection
        .prepare_cached(end)?
        .query_row([id.as_bytes()], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, u64>(1)?, row.get::<_, u64>(2)?))
        })
        .optional()?;
    let there = found.filter(|(_, end, first)| (*first..*end).contains(&from));
    let Some((no, end, _)) = there else { return Ok(Vec::new()) };

    let mut statement = connection.prepare_cached(rows)?;
    let mut rows = statement.query(params![no, from])?;
    let mut items: Vec<T> = Vec::new();
    let mut next = from;
    let mut bytes = 0;
    while next < end && items.len() < limit.max(1) && bytes < PAGE_BYTES {
        let Some(row) = rows.next()? else {
            return Err(damaged(kind, id, next, "it is missing"));
        };
        let (seq, n): (u64, u64) = (row.get(0)?, row.get(1)?);
        // Only the first row may begin before the position that was asked for.
        let begins_well = if items.is_empty() { seq <= next } else { seq == next };
        if !begins_well || seq.saturating_add(n) <= next {
            return Err(damaged(kind, id, next, "it is missing"));
        }
        let data = row.get_ref(3)?.as_blob().map_err(rusqlite::Error::from)?;
        let chunk: Vec<T> = unpack(kind, id, (seq, n, row.get(2)?), data)?;
        let skipped = usize::try_from(next - seq).unwrap_or(usize::MAX);
        items.extend(chunk.into_iter().skip(skipped));
        next = seq.saturating_add(n);
        bytes += data.len();
    }
    Ok(items)
}

pub(super) fn due(
    connection: &Connection,
    until: Timestamp,
    after: Option<Due>,
    limit: usize,
) -> Result<Vec<Due>, StoreError> {
    let until = millis(until);
    let found = in_order(
        connection,
        "SELECT wake_at, run_id FROM runs WHERE wake_at IS NOT NULL AND wake_at <= ?1
         AND (wake_at, run_id) > (?2, ?3) ORDER BY wake_at, run_id LIMIT ?4",
        until,
        after.map(|due| (due.at, due.run)),
        limit,
    )?;
    Ok(found.into_iter().map(|(at, run)| Due { at, run }).collect())
}

pub(super) fn ready(
    connection: &Connection,
    after: Option<Ready>,
    limit: usize,
) -> Result<Vec<Ready>, StoreError> {
    let found = in_order(
        connection,
        "SELECT ready_at, run_id FROM runs WHERE ready_at IS NOT NULL AND ready_at <= ?1
         AND (ready_at, run_id) > (?2, ?3) ORDER BY ready_at, run_id LIMIT ?4",
        i64::MAX,
        after.map(|ready| (ready.since, ready.run)),
        limit,
    )?;
    Ok(found.into_iter().map(|(since, run)| Ready { since, run }).collect())
}

/// Both queries are answered from their index alone.
fn in_order(
    connection: &Connection,
    query: &str,
    until: i64,
    after: Option<(Timestamp, RunId)>,
    limit: usize,
) -> Result<Vec<(Timestamp, RunId)>, StoreError> {
    let (at, run) = after.map_or((-1, RunId::from_bytes([0; 16])), |(at, run)| (millis(at), run));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(query)?;
    let found = statement.query_map(params![until, at, run.as_bytes(), limit], |row| {
        Ok((Timestamp::from_millis(row.get(0)?), RunId::from_bytes(row.get(1)?)))
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

pub(super) fn millis(at: Timestamp) -> i64 {
    i64::try_from(at.as_millis()).unwrap_or(i64::MAX)
}
