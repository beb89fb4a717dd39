//! How commits become rows and rows become what was committed. Commits are packed by whoever
//! commits, so that the writer thread only moves bytes; rows are checked by whoever reads.
//!
//! The bytes of a value and its checksum are those of `codec`.

use crate::StoreError;
use crate::admission::Claim;
use crate::codec::decode;
pub(super) use crate::codec::{Kind, check_size, checksum, damaged, encode};
use everstep_core::record::Origin;
use everstep_core::{Commit, Record, RunId, StateKind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// Items that follow each other, as they stand in one row.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    pub(super) seq: u64,
    pub(super) n: u64,
    pub(super) crc: u32,
    pub(super) data: Vec<u8>,
}

impl Chunk {
    /// The position behind the last item.
    pub(super) fn end(&self) -> u64 {
        self.seq.saturating_add(self.n)
    }
}

/// What changes about a run and stands in a column of its own, so that runs can be found by it. One
/// more is a field here and in the log's payload, a column and an index in `schema.rs`, and a place in
/// the two statements of `apply.rs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) state: i64,
    pub(super) wake_at: Option<u64>,
    pub(super) ready: bool,
    pub(super) ended: bool,
    pub(super) failure_code: Option<Box<str>>,
}

impl Facts {
    fn of(record: &Record) -> Self {
        Self {
            state: state_number(record.state.kind()),
            wake_at: record.wake_at.map(|at| at.as_millis()),
            ready: record.ready,
            ended: record.is_terminal() && !record.ready,
            failure_code: record.failure_code().map(Box::from),
        }
    }
}

/// A commit, ready to be written.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) run: RunId,
    pub(super) claim: Claim,
    pub(super) events: Option<Chunk>,
    pub(super) logs: Option<Chunk>,
    pub(super) record: Chunk,
    pub(super) facts: Facts,
    pub(super) updated_at: u64,
    /// Of a commit that creates its run, or gives it another module.
    pub(super) origin: Option<Arc<Origin>>,
    /// Where the journal begins.
    pub(super) first: u64,
    pub(super) references: Vec<Reference>,
}

/// The bytes of a reference.
pub(super) type Reference = [u8; 16];

impl Packed {
    /// Whether the run begins with it.
    pub(super) fn creates(&self) -> bool {
        self.claim.expected_length == 0
    }

    pub(super) fn new(commit: &Commit) -> Result<Self, StoreError> {
        let claim = Claim::of(commit)?;
        let run = commit.run_id();
        let record = &commit.record;
        let data = encode(record)?;
        Ok(Self {
            run,
            claim,
            events: pack(Kind::Journal, run, claim.expected_length, &commit.entries)?,
            logs: pack(Kind::Logs, run, claim.first_log_line, &commit.logs)?,
            record: Chunk {
                seq: claim.length,
                n: claim.log_lines,
                crc: checksum(Kind::Record, run.as_bytes(), claim.length, claim.log_lines, &data),
                data,
            },
            facts: Facts::of(record),
            updated_at: record.updated_at.as_millis(),
            origin: commit.sets_origin().then(|| Arc::clone(&record.origin)),
            first: record.first,
            references: commit.references.iter().map(|hash| *hash.as_bytes()).collect(),
        })
    }

    /// Journal entries or log lines of this commit.
    pub(super) fn items(&self, kind: Kind) -> Option<&Chunk> {
        if kind == Kind::Logs { self.logs.as_ref() } else { self.events.as_ref() }
    }

    /// About how much memory and room in the log it takes.
    pub(super) fn bytes(&self) -> usize {
        let chunks = [self.events.as_ref(), self.logs.as_ref(), Some(&self.record)];
        256 + chunks.into_iter().flatten().map(|chunk| chunk.data.len()).sum::<usize>()
    }
}

fn pack<T: Serialize>(
    kind: Kind,
    run: RunId,
    seq: u64,
    items: &[T],
) -> Result<Option<Chunk>, StoreError> {
    if items.is_empty() {
        return Ok(None);
    }
    let data = encode(items)?;
    let n = items.len() as u64;
    Ok(Some(Chunk { seq, n, crc: checksum(kind, run.as_bytes(), seq, n, &data), data }))
}

/// The items of a row, if it is what was written.
pub(super) fn unpack<T: DeserializeOwned>(
    kind: Kind,
    run: RunId,
    (seq, n, crc): (u64, u64, u32),
    data: &[u8],
) -> Result<Vec<T>, StoreError> {
    let items: Vec<T> = decode(kind, run, (seq, n, crc), data)?;
    if items.len() as u64 != n {
        return Err(damaged(kind, run, seq, "its number of items is another one"));
    }
    Ok(items)
}

/// The record of a row, if it is what was written and what the row says about it is true.
pub(super) fn unpack_record(
    run: RunId,
    (length, log_lines, crc): (u64, u64, u32),
    state: i64,
    data: &[u8],
) -> Result<Record, StoreError> {
    let record: Record = decode(Kind::Record, run, (length, log_lines, crc), data)?;
    let agrees = record.id() == run
        && record.length == length
        && record.log_lines == log_lines
        && state_number(record.state.kind()) == state;
    if !agrees {
        return Err(damaged(Kind::Record, run, length, "its columns say something else"));
    }
    Ok(record)
}

/// The number of a state in the file; never change these. What has not ended is below 16.
pub(super) fn state_number(kind: StateKind) -> i64 {
    match kind {
        StateKind::Scheduled => 0,
        StateKind::Queued => 1,
        StateKind::Running => 2,
        StateKind::Sleeping => 3,
        StateKind::AwaitingRetry => 4,
        StateKind::Stuck => 5,
        StateKind::AwaitingEvent => 6,
        StateKind::AwaitingChild => 7,
        StateKind::Paused => 8,
        StateKind::Completed => 16,
        StateKind::Failed => 17,
        StateKind::Cancelled => 18,
    }
}
