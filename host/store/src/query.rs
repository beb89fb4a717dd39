//! What can be asked of a store besides single runs: lists of runs, runs that are due, runs that
//! need a host. The server's API, timers and recovery build these.

use everstep_core::{Digest, Record, RunId, StateKind, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// The most runs in one page.
pub const MAX_PAGE: usize = 1_000;

/// Which runs to list. All conditions must hold; an empty one holds for every run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunQuery {
    /// Runs of this workflow.
    pub workflow: Option<String>,
    /// Runs of this version.
    pub version: Option<String>,
    /// Runs in one of these states.
    pub states: BTreeSet<StateKind>,
    /// Runs that have not ended and execute this module.
    pub open_on: Option<Digest>,
    /// Children of this run.
    pub parent: Option<RunId>,
    /// Runs with all of these tags.
    pub tags: BTreeMap<String, String>,
    /// Runs that failed with this code, or are stuck by it.
    pub failure_code: Option<String>,
    /// Runs started at this instant or later.
    pub started_from: Option<Timestamp>,
    /// Runs started before this instant.
    pub started_before: Option<Timestamp>,
    /// Runs to which something last happened at this instant or later. No index helps here, so
    /// another condition should hold for few runs.
    pub updated_from: Option<Timestamp>,
    /// Runs to which nothing has happened since this instant.
    pub updated_before: Option<Timestamp>,
    /// Go on behind the page that had this cursor.
    pub cursor: Option<String>,
    /// The most runs to return; cut to between 1 and [`MAX_PAGE`].
    pub limit: usize,
}

impl Default for RunQuery {
    fn default() -> Self {
        Self {
            workflow: None,
            version: None,
            states: BTreeSet::new(),
            open_on: None,
            parent: None,
            tags: BTreeMap::new(),
            failure_code: None,
            started_from: None,
            started_before: None,
            updated_from: None,
            updated_before: None,
            cursor: None,
            limit: 100,
        }
    }
}

impl RunQuery {
    pub(crate) fn page_size(&self) -> usize {
        self.limit.clamp(1, MAX_PAGE)
    }

    /// Whether all conditions hold for the run; the cursor is none of them.
    pub(crate) fn matches(&self, record: &Record) -> bool {
        let origin = &record.origin;
        self.workflow.as_ref().is_none_or(|name| *name == origin.workflow)
            && self.version.as_ref().is_none_or(|version| *version == origin.version)
            && (self.states.is_empty() || self.states.contains(&record.state.kind()))
            && self.open_on.is_none_or(|it| it == origin.digest && !record.is_terminal())
            && self.parent.is_none_or(|run| origin.parent.is_some_and(|it| it.run == run))
            && self.tags.iter().all(|(name, value)| origin.options.tags.get(name) == Some(value))
            && self.failure_code.as_deref().is_none_or(|code| record.failure_code() == Some(code))
            && self.started_from.is_none_or(|from| origin.started_at >= from)
            && self.started_before.is_none_or(|before| origin.started_at < before)
            && self.updated_from.is_none_or(|from| record.updated_at >= from)
            && self.updated_before.is_none_or(|before| record.updated_at < before)
    }
}

/// A part of a list of runs.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunPage {
    /// By the time of their start, newest first.
    pub runs: Vec<Record>,
    /// Where to go on; none at the end. A page may be shorter than asked for and still have one.
    pub cursor: Option<String>,
    /// Runs of this page whose records are damaged. They are not in `runs`: one damaged run must
    /// not hide the others, and must not vanish without a word either.
    pub damaged: Vec<RunId>,
}

/// A run for which a timer, a retry or a time limit is due. Ordered by time, then by run; the last
/// one of a page says where the next page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Due {
    /// When (the record's `wake_at`).
    pub at: Timestamp,
    /// Which run.
    pub run: RunId,
}

/// A run that needs a host. Ordered by time, then by run; the last one of a page says where the
/// next page begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ready {
    /// Since when it has needed one without a break.
    pub since: Timestamp,
    /// Which run.
    pub run: RunId,
}

/// A run that has ended. Ordered by workflow, then by time, then by run; the last one of a page says
/// where the next page begins.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ended {
    /// Of which workflow.
    pub workflow: String,
    /// Since when it has ended and needed no host.
    pub at: Timestamp,
    /// Which run.
    pub run: RunId,
}

impl Ended {
    /// The place behind all runs of a workflow.
    #[must_use]
    pub fn behind(workflow: &str) -> Self {
        let at = Timestamp::from_millis(u64::MAX);
        Self { workflow: workflow.to_owned(), at, run: RunId::from_bytes([0xff; 16]) }
    }
}
