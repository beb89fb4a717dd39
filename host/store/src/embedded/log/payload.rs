//! The commits of a batch as bytes: integers little-endian, byte strings behind their length. Made by
//! the writer, read only when the store is opened after a crash.
//!
//! Positions follow from the lengths that a commit claims, so they are not written. An origin is taken
//! from the record of its commit.

use crate::StoreError;
use crate::admission::Claim;
use crate::embedded::rows::{Chunk, Facts, Packed, unpack_record};
use everstep_core::{Origin, RunId, Token};
use std::sync::Arc;

// Bits of what a commit has.
const READY: u8 = 1;
const ENDED: u8 = 2;
const TOKEN: u8 = 4;
const WAKE_AT: u8 = 8;
const FAILURE_CODE: u8 = 16;
const ORIGIN: u8 = 32;

/// Appends one commit.
pub(super) fn encode(commit: &Packed, out: &mut Vec<u8>) {
    let Packed { claim, facts, .. } = commit;
    let bit = |is: bool, bit: u8| if is { bit } else { 0 };
    out.extend(commit.run.as_bytes());
    out.push(
        bit(facts.ready, READY)
            | bit(facts.ended, ENDED)
            | bit(claim.token.is_some(), TOKEN)
            | bit(facts.wake_at.is_some(), WAKE_AT)
            | bit(facts.failure_code.is_some(), FAILURE_CODE)
            | bit(commit.origin.is_some(), ORIGIN),
    );
    out.extend(facts.state.to_le_bytes());
    let lengths = [claim.expected_length, claim.length, claim.first_log_line, claim.log_lines];
    let others = [commit.first, commit.updated_at, commit.references.len() as u64];
    let optional = claim.token.map(|token| token.0).into_iter().chain(facts.wake_at);
    for number in lengths.into_iter().chain(others).chain(optional) {
        out.extend(number.to_le_bytes());
    }
    if let Some(code) = &facts.failure_code {
        encode_bytes(code.as_bytes(), out);
    }
    for reference in &commit.references {
        out.extend(reference);
    }
    let chunks = [commit.events.as_ref(), commit.logs.as_ref(), Some(&commit.record)];
    for chunk in chunks.into_iter().flatten() {
        out.extend(chunk.crc.to_le_bytes());
        encode_bytes(&chunk.data, out);
    }
}

fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend((bytes.len() as u64).to_le_bytes());
    out.extend(bytes);
}

/// All commits of a payload whose checksum was right.
pub(super) fn decode(payload: &[u8]) -> Result<Vec<Packed>, StoreError> {
    let mut rest = Rest(payload);
    let mut commits = Vec::new();
    while !rest.0.is_empty() {
        let (mut commit, has_origin) =
            rest.commit().ok_or_else(|| StoreError::corrupt("it says nothing sensible"))?;
        if has_origin {
            commit.origin = Some(origin(&commit)?);
        }
        commits.push(commit);
    }
    Ok(commits)
}

fn origin(commit: &Packed) -> Result<Arc<Origin>, StoreError> {
    let Chunk { seq, n, crc, data } = &commit.record;
    let record = unpack_record(commit.run, (*seq, *n, *crc), commit.facts.state, data)?;
    Ok(record.origin)
}

/// What has not been read yet. Every step gives nothing when there is not enough.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// The next commit, and whether it has an origin.
    fn commit(&mut self) -> Option<(Packed, bool)> {
        let run = RunId::from_bytes(self.array()?);
        let [bits] = self.array()?;
        let has = |bit: u8| bits & bit != 0;
        let state = i64::from_le_bytes(self.array()?);
        let [expected_length, length, first_log_line, log_lines] =
            [self.number()?, self.number()?, self.number()?, self.number()?];
        let [first, updated_at, references] = [self.number()?, self.number()?, self.number()?];
        let token = if has(TOKEN) { Some(Token(self.number()?)) } else { None };
        let wake_at = if has(WAKE_AT) { Some(self.number()?) } else { None };
        let failure_code = if has(FAILURE_CODE) {
            Some(Box::from(std::str::from_utf8(self.bytes()?).ok()?))
        } else {
            None
        };
        let references = (0..references).map(|_| self.array()).collect::<Option<_>>()?;
        let entries = length.checked_sub(expected_length)?;
        let lines = log_lines.checked_sub(first_log_line)?;
        let commit = Packed {
            run,
            claim: Claim { expected_length, first_log_line, token, length, log_lines },
            events: self.chunk_of(expected_length, entries)?,
            logs: self.chunk_of(first_log_line, lines)?,
            record: self.chunk(length, log_lines)?,
            facts: Facts { state, wake_at, ready: has(READY), ended: has(ENDED), failure_code },
            updated_at,
            origin: None,
            first,
            references,
        };
        Some((commit, has(ORIGIN)))
    }

    /// Some chunk, or none where there are no items.
    fn chunk_of(&mut self, seq: u64, n: u64) -> Option<Option<Chunk>> {
        if n == 0 { Some(None) } else { self.chunk(seq, n).map(Some) }
    }

    fn chunk(&mut self, seq: u64, n: u64) -> Option<Chunk> {
        let crc = u32::from_le_bytes(self.array()?);
        Some(Chunk { seq, n, crc, data: self.bytes()?.to_vec() })
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }
}
