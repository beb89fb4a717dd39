//! A commit: everything that becomes true at once. The state machine produces it, a store makes it
//! durable or refuses it as a whole.

use crate::{Entry, InputHash, JournalEvent, LogLine, Record, RunId, Token};
use serde::{Deserialize, Serialize};

/// One atomic change of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Commit {
    /// The length that the journal must have for this commit to apply; 0 also says that the run
    /// must not exist yet.
    pub expected_length: u64,
    /// The lease under which it was decided; none for what comes from outside a host. A store
    /// refuses a token older than one it has seen for the run.
    #[serde(default)]
    pub token: Option<Token>,
    /// Events to append.
    pub entries: Vec<Entry>,
    /// Log lines to append.
    #[serde(default)]
    pub logs: Vec<LogLine>,
    /// The record afterwards.
    pub record: Record,
    /// Names under which the run has received something. A store that has one of them already
    /// refuses the commit.
    #[serde(default)]
    pub references: Vec<InputHash>,
}

impl Commit {
    /// The run it changes.
    #[must_use]
    pub fn run_id(&self) -> RunId {
        self.record.id()
    }

    /// This commit and the one decided directly after it, as one.
    #[must_use]
    pub fn then(mut self, next: Self) -> Self {
        debug_assert_eq!(self.record.length, next.expected_length, "commits must be adjacent");
        self.entries.extend(next.entries);
        self.logs.extend(next.logs);
        self.references.extend(next.references);
        self.record = next.record;
        self.token = next.token;
        self
    }

    /// Whether what the run is stands in no commit before: it begins with this one, or is given
    /// another module.
    #[must_use]
    pub fn sets_origin(&self) -> bool {
        let upgrades = |entry: &Entry| matches!(entry.event, JournalEvent::RunUpgraded { .. });
        self.expected_length == 0 || self.entries.iter().any(upgrades)
    }

    /// The position of the first log line of this commit.
    #[must_use]
    pub fn first_log_line(&self) -> u64 {
        self.record.log_lines - self.logs.len() as u64
    }
}
