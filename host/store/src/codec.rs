//! The bytes of stored values: MessagePack, and a checksum over a value together with its place. Shared
//! by the durable backends, so that what one of them wrote is checked in the same way by all.
//!
//! The checksum covers the kind of value, its owner (a run, a module, a name), its position and number
//! of items, so that a value which ended up in another place is noticed, too.

use crate::StoreError;
use everstep_core::RunId;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The largest value, in bytes: half of what SQLite takes, a little less than what Redis takes.
pub(crate) const MAX_VALUE: usize = 500_000_000;

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Journal,
    Logs,
    Record,
    Manifest,
    Schedule,
    Publication,
}

impl Kind {
    /// Told apart in the checksum; never change these.
    fn mark(self) -> u8 {
        match self {
            Self::Journal => 1,
            Self::Logs => 2,
            Self::Record => 3,
            Self::Manifest => 4,
            Self::Schedule => 5,
            Self::Publication => 6,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Journal => "journal",
            Self::Logs => "log",
            Self::Record => "record",
            Self::Manifest => "manifest",
            Self::Schedule => "schedule",
            Self::Publication => "publication",
        }
    }
}

pub(crate) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, StoreError> {
    let mut data = Vec::with_capacity(512);
    rmp_serde::encode::write_named(&mut data, value)
        .map_err(|error| StoreError::Inconsistent(error.to_string()))?;
    check_size(data.len())?;
    Ok(data)
}

pub(crate) fn check_size(bytes: usize) -> Result<(), StoreError> {
    if bytes > MAX_VALUE {
        return Err(StoreError::TooLarge { bytes: bytes as u64, limit: MAX_VALUE as u64 });
    }
    Ok(())
}

/// What belongs to a run, if it is what was written.
pub(crate) fn decode<T: DeserializeOwned>(
    kind: Kind,
    run: RunId,
    (seq, n, crc): (u64, u64, u32),
    data: &[u8],
) -> Result<T, StoreError> {
    if checksum(kind, run.as_bytes(), seq, n, data) != crc {
        return Err(damaged(kind, run, seq, "its checksum is wrong"));
    }
    rmp_serde::from_slice(data).map_err(|error| damaged(kind, run, seq, &error.to_string()))
}

pub(crate) fn damaged(kind: Kind, run: RunId, seq: u64, how: &str) -> StoreError {
    StoreError::corrupt(format!("run {run}, {} at position {seq}: {how}", kind.name()))
}

pub(crate) fn checksum(kind: Kind, owner: &[u8], seq: u64, n: u64, data: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind.mark()]);
    hasher.update(owner);
    hasher.update(&seq.to_le_bytes());
    hasher.update(&n.to_le_bytes());
    hasher.update(data);
    hasher.finalize()
}
