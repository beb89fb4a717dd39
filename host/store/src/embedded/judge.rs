//! Which commits are admitted, decided by the writer thread before anything is written: from what it
//! remembers of a run, else from the overlay, else from the database, which is complete for every run
//! that the overlay does not have.

use crate::StoreError;
use crate::admission::Head;
use crate::embedded::overlay::Overlay;
use crate::embedded::refusal::Refusal;
use crate::embedded::rows::{Packed, Reference};
use everstep_core::{RunId, Token};
use hashlink::LruCache;
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::HashSet;
use std::sync::Arc;

/// How many runs the writer remembers; about 100 bytes each.
const REMEMBERED: usize = 65_536;

pub(super) struct Judge {
    /// Only reads.
    connection: Connection,
    overlay: Arc<Overlay>,
    heads: LruCache<RunId, Head>,
    /// References of commits that are admitted and not in the overlay yet.
    coming: HashSet<(RunId, Reference)>,
}

impl Judge {
    pub(super) fn new(connection: Connection, overlay: Arc<Overlay>) -> Self {
        let (heads, coming) = (LruCache::new(REMEMBERED), HashSet::new());
        Self { connection, overlay, heads, coming }
    }

    /// Admits or refuses a commit behind all that were admitted before. One that is admitted has
    /// happened, as far as the following are concerned.
    pub(super) fn admit(&mut self, commit: &Packed) -> Result<Head, Refusal> {
        let run = commit.run;
        let known = match self.heads.get(&run) {
            Some(head) => Some(*head),
            None => match self.overlay.head(run) {
                Some(head) => Some(head),
                None => self.stored_head(run)?,
            },
        };
        let head = commit.claim.admit(known.as_ref())?;
        if known.is_some() {
            for reference in &commit.references {
                if self.has_reference(run, reference)? {
                    return Err(StoreError::Duplicate.into());
                }
            }
        }
        self.coming.extend(commit.references.iter().map(|reference| (run, *reference)));
        self.heads.insert(run, head);
        Ok(head)
    }

    /// What was admitted is in the overlay.
    pub(super) fn settle(&mut self) {
        self.coming.clear();
    }

    /// The run is to be removed: what is remembered of it will not be true.
    pub(super) fn forget(&mut self, run: RunId) {
        self.heads.remove(&run);
    }

    fn has_reference(&self, run: RunId, reference: &Reference) -> rusqlite::Result<bool> {
        if self.coming.contains(&(run, *reference)) {
            return Ok(true);
        }
        if let Some(is_there) = self.overlay.has_reference(run, reference) {
            return Ok(is_there);
        }
        self.connection
            .prepare_cached(
                "SELECT 1 FROM run_references
                 WHERE run = (SELECT no FROM runs WHERE run_id = ?1) AND reference = ?2",
            )?
            .exists(params![run.as_bytes(), reference])
    }

    /// What the database says of a run. Rows behind its end were not written by anybody who knows
    /// the run: nothing is committed on top of them.
    fn stored_head(&self, run: RunId) -> Result<Option<Head>, Refusal> {
        let found = self
            .connection
            .prepare_cached(
                "SELECT token, length, log_lines,
                        EXISTS (SELECT 1 FROM events WHERE run = no AND seq >= length)
                        OR EXISTS (SELECT 1 FROM logs WHERE run = no AND seq >= log_lines)
                 FROM runs WHERE run_id = ?1",
            )?
            .query_row([run.as_bytes()], |row| {
                let token = Token(row.get::<_, i64>(0)?.cast_unsigned());
                Ok((Head { token, length: row.get(1)?, log_lines: row.get(2)? }, row.get(3)?))
            })
            .optional()?;
        match found {
            None => Ok(None),
            Some((head, false)) => Ok(Some(head)),
            Some((_, true)) => {
                let what = format!("run {run}: the tables contradict each other");
                tracing::error!(%what, "a commit met damaged data");
                Err(StoreError::Corrupt { what }.into())
            }
        }
    }
}
