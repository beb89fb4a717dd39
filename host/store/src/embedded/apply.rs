//! Changes of runs written to the tables, inside a transaction of the applier, or of the recovery when
//! the store is opened. A change of a run that is known reads nothing: two inserts and an update.

use crate::StoreError;
use crate::embedded::coalesce::Change;
use crate::embedded::refusal::Refusal;
use crate::embedded::remove::{self, Removal, Removed};
use crate::embedded::rows::{Chunk, Facts};
use everstep_core::RunId;
use everstep_core::record::Origin;
use hashlink::LruCache;
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

/// How many runs are remembered; about 100 bytes each.
const REMEMBERED: usize = 65_536;

/// What is remembered of a run.
#[derive(Debug, Clone)]
struct Known {
    no: i64,
    facts: Facts,
}

/// The tables of runs with everything prepared for writing them.
pub(super) struct Runs<'c> {
    connection: &'c Connection,
    find: Statement<'c>,
    insert: Statement<'c>,
    insert_tag: Statement<'c>,
    update: Statement<'c>,
    update_record: Statement<'c>,
    insert_events: Statement<'c>,
    insert_logs: Statement<'c>,
    insert_reference: Statement<'c>,
    forget_events: Statement<'c>,
    begin_later: Statement<'c>,
    upgrade: Statement<'c>,
    known: LruCache<RunId, Known>,
}

