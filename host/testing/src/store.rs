//! What a store is to a server: runs with their journals, admitted or refused as a whole. It is
//! memory here, and outlives the crashes that a test injects. Invariant: a journal only grows.

use everstep_core::{Commit, Entry, InputHash, LogLine, Record, RunId, Timestamp};
use std::collections::{BTreeMap, BTreeSet};

/// A run as it is kept.
pub(crate) struct Stored {
    pub(crate) record: Record,
    pub(crate) journal: Vec<Entry>,
    pub(crate) logs: Vec<LogLine>,
    /// The names of what it has received.
    pub(crate) references: BTreeSet<InputHash>,
    /// When a host is to look at it next, unless a task ends before.
    due: Option<Timestamp>,
}

impl Stored {
    /// The journal from where it began last.
    pub(crate) fn current(&self) -> &[Entry] {
        let first = usize::try_from(self.record.first).unwrap_or(usize::MAX);
        self.journal.get(first..).unwrap_or_default()
    }

    /// What has been added since the journal was this long.
    pub(crate) fn since(&self, length: u64) -> &[Entry] {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.journal.get(length..).unwrap_or_default()
    }
}

/// All runs.
#[derive(Default)]
pub(crate) struct Store {
    runs: BTreeMap<RunId, Stored>,
    /// In the order of their starts.
    order: Vec<RunId>,
}

impl Store {
    pub(crate) fn find(&self, run: RunId) -> Option<&Stored> {
        self.runs.get(&run)
    }

    pub(crate) fn get(&self, run: RunId) -> &Stored {
        self.find(run).unwrap_or_else(|| panic!("this world has no run {run}"))
    }

    /// All runs in the order of their starts.
    pub(crate) fn runs(&self) -> &[RunId] {
        &self.order
    }

    /// Makes a commit true. It must follow on what is there.
    pub(crate) fn apply(&mut self, commit: Commit, now: Timestamp) {
        let run = commit.run_id();
        let stored = self.runs.entry(run).or_insert_with(|| {
            self.order.push(run);
            Stored {
                record: commit.record.clone(),
                journal: Vec::new(),
                logs: Vec::new(),
                references: BTreeSet::new(),
                due: None,
            }
        });
        let length = stored.journal.len() as u64;
        assert_eq!(length, commit.expected_length, "a commit does not follow on run {run}");
        stored.journal.extend(commit.entries);
        stored.logs.extend(commit.logs);
        stored.references.extend(commit.references);
        stored.due = if commit.record.ready { Some(now) } else { commit.record.wake_at };
        stored.record = commit.record;
    }

    /// Notes that there is nothing to do for a run before this time.
    pub(crate) fn rests(&mut self, run: RunId, until: Option<Timestamp>) {
        if let Some(stored) = self.runs.get_mut(&run) {
            stored.due = until;
        }
    }

    /// The runs that a host is to look at now, in the order of their starts.
    pub(crate) fn due(&self, now: Timestamp) -> Vec<RunId> {
        let is_due = |run: &&RunId| self.runs[run].due.is_some_and(|at| at <= now);
        self.order.iter().filter(is_due).copied().collect()
    }

    /// When a host is to look at a run next.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.runs.values().filter_map(|stored| stored.due).min()
    }
}
