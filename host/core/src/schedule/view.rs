//! The shapes of schedules in the HTTP API. The server writes them, the client reads them.

use super::{Fired, Missed, Outcome, Overlap, Schedule, ScheduleId, ScheduledStart, Spec};
use crate::{RunId, Timestamp};
use serde::{Deserialize, Serialize};

/// How many of the next occurrences are shown.
const SHOWN: usize = 10;

/// Body of `POST /v1/schedules`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScheduleBody {
    /// Names the schedule: a second creation with the same reference makes no second schedule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// When it fires.
    pub spec: Spec,
    /// What it starts.
    pub start: ScheduledStart,
    /// What a fire does while the last run is open.
    #[serde(default)]
    pub overlap: Overlap,
    /// What becomes of occurrences that nobody was there for.
    #[serde(default)]
    pub missed: Missed,
    /// Whether it stands still until it is resumed.
    #[serde(default)]
    pub paused: bool,
}

impl ScheduleBody {
    /// A schedule without a name, with the usual policies.
    #[must_use]
    pub fn new(spec: Spec, start: ScheduledStart) -> Self {
        let (overlap, missed) = (Overlap::default(), Missed::default());
        Self { reference: None, spec, start, overlap, missed, paused: false }
    }
}

/// Answer of `POST /v1/schedules`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Created {
    /// False when the reference named a schedule that existed.
    pub created: bool,
    /// The schedule.
    pub schedule: ScheduleView,
}

/// A schedule, as lists and answers show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduleView {
    /// Its id.
    pub id: ScheduleId,
    /// The name that its user gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    /// How many runs it has started.
    pub fired: u64,
    /// When it last started a run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_fired_at: Option<Timestamp>,
    /// The run that it started last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<RunId>,
    /// The occurrence that waits for the end of the last run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffered: Option<Timestamp>,
    /// The next occurrences: ten, or one in lists. Of a paused schedule: were it resumed now.
    pub next: Vec<Timestamp>,
    /// Its last fires, newest first (not in lists).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recent: Option<Vec<Fired>>,
}

impl ScheduleView {
    /// The schedule on a page of its own.
    #[must_use]
    pub fn whole(schedule: &Schedule, now: Timestamp) -> Self {
        let recent = Some(schedule.state.recent.clone());
        Self { recent, ..Self::of(schedule, now, SHOWN) }
    }

    /// The schedule as a row of a list.
    #[must_use]
    pub fn row(schedule: &Schedule, now: Timestamp) -> Self {
        Self::of(schedule, now, 1)
    }

    fn of(schedule: &Schedule, now: Timestamp, shown: usize) -> Self {
        let Schedule { id, overlap, missed, paused, created_at, .. } = *schedule;
        let state = &schedule.state;
        Self {
            id,
            reference: schedule.reference.clone(),
            spec: schedule.spec.clone(),
            start: schedule.start.clone(),
            overlap,
            missed,
            paused,
            created_at,
            fired: state.fired,
            last_fired_at: state.last_fired_at,
            last_run: state.last_run,
            buffered: state.buffered.as_ref().map(|firing| firing.at),
            // What was stored had been checked; what cannot be read any more does not fire.
            next: schedule.spec.occurrences(now, shown).unwrap_or_default(),
            recent: None,
        }
    }
}

/// Answer of `GET /v1/schedules`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScheduleList {
    /// In the order of their creation.
    pub schedules: Vec<ScheduleView>,
    /// Pass it as `cursor` to get what follows; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Body of `POST /v1/schedules/{id}/trigger`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TriggerBody {
    /// What to do while the last run is open; what the schedule says when absent.
    pub overlap: Option<Overlap>,
}

/// Answer of `POST /v1/schedules/{id}/trigger`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Triggered {
    /// When.
    pub at: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
}

/// Body of `POST /v1/schedules/{id}/backfill`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackfillBody {
    /// The first instant.
    pub from: Timestamp,
    /// The last instant.
    pub to: Timestamp,
    /// What to do while the last run is open; `allow` when absent.
    #[serde(default = "allow")]
    pub overlap: Overlap,
}

fn allow() -> Overlap {
    Overlap::Allow
}

/// Answer of `POST /v1/schedules/{id}/backfill`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfilled {
    /// Every occurrence in the range, in order, and what came of it.
    pub fires: Vec<Triggered>,
}
