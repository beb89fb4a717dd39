//! Schedules: what starts runs at times. This module knows when a schedule fires, what happens to
//! occurrences that nobody was there for, and what a fire means while the last run is still open.
//! The server (`host/server/src/schedules`) asks it, keeps what it answers, and starts the runs.
//!
//! A fire is written down (`state.firing`) before its run is started, and the id of the run derives
//! from the occurrence. So a crash at any point in between starts the run exactly once: whoever
//! finds a fire that is under way does it again, which changes nothing when it was done.
//!
//! Invariant: an occurrence at or before `state.cursor` is never considered again (but see
//! [`Schedule::step`] for clocks that are set back).

mod cron;
mod fire;
mod id;
mod spec;
mod view;

#[cfg(test)]
mod tests;

pub use fire::{Firing, Step};
pub use id::{ParseScheduleIdError, ScheduleId};
pub use spec::{LONGEST_INTERVAL_MS, SHORTEST_INTERVAL_MS, Spec, SpecError};
pub use view::{
    BackfillBody, Backfilled, Created, ScheduleBody, ScheduleList, ScheduleView, TriggerBody,
    Triggered,
};

use crate::api::StartBody;
use crate::{Payload, RetryPolicy, RunId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The tag that runs of a schedule carry; its value is the reference, or the id.
pub const TAG: &str = "schedule";
/// How many of its last fires a schedule remembers.
pub const MOST_RECENT: usize = 10;

/// What a fire does while the run that the schedule started last is still open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It starts a run all the same.
    Allow,
    /// It starts none.
    #[default]
    Skip,
    /// It asks the open run to stop, and starts one.
    CancelPrevious,
    /// It waits for the end of the open run. One fire waits; further ones are skipped.
    BufferOne,
}

/// What becomes of occurrences that nobody was there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// The last of them fires, for all.
    #[default]
    RunOnce,
    /// Each of them fires, in order.
    RunAll,
    /// None of them fires.
    Skip,
}

/// What a schedule starts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduledStart {
    /// The workflow's name.
    pub workflow: String,
    /// Its version; the newest one at the time of each fire when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The input; `null` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Payload>,
    /// When to try a whole run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// The longest a run may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Searchable labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Only hosts that serve this pool may have its runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

impl ScheduledStart {
    /// The newest version of a workflow with `null` as input.
    #[must_use]
    pub fn new(workflow: impl Into<String>) -> Self {
        Self {
            workflow: workflow.into(),
            version: None,
            input: None,
            retry: None,
            timeout_ms: None,
            tags: BTreeMap::new(),
            pool: None,
        }
    }
}

/// A schedule, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// Its id.
    pub id: ScheduleId,
    /// The name that its user gave it.
    pub reference: Option<String>,
    /// When it fires.
    pub spec: Spec,
    /// What it starts.
    pub start: ScheduledStart,
    /// What a fire does while the last run is open.
    pub overlap: Overlap,
    /// What becomes of occurrences that nobody was there for.
    pub missed: Missed,
    /// Whether it stands still.
    pub paused: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// Grows with every change. A new schedule begins at the time it was made, so that a change
    /// which was decided for a deleted namesake cannot pass for one of this.
    pub revision: u64,
    /// What has happened so far.
    pub state: ScheduleState,
}

/// What has happened to a schedule so far.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ScheduleState {
    /// All occurrences up to here have been dealt with.
    pub cursor: Timestamp,
    /// When it was last triggered.
    pub triggered: Timestamp,
    /// A fire that is under way.
    pub firing: Option<Firing>,
    /// A fire that waits for the end of the last run.
    pub buffered: Option<Firing>,
    /// When it last started a run.
    pub last_fired_at: Option<Timestamp>,
    /// The run that it started last.
    pub last_run: Option<RunId>,
    /// How many runs it has started.
    pub fired: u64,
    /// The last fires, newest first.
    pub recent: Vec<Fired>,
}

/// What came of an occurrence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fired {
    /// The occurrence.
    pub at: Timestamp,
    /// Why it fired.
    pub cause: Cause,
    /// What came of it.
    pub outcome: Outcome,
}

/// Why a schedule fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The time had come.
    Due,
    /// Somebody asked for it.
    Trigger,
    /// Somebody asked for a time in the past.
    Backfill,
}

/// What came of a fire.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A run was started.
    Started {
        /// Its id.
        run: RunId,
    },
    /// The occurrence had started this run before.
    Existing {
        /// Its id.
        run: RunId,
    },
    /// No run was started, because this one was open.
    Skipped {
        /// The open run.
        open: RunId,
    },
    /// It waits for the end of this run.
    Buffered {
        /// The open run.
        open: RunId,
    },
    /// Nobody was there for it, nor for any occurrence before `until`, and the policy says that
    /// they start no run of their own.
    Missed {
        /// The first occurrence behind those that were missed.
        until: Timestamp,
    },
    /// The start was refused.
    Refused {
        /// The stable code.
        code: String,
        /// What was wrong.
        detail: String,
    },
}

impl Schedule {
    /// A new schedule. `random` names it when it has no reference.
    ///
    /// # Errors
    /// When its spec makes no sense.
    pub fn new(body: ScheduleBody, random: [u8; 16], now: Timestamp) -> Result<Self, SpecError> {
        body.spec.check(now)?;
        let id = match &body.reference {
            Some(reference) => ScheduleId::from_reference(reference),
            None => ScheduleId::new(random),
        };
        Ok(Self {
            id,
            reference: body.reference,
            spec: body.spec,
            start: body.start,
            overlap: body.overlap,
            missed: body.missed,
            paused: body.paused,
            created_at: now,
            revision: now.as_millis(),
            state: ScheduleState { cursor: now, ..ScheduleState::default() },
        })
    }

    /// Whether both fire at the same times and start the same.
    #[must_use]
    pub fn is_defined_like(&self, other: &Self) -> bool {
        (&self.spec, &self.start, self.overlap, self.missed)
            == (&other.spec, &other.start, other.overlap, other.missed)
    }

    /// The reference, or else the id: what its runs are tagged with.
    #[must_use]
    pub fn label(&self) -> String {
        self.reference.clone().unwrap_or_else(|| self.id.to_string())
    }

    /// The start of the run of a fire. Its idempotency key derives from schedule and occurrence.
    #[must_use]
    pub fn start_body(&self, firing: &Firing) -> StartBody {
        let start = self.start.clone();
        let mut tags = start.tags;
        tags.insert(TAG.into(), self.label());
        StartBody {
            version: start.version,
            input: start.input,
            idempotency_key: Some(self.key(firing)),
            retry: start.retry,
            timeout_ms: start.timeout_ms,
            tags,
            pool: start.pool,
            ..StartBody::new(start.workflow)
        }
    }

    /// The run of a fire: the same for the same occurrence, and none of a deleted namesake.
    #[must_use]
    pub fn run_of(&self, firing: &Firing) -> RunId {
        RunId::from_key(&self.start.workflow, &self.key(firing))
    }

    fn key(&self, firing: &Firing) -> String {
        let kind = if firing.cause == Cause::Trigger { "trigger" } else { "at" };
        format!("schedule/{}/{}/{kind}/{}", self.id, self.created_at.as_millis(), firing.at)
    }

    /// Stands still from now on.
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Goes on. What would have fired meanwhile was not missed and is passed over.
    pub fn resume(&mut self, now: Timestamp) {
        self.paused = false;
        self.state.cursor = now;
    }
}
