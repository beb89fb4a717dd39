//! One commit applied to the tables, inside the writer's transaction. Only the writer thread is
//! here. A commit to a run that it knows reads nothing: two inserts and an update.

use crate::StoreError;
use crate::admission::Head;
use crate::embedded::remove::{self, Removal, Removed};
use crate::embedded::rows::{Chunk, Facts, Packed};
use everstep_core::{Digest, RunId, Token};
use hashlink::LruCache;
use rusqlite::{Connection, OptionalExtension, Row, Statement, params};

/// How many runs the writer remembers; about 100 bytes each.
const REMEMBERED: usize = 65_536;

/// What the writer remembers of a run.
#[derive(Debug, Clone)]
struct Known {
    no: i64,
    head: Head,
    facts: Facts,
    module: Digest,
}

/// Why a commit was not applied.
pub(super) enum Refusal {
    /// By the rules; nothing was changed.
    Refused(StoreError),
    /// By the database; what was changed has to be rolled back.
    Broken(rusqlite::Error),
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for Refusal {
    fn from(error: rusqlite::Error) -> Self {
        Self::Broken(error)
    }
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
    has_reference: Statement<'c>,
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
                "SELECT no, token, length, log_lines, state, wake_at, ready_at IS NOT NULL,
                        ended_at IS NOT NULL, failure_code, module
                 FROM runs WHERE run_id = ?1",
            )?,
            insert: connection.prepare(
                "INSERT INTO runs (run_id, token, length, log_lines, state, wake_at, ready_at,
                                   ended_at, failure_code, started_at, updated_at, workflow,
                                   version, crc, rec, first, parent, module)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, 0, ?16,
                         ?17)",
            )?,
            insert_tag: connection.prepare("INSERT INTO run_tags VALUES (?1, ?2, ?3, ?4)")?,
            update: connection.prepare(
                "UPDATE runs SET token = ?2, length = ?3, log_lines = ?4, crc = ?5, rec = ?6,
                        updated_at = ?7, state = ?8, wake_at = ?9,
                        ready_at = CASE WHEN ?10 THEN coalesce(ready_at, ?7) END,
                        ended_at = CASE WHEN ?11 THEN coalesce(ended_at, ?7) END,
                        failure_code = ?12
                 WHERE no = ?1",
            )?,
            // SQLite rewrites the entries of an index when one of its columns is named, changed or
            // not. Most commits change none of them.
            update_record: connection.prepare(
                "UPDATE runs SET token = ?2, length = ?3, log_lines = ?4, crc = ?5, rec = ?6,
                        updated_at = ?7
                 WHERE no = ?1",
            )?,
            insert_events: connection.prepare(
                "INSERT INTO events (run, seq, n, crc, data) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?,
            insert_logs: connection
                .prepare("INSERT INTO logs (run, seq, n, crc, data) VALUES (?1, ?2, ?3, ?4, ?5)")?,
            has_reference: connection
                .prepare("SELECT 1 FROM run_references WHERE run = ?1 AND reference = ?2")?,
            insert_reference: connection.prepare("INSERT INTO run_references VALUES (?1, ?2)")?,
            forget_events: connection
                .prepare("DELETE FROM events WHERE run = ?1 AND seq + n <= ?2")?,
            begin_later: connection.prepare("UPDATE runs SET first = ?2 WHERE no = ?1")?,
            upgrade: connection
                .prepare("UPDATE runs SET module = ?2, version = ?3 WHERE no = ?1")?,
            known: LruCache::new(REMEMBERED),
        })
    }

    pub(super) fn apply(&mut self, packed: &Packed) -> Result<(), Refusal> {
        let known = match self.known.get(&packed.run) {
            Some(known) => Some(known.clone()),
            None => self.find.query_row([packed.run.as_bytes()], known).optional()?,
        };
        let head = packed.claim.admit(known.as_ref().map(|known| &known.head))?;
        if let Some(known) = &known {
            self.check_references(known.no, packed)?;
        }
        let no = match &known {
            None => self.insert(packed, &head)?,
            Some(known) => self.update(packed, known, &head)?,
        };
        let module = packed.origin.digest;
        if known.is_some_and(|known| known.module != module) {
            let version = &packed.origin.version;
            self.upgrade.execute(params![no, module.as_bytes(), version])?;
        }
        for reference in &packed.references {
            self.insert_reference.execute(params![no, reference.as_bytes()])?;
        }
        // The journal begins anew with an entry of this commit: what is before goes.
        if packed.first > 0 && packed.first >= packed.claim.expected_length {
            self.begin_later.execute(params![no, packed.first])?;
            self.forget_events.execute(params![no, packed.first])?;
        }
        if let Some(chunk) = &packed.events {
            insert_chunk(&mut self.insert_events, no, chunk)?;
        }
        if let Some(chunk) = &packed.logs {
            insert_chunk(&mut self.insert_logs, no, chunk)?;
        }
        self.known.insert(packed.run, Known { no, head, facts: packed.facts.clone(), module });
        Ok(())
    }

    fn check_references(&mut self, no: i64, packed: &Packed) -> Result<(), Refusal> {
        for reference in &packed.references {
            if self.has_reference.exists(params![no, reference.as_bytes()])? {
                return Err(StoreError::Duplicate.into());
            }
        }
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

    fn insert(&mut self, packed: &Packed, head: &Head) -> Result<i64, rusqlite::Error> {
        let started_at = packed.origin.started_at.as_millis();
        self.insert.execute(params![
            packed.run.as_bytes(),
            token_column(head.token),
            head.length,
            head.log_lines,
            packed.facts.state,
            packed.facts.wake_at,
            packed.facts.ready.then_some(packed.updated_at),
            packed.facts.ended.then_some(packed.updated_at),
            packed.facts.failure_code,
            started_at,
            packed.updated_at,
            packed.origin.workflow,
            packed.origin.version,
            packed.record.crc,
            packed.record.data,
            packed.origin.parent.map(|parent| *parent.run.as_bytes()),
            packed.origin.digest.as_bytes(),
        ])?;
        let no = self.connection.last_insert_rowid();
        for (name, value) in &packed.origin.options.tags {
            self.insert_tag.execute(params![name, value, started_at, no])?;
        }
        Ok(no)
    }

    fn update(
        &mut self,
        packed: &Packed,
        known: &Known,
        head: &Head,
    ) -> Result<i64, rusqlite::Error> {
        let Packed { facts, updated_at, .. } = packed;
        let no = known.no;
        let token = token_column(head.token);
        let Chunk { crc, data, .. } = &packed.record;
        if known.facts == *facts {
            self.update_record.execute(params![
                no,
                token,
                head.length,
                head.log_lines,
                crc,
                data,
                updated_at,
            ])?;
        } else {
            self.update.execute(params![
                no,
                token,
                head.length,
                head.log_lines,
                crc,
                data,
                updated_at,
                facts.state,
                facts.wake_at,
                facts.ready,
                facts.ended,
                facts.failure_code,
            ])?;
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
        head: Head {
            token: Token(row.get::<_, i64>(1)?.cast_unsigned()),
            length: row.get(2)?,
            log_lines: row.get(3)?,
        },
        facts: Facts {
            state: row.get(4)?,
            wake_at: row.get(5)?,
            ready: row.get(6)?,
            ended: row.get(7)?,
            failure_code: row.get(8)?,
        },
        module: Digest::from_bytes(row.get(9)?),
    })
}

/// SQLite's integers are signed; the bits are kept, and only Rust compares tokens.
fn token_column(token: Token) -> i64 {
    token.0.cast_signed()
}
