//! How a run came into memory.

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// How a run came into memory last, on a host that did not have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResumeView {
    /// From what.
    pub by: ResumedBy,
    /// The journal entries that were replayed.
    pub entries: u64,
    /// How long it took, in microseconds, with the reading of the store.
    pub took_us: u64,
    /// When.
    pub at: Timestamp,
}

/// From what a run was brought back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResumedBy {
    /// From a snapshot, and what stood behind that in the journal.
    Snapshot,
    /// From the whole journal.
    Replay,
}