impl<'c> Runs<'c> {
    pub(super) fn prepare(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            connection,
            find: connection.prepare(
                "SELECT no, state, wake_at, ready_at IS NOT NULL, ended_at IS NOT NULL, failure_code
                 FROM runs WHERE run_id = ?1",
            )?,
            insert: connection.prepare(
                "INSERT INTO runs (run_id, token, length, log_lines, state, wake_at, ready_at,
                                   ended_at, failure_code, started_at, updated_at, workflow,
                                   version, crc, rec, first, parent, module)
                 VALUES (?1, coalesce(?2, 0), ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14,
                         ?15, 0, ?16, ?17)",
            )?,
            insert_tag: connection.prepare("INSERT INTO run_tags VALUES (?1, ?2, ?3, ?4)")?,
            update: connection.prepare(
                "UPDATE runs SET token = coalesce(?2, token), length = ?3, log_lines = ?4, crc = ?5,
                        rec = ?6, updated_at = ?7, state = ?8, wake_at = ?9,
                        ready_at = CASE WHEN ?10 THEN ?11 ELSE coalesce(ready_at, ?11) END,
                        ended_at = CASE WHEN ?12 THEN ?13 ELSE coalesce(ended_at, ?13) END,
                        failure_code = ?14
                 WHERE no = ?1",
            )?,
            // SQLite rewrites the entries of an index when one of its columns is named, changed or
            // not. Most changes touch none of them.
            update_record: connection.prepare(
                "UPDATE runs SET token = coalesce(?2, token), length = ?3, log_lines = ?4, crc = ?5,
                        rec = ?6, updated_at = ?7
                 WHERE no = ?1",
            )?,
            insert_events: connection.prepare(
                "INSERT INTO events (run, seq, n, crc, data) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?,
            insert_logs: connection
                .prepare("INSERT INTO logs (run, seq, n, crc, data) VALUES (?1, ?2, ?3, ?4, ?5)")?,
            insert_reference: connection.prepare("INSERT INTO run_references VALUES (?1, ?2)")?,
            forget_events: connection
                .prepare("DELETE FROM events WHERE run = ?1 AND seq + n <= ?2")?,
            begin_later: connection.prepare("UPDATE runs SET first = ?2 WHERE no = ?1")?,
            upgrade: connection
                .prepare("UPDATE runs SET module = ?2, version = ?3 WHERE no = ?1")?,
            known: LruCache::new(REMEMBERED),
        })
    }

    pub(super) fn apply(&mut self, change: &Change<'_>) -> Result<(), Refusal> {
        let run = change.run;
        let no = match change.origin {
            Some(origin) => self.insert(change, change.moved.unwrap_or(origin))?,
            None => {
                let known = match self.known.get(&run) {
                    Some(known) => Some(known.clone()),
                    None => self.find.query_row([run.as_bytes()], known).optional()?,
                };
                let missing = || StoreError::corrupt(format!("run {run} is in no table"));
                let no = self.update(change, &known.ok_or_else(missing)?)?;
                if let Some(Origin { digest, version, .. }) = change.moved {
                    self.upgrade.execute(params![no, digest.as_bytes(), version])?;
                }
                no
            }
        };
        for reference in &change.references {
            self.insert_reference.execute(params![no, reference])?;
        }
        if let Some(first) = change.begins {
            self.begin_later.execute(params![no, first])?;
            self.forget_events.execute(params![no, first])?;
        }
        for chunk in change.events() {
            insert_chunk(&mut self.insert_events, no, &chunk)?;
        }
        for chunk in change.logs() {
            insert_chunk(&mut self.insert_logs, no, &chunk)?;
        }
        self.known.insert(run, Known { no, facts: change.newest.facts.clone() });
        Ok(())
    }

    /// Removes a run that has ended.
    pub(super) fn remove(&mut self, removal: &Removal) -> Result<Removed, Refusal> {
        self.known.remove(&removal.run());
        remove::run(self.connection, removal)
    }

    /// After a rollback what is remembered may never have happened.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }

    fn insert(&mut self, change: &Change<'_>, origin: &Origin) -> rusqlite::Result<i64> {
        let started_at = origin.started_at.as_millis();
        let newest = change.newest;
        self.insert.execute(params![
            change.run.as_bytes(),
            change.token.map(|token| token.0.cast_signed()),
            newest.claim.length,
            newest.claim.log_lines,
            newest.facts.state,
            newest.facts.wake_at,
            change.ready.at,
            change.ended.at,
            newest.facts.failure_code,
            started_at,
            newest.updated_at,
            origin.workflow,
            origin.version,
            newest.record.crc,
            newest.record.data,
            origin.parent.map(|parent| *parent.run.as_bytes()),
            origin.digest.as_bytes(),
        ])?;
        let no = self.connection.last_insert_rowid();
        for (name, value) in &origin.options.tags {
            self.insert_tag.execute(params![name, value, started_at, no])?;
        }
        Ok(no)
    }

    fn update(&mut self, change: &Change<'_>, known: &Known) -> Result<i64, Refusal> {
        let Change { newest, ready, ended, .. } = change;
        let facts = &newest.facts;
        let no = known.no;
        // SQLite's integers are signed; the bits are kept, and only Rust compares tokens.
        let token = change.token.map(|token| token.0.cast_signed());
        let Chunk { crc, data, .. } = &newest.record;
        let lengths = (newest.claim.length, newest.claim.log_lines);
        let same_times = !(ready.anew && facts.ready || ended.anew && facts.ended);
        let changed = if known.facts == *facts && same_times {
            self.update_record.execute(params![
                no,
                token,
                lengths.0,
                lengths.1,
                crc,
                data,
                newest.updated_at
            ])?
        } else {
            self.update.execute(params![
                no,
                token,
                lengths.0,
                lengths.1,
                crc,
                data,
                newest.updated_at,
                facts.state,
                facts.wake_at,
                ready.anew,
                ready.at,
                ended.anew,
                ended.at,
                facts.failure_code,
            ])?
        };
        if changed == 0 {
            let what = format!("run {} has left its table", change.run);
            return Err(StoreError::corrupt(what).into());
        }
        Ok(no)
    }
}

fn insert_chunk(statement: &mut Statement<'_>, run: i64, chunk: &Chunk) -> rusqlite::Result<usize> {
    statement.execute(params![run, chunk.seq, chunk.n, chunk.crc, chunk.data])
}

fn known(row: &Row<'_>) -> rusqlite::Result<Known> {
    Ok(Known {
        no: row.get(0)?,
        facts: Facts {
            state: row.get(1)?,
            wake_at: row.get(2)?,
            ready: row.get(3)?,
            ended: row.get(4)?,
            failure_code: row.get(5)?,
        },
    })
}
