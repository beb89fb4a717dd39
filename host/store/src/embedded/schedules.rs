//! Schedules in the database. Written by the writer thread like commits, read on reader connections.

use crate::embedded::refusal::Refusal;
use crate::embedded::rows::{Kind, checksum, encode};
use crate::schedule::{cursor, place};
use crate::{MAX_PAGE, SchedulePage, StoreError};
use everstep_core::{Schedule, ScheduleId};
use rusqlite::{Connection, OptionalExtension, Row, params};

/// A change of a schedule, ready to be written.
#[derive(Debug)]
pub(super) enum ScheduleWork {
    /// Writes it, when what is there has this revision; none for a new one.
    Put { id: ScheduleId, revision: u64, expected: Option<u64>, data: Vec<u8> },
    /// Deletes it.
    Delete { id: ScheduleId },
}

impl ScheduleWork {
    pub(super) fn put(schedule: &Schedule, expected: Option<u64>) -> Result<Self, StoreError> {
        let (id, revision, data) = (schedule.id, schedule.revision, encode(schedule)?);
        Ok(Self::Put { id, revision, expected, data })
    }
}

/// Does the change, inside the writer's transaction. Says whether there was anything to delete.
pub(super) fn apply(connection: &Connection, work: &ScheduleWork) -> Result<bool, Refusal> {
    match work {
        ScheduleWork::Put { id, revision, expected, data } => {
            let found: Option<u64> = connection
                .prepare_cached("SELECT revision FROM schedules WHERE id = ?1")?
                .query_row([id.as_bytes()], |row| row.get(0))
                .optional()?;
            if found != *expected {
                return Err(Refusal::Refused(StoreError::ScheduleChanged { revision: found }));
            }
            let sql = match expected {
                None => "INSERT INTO schedules (id, revision, crc, rec) VALUES (?1, ?2, ?3, ?4)",
                Some(_) => "UPDATE schedules SET revision = ?2, crc = ?3, rec = ?4 WHERE id = ?1",
            };
            let crc = checksum_of(*id, *revision, data);
            connection.prepare_cached(sql)?.execute(params![id.as_bytes(), revision, crc, data])?;
            Ok(true)
        }
        ScheduleWork::Delete { id } => {
            let deleted = connection
                .prepare_cached("DELETE FROM schedules WHERE id = ?1")?
                .execute([id.as_bytes()])?;
            Ok(deleted > 0)
        }
    }
}

pub(super) fn find(
    connection: &Connection,
    id: ScheduleId,
) -> Result<Option<Schedule>, StoreError> {
    let found = connection
        .prepare_cached("SELECT no, id, revision, crc, rec FROM schedules WHERE id = ?1")?
        .query_row([id.as_bytes()], Stored::read)
        .optional()?;
    found.map(|stored| stored.check()).transpose()
}

pub(super) fn page(
    connection: &Connection,
    after: Option<&str>,
    limit: usize,
) -> Result<SchedulePage, StoreError> {
    let limit = limit.clamp(1, MAX_PAGE);
    let mut statement = connection.prepare_cached(
        "SELECT no, id, revision, crc, rec FROM schedules WHERE no > ?1 ORDER BY no LIMIT ?2",
    )?;
    let rows = statement.query_map(params![place(after)?, limit + 1], Stored::read)?;
    let rows: Vec<Stored> = rows.collect::<Result<_, _>>()?;
    let mut page = SchedulePage::default();
    if rows.len() > limit {
        page.cursor = rows.get(limit - 1).map(|last| cursor(last.no));
    }
    for stored in rows.iter().take(limit) {
        match stored.check() {
            Ok(schedule) => page.schedules.push(schedule),
            Err(error) => {
                tracing::error!(%error, "a schedule is damaged");
                page.damaged.push(stored.id);
            }
        }
    }
    Ok(page)
}

/// A row, not yet believed.
struct Stored {
    no: u64,
    id: ScheduleId,
    revision: u64,
    crc: u32,
    data: Vec<u8>,
}

impl Stored {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            no: row.get(0)?,
            id: ScheduleId::from_bytes(row.get(1)?),
            revision: row.get(2)?,
            crc: row.get(3)?,
            data: row.get(4)?,
        })
    }

    fn check(&self) -> Result<Schedule, StoreError> {
        let damaged = |how: &str| StoreError::corrupt(format!("schedule {}: {how}", self.id));
        if checksum_of(self.id, self.revision, &self.data) != self.crc {
            return Err(damaged("its checksum is wrong"));
        }
        let schedule: Schedule =
            rmp_serde::from_slice(&self.data).map_err(|error| damaged(&error.to_string()))?;
        if (schedule.id, schedule.revision) != (self.id, self.revision) {
            return Err(damaged("its columns say something else"));
        }
        Ok(schedule)
    }
}

fn checksum_of(id: ScheduleId, revision: u64, data: &[u8]) -> u32 {
    checksum(Kind::Schedule, id.as_bytes(), revision, 1, data)
}
