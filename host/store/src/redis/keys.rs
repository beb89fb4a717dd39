//! The names of keys, and the order of members of indexes.
//!
//! Everything of a run and of its shard's indexes has the shard as hash tag, so that one script can
//! change it on a cluster. All indexes are sorted sets whose scores are 0: Redis orders their members
//! by their bytes, so a page can begin behind any member, however many have the same time. A member
//! ends with a *stamp*: a time and a run.

use everstep_core::{RunId, Timestamp};

/// The version of everything behind the prefix of the keys. Another one has other keys, and does not
/// touch these.
pub(super) const FORMAT: u32 = 1;

/// The bytes of a stamp.
pub(super) const STAMP: usize = 24;

/// What a shard has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Index {
    /// All runs by their start.
    Start,
    /// By workflow, then start.
    Workflow,
    /// By `wake_at`.
    Due,
    /// By the time since which they need a host.
    Ready,
    /// By workflow, then the time of their end.
    Ended,
    /// Those that have not ended, by module, then start.
    Open,
    /// Children by their parent, then start.
    Children,
    /// No index: who owns the shard (a hash).
    Owner,
    /// No index: says that the shard is there (a string).
    Made,
}

impl Index {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Workflow => "workflow",
            Self::Due => "due",
            Self::Ready => "ready",
            Self::Ended => "ended",
            Self::Open => "open",
            Self::Children => "children",
            Self::Owner => "owner",
            Self::Made => "made",
        }
    }
}

/// What a run has: each is a key of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// What a commit is judged by (a hash).
    Head,
    /// The record (a string).
    Record,
    /// The journal's entries (a list).
    Journal,
    /// The log lines (a list).
    Logs,
    /// The references that it had (a set).
    References,
    /// Its snapshot (a string). Of no concern to commits.
    Snapshot,
}

impl Part {
    fn letter(self) -> char {
        match self {
            Self::Head => 'h',
            Self::Record => 'r',
            Self::Journal => 'j',
            Self::Logs => 'l',
            Self::References => 'f',
            Self::Snapshot => 's',
        }
    }
}

/// The keys of one namespace.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
    pub(super) shards: u16,
}

impl Keys {
    pub(super) fn new(namespace: &str, shards: u16) -> Self {
        Self { prefix: format!("es{FORMAT}:{namespace}:"), shards }
    }

    /// Says what format a namespace has. Its name is the same in all formats.
    pub(super) fn keyspace(namespace: &str) -> String {
        format!("es:{namespace}:{{meta}}")
    }

    /// A key that belongs to no shard.
    pub(super) fn meta(&self, name: &str) -> String {
        format!("{}{{meta}}:{name}", self.prefix)
    }

    /// The channel on which commits are told.
    pub(super) fn hints(&self) -> String {
        format!("{}hints", self.prefix)
    }

    pub(super) fn index(&self, shard: u16, index: Index) -> String {
        format!("{}{{{shard}}}:{}", self.prefix, index.name())
    }

    pub(super) fn run(&self, run: RunId, part: Part) -> String {
        let (shard, letter) = (self.shard_of(run), part.letter());
        let id = u128::from_be_bytes(*run.as_bytes());
        format!("{}{{{shard}}}:{letter}:{id:032x}", self.prefix)
    }

    /// The CRC-32 (IEEE) of the sixteen bytes of the id, modulo the number of shards. Never change it:
    /// the keys of all runs depend on it.
    pub(super) fn shard_of(&self, run: RunId) -> u16 {
        let shard = crc32fast::hash(run.as_bytes()) % u32::from(self.shards.max(1));
        u16::try_from(shard).unwrap_or(0)
    }

    /// The keys that a script on a run declares, in the order in which it numbers them.
    pub(super) fn of_run(&self, run: RunId) -> Vec<String> {
        use Part::{Head, Journal, Logs, Record, References};
        let shard = self.shard_of(run);
        let parts = [Head, Record, Journal, Logs, References].map(|part| self.run(run, part));
        let indexes = [
            Index::Start,
            Index::Workflow,
            Index::Due,
            Index::Ready,
            Index::Ended,
            Index::Open,
            Index::Children,
            Index::Made,
        ];
        parts.into_iter().chain(indexes.map(|index| self.index(shard, index))).collect()
    }
}

/// A time and a run, ordered like them.
pub(super) fn stamp(at: Timestamp, run: RunId) -> [u8; STAMP] {
    let mut stamp = [0; STAMP];
    stamp[..8].copy_from_slice(&at.as_millis().to_be_bytes());
    stamp[8..].copy_from_slice(run.as_bytes());
    stamp
}

/// The stamp at the end of a member.
pub(super) fn unstamp(member: &[u8]) -> Option<(Timestamp, RunId)> {
    let stamp = member.last_chunk::<STAMP>()?;
    let (at, run) = stamp.split_first_chunk::<8>()?;
    let run = run.first_chunk::<16>()?;
    Some((Timestamp::from_millis(u64::from_be_bytes(*at)), RunId::from_bytes(*run)))
}

/// What stands in front of the stamps of a workflow. Workflows are ordered like their names.
pub(super) fn of_workflow(workflow: &str) -> Vec<u8> {
    [workflow.as_bytes(), &[0]].concat()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn stamps_are_ordered_and_read_back() {
        let place = |at, run: u8| (Timestamp::from_millis(at), RunId::from_bytes([run; 16]));
        let places = [place(0, 9), place(1, 0), place(1, 1), place(256, 0), place(u64::MAX, 255)];
        for pair in places.windows(2) {
            assert!(stamp(pair[0].0, pair[0].1) < stamp(pair[1].0, pair[1].1));
        }
        for (at, run) in places {
            let member = [of_workflow("a"), stamp(at, run).to_vec()].concat();
            assert_eq!(unstamp(&member), Some((at, run)));
        }
        assert_eq!(unstamp(&[1; 23]), None);
    }

    /// Keys are for ever: this fails when somebody changes them.
    #[test]
    fn the_names_of_keys_stay() {
        let keys = Keys::new("default", 64);
        let run = RunId::from_bytes(*b"0123456789abcdef");
        assert_eq!(keys.shard_of(run), 51);
        assert_eq!(
            keys.run(run, Part::Record),
            "es1:default:{51}:r:30313233343536373839616263646566"
        );
        assert_eq!(keys.index(7, Index::Due), "es1:default:{7}:due");
        assert_eq!(keys.meta("epoch"), "es1:default:{meta}:epoch");
        assert_eq!(Keys::keyspace("x"), "es:x:{meta}");
    }

    #[test]
    fn shards_are_evenly_filled() {
        let keys = Keys::new("default", 64);
        let mut filled = vec![0_u32; 64];
        for n in 0..64_000_u64 {
            let mut random = [0; 10];
            random[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            let run = RunId::new(Timestamp::from_millis(1_700_000_000_000 + n), random);
            filled[usize::from(keys.shard_of(run))] += 1;
        }
        assert!(filled.iter().all(|runs| (800..1_200).contains(runs)), "{filled:?}");
    }
}
