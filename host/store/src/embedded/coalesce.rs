//! Many commits of a run as one change of the tables. What the tables hold afterwards reads the same
//! as if the commits had been applied one by one; a test compares the two.

use crate::embedded::rows::{Chunk, Kind, Packed, Reference, checksum};
use everstep_core::record::Origin;
use everstep_core::{RunId, Token};
use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// A row is not made longer than this by joining others to it.
const MOST_ITEMS: u64 = 256;
const MOST_BYTES: usize = 256 << 10;

/// All that some commits change about one run.
#[derive(Debug)]
pub(super) struct Change<'c> {
    pub(super) run: RunId,
    /// Of a run that is not there yet.
    pub(super) origin: Option<&'c Origin>,
    /// Of a run that was given another module.
    pub(super) moved: Option<&'c Origin>,
    /// Whose record stands in the end.
    pub(super) newest: &'c Packed,
    pub(super) token: Option<Token>,
    pub(super) ready: Since,
    pub(super) ended: Since,
    /// The journal begins anew here: what is in front of it goes.
    pub(super) begins: Option<u64>,
    events: Vec<&'c Chunk>,
    logs: Vec<&'c Chunk>,
    pub(super) references: Vec<&'c Reference>,
}

/// Since when something is so, over several commits: a run that was ready before keeps its time,
/// unless it was not ready in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Since {
    /// What the row says counts no more.
    pub(super) anew: bool,
    pub(super) at: Option<u64>,
}

impl Since {
    const UNCHANGED: Self = Self { anew: false, at: None };

    fn then(self, is_so: bool, now: u64) -> Self {
        match is_so {
            true => Self { anew: self.anew, at: self.at.or(Some(now)) },
            false => Self { anew: true, at: None },
        }
    }
}

/// The changes that these commits make together, in the order in which their runs come first.
pub(super) fn coalesce<'c>(commits: impl Iterator<Item = &'c Packed>) -> Vec<Change<'c>> {
    let mut changes: Vec<Change<'c>> = Vec::new();
    let mut places = HashMap::new();
    for commit in commits {
        let place = match places.entry(commit.run) {
            Entry::Occupied(place) => *place.get(),
            Entry::Vacant(vacant) => {
                changes.push(Change::before(commit));
                *vacant.insert(changes.len() - 1)
            }
        };
        changes[place].add(commit);
    }
    changes
}

impl<'c> Change<'c> {
    /// No change yet to the run of this commit.
    fn before(commit: &'c Packed) -> Self {
        Self {
            run: commit.run,
            origin: commit.origin.as_deref().filter(|_| commit.creates()),
            moved: None,
            newest: commit,
            token: None,
            ready: Since::UNCHANGED,
            ended: Since::UNCHANGED,
            begins: None,
            events: Vec::new(),
            logs: Vec::new(),
            references: Vec::new(),
        }
    }

    fn add(&mut self, commit: &'c Packed) {
        self.newest = commit;
        if !commit.creates() {
            self.moved = commit.origin.as_deref().or(self.moved);
        }
        self.token = commit.claim.token.or(self.token);
        self.ready = self.ready.then(commit.facts.ready, commit.updated_at);
        self.ended = self.ended.then(commit.facts.ended, commit.updated_at);
        // The journal begins anew with an entry of this commit: what is before goes.
        if commit.first > 0 && commit.first >= commit.claim.expected_length {
            self.begins = Some(commit.first);
            self.events.clear();
        }
        self.events.extend(&commit.events);
        self.logs.extend(&commit.logs);
        self.references.extend(&commit.references);
    }

    /// The rows to be added to the journal.
    pub(super) fn events(&self) -> Vec<Cow<'c, Chunk>> {
        join(Kind::Journal, self.run, &self.events)
    }

    /// The rows to be added to the log lines.
    pub(super) fn logs(&self) -> Vec<Cow<'c, Chunk>> {
        join(Kind::Logs, self.run, &self.logs)
    }
}

/// Joins rows that follow each other, as long as they stay small.
fn join<'c>(kind: Kind, run: RunId, chunks: &[&'c Chunk]) -> Vec<Cow<'c, Chunk>> {
    let mut rows = Vec::with_capacity(1);
    let mut rest = chunks;
    while let Some(first) = rest.first() {
        let (mut n, mut bytes) = (first.n, first.data.len());
        let more = rest.windows(2).take_while(|pair| {
            n += pair[1].n;
            bytes += pair[1].data.len();
            pair[0].end() == pair[1].seq && n <= MOST_ITEMS && bytes <= MOST_BYTES
        });
        let (group, behind) = rest.split_at(1 + more.count());
        match (group, joined(kind, run, group)) {
            ([_, _, ..], Some(row)) => rows.push(Cow::Owned(row)),
            _ => rows.extend(group.iter().map(|chunk| Cow::Borrowed(*chunk))),
        }
        rest = behind;
    }
    rows
}

/// One row of several, which are MessagePack arrays; none when one of them is something else.
fn joined(kind: Kind, run: RunId, group: &[&Chunk]) -> Option<Chunk> {
    let seq = group.first()?.seq;
    let n = group.iter().map(|chunk| chunk.n).sum();
    let bytes: usize = group.iter().map(|chunk| chunk.data.len()).sum();
    let mut data = Vec::with_capacity(3 + bytes);
    data.push(0xdc);
    data.extend(u16::try_from(n).ok()?.to_be_bytes());
    for chunk in group {
        let (length, items) = array(&chunk.data)?;
        if length != chunk.n {
            return None;
        }
        data.extend(items);
    }
    Some(Chunk { seq, n, crc: checksum(kind, run.as_bytes(), seq, n, &data), data })
}

/// The length of a MessagePack array, and its items.
fn array(data: &[u8]) -> Option<(u64, &[u8])> {
    match *data {
        [mark @ 0x90..=0x9f, ref items @ ..] => Some((u64::from(mark & 15), items)),
        [0xdc, a, b, ref items @ ..] => Some((u64::from(u16::from_be_bytes([a, b])), items)),
        [0xdd, a, b, c, d, ref items @ ..] => {
            Some((u64::from(u32::from_be_bytes([a, b, c, d])), items))
        }
        _ => None,
    }
}
