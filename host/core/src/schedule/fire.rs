//! What a schedule does next, and what a fire means. The server asks in a loop: [`Schedule::step`]
//! says what is due, [`Schedule::admit`] decides about it, and, when a run is to be started,
//! [`Schedule::finish`] notes what came of it. Every change is made durable before the next.

use super::{Cause, Fired, MOST_RECENT, Missed, Outcome, Overlap, Schedule, SpecError};
use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// An occurrence that is not further back than this was not missed: servers are busy at times.
const ON_TIME_MS: u64 = 10_000;
/// A clock that was set back by more than this was wrong before.
const SET_BACK_MS: u64 = 60_000;

/// A fire: an occurrence that is to start a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Firing {
    /// The occurrence.
    pub at: Timestamp,
    /// Why it fires.
    pub cause: Cause,
    /// Whether the run before is asked to stop first.
    #[serde(default)]
    pub cancels: bool,
}

impl Firing {
    /// A fire of this occurrence.
    #[must_use]
    pub fn new(at: Timestamp, cause: Cause) -> Self {
        Self { at, cause, cancels: false }
    }
}

/// What a schedule does next by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Nothing before this time; nothing at all when there is none.
    Wait(Option<Timestamp>),
    /// An occurrence fires. When it does so for others that were missed, the first of them.
    Fire(Timestamp, Option<Timestamp>),
    /// Occurrences from the first on were missed and do not fire, up to the second one.
    Miss(Timestamp, Timestamp),
}

impl Schedule {
    /// What is due at this time. When the clock has been set back far behind what was dealt with
    /// already, the times in between come again; an occurrence that has started a run does not
    /// start another one, because both have the same id.
    ///
    /// # Errors
    /// When the spec is none.
    pub fn step(&self, now: Timestamp) -> Result<Step, SpecError> {
        if self.paused {
            return Ok(Step::Wait(None));
        }
        let reader = self.spec.reader()?;
        let cursor = self.state.cursor;
        let cursor = if cursor.since(now) > SET_BACK_MS { now } else { cursor };
        let first = match reader.next(cursor) {
            Some(first) if first <= now => first,
            next => return Ok(Step::Wait(next)),
        };
        Ok(match self.missed {
            Missed::RunAll => Step::Fire(first, None),
            Missed::RunOnce => {
                let last = reader.last(first, now);
                Step::Fire(last, Some(first).filter(|first| *first < last))
            }
            Missed::Skip if now.since(first) <= ON_TIME_MS => Step::Fire(first, None),
            Missed::Skip => {
                let too_late = now.as_millis().saturating_sub(ON_TIME_MS + 1);
                let last = reader.last(first, Timestamp::from_millis(too_late));
                Step::Miss(first, reader.next(last).unwrap_or_else(|| now.plus(1)))
            }
        })
    }

    /// Notes occurrences that were missed, from the first up to but without the second.
    pub fn miss(&mut self, first: Timestamp, until: Timestamp) {
        let before = Timestamp::from_millis(until.as_millis().saturating_sub(1));
        self.state.cursor = before;
        self.remember(first, Cause::Due, Outcome::Missed { until });
    }

    /// Passes over an occurrence that needs nothing any more.
    pub fn pass(&mut self, firing: &Firing) {
        if firing.cause == Cause::Due {
            self.state.cursor = firing.at;
        }
    }

    /// The fire of somebody who asks for one at this time. Two that ask in the same millisecond
    /// mean two fires.
    #[must_use]
    pub fn trigger(&self, now: Timestamp) -> Firing {
        Firing::new(now.max(self.state.triggered.plus(1)), Cause::Trigger)
    }

    /// Decides about a fire, given whether the run that was started last is still open. Either it
    /// is under way from now on, or what came of it is returned.
    pub fn admit(&mut self, firing: Firing, overlap: Overlap, is_open: bool) -> Option<Outcome> {
        self.pass(&firing);
        if firing.cause == Cause::Trigger {
            self.state.triggered = firing.at;
        }
        let open = self.state.last_run.filter(|_| is_open);
        let Some(open) = open else {
            self.state.firing = Some(firing);
            return None;
        };
        let outcome = match overlap {
            Overlap::Allow => {
                self.state.firing = Some(firing);
                return None;
            }
            Overlap::CancelPrevious => {
                self.state.firing = Some(Firing { cancels: true, ..firing });
                return None;
            }
            Overlap::BufferOne if self.state.buffered.is_none() => {
                self.state.buffered = Some(firing.clone());
                Outcome::Buffered { open }
            }
            Overlap::BufferOne | Overlap::Skip => Outcome::Skipped { open },
        };
        self.remember(firing.at, firing.cause, outcome.clone());
        Some(outcome)
    }

    /// Lets the fire that waited go on, now that the run before has ended.
    pub fn release(&mut self) {
        self.state.firing = self.state.buffered.take();
    }

    /// Notes what came of the fire that was under way.
    pub fn finish(&mut self, outcome: Outcome, now: Timestamp) {
        let Some(firing) = self.state.firing.take() else { return };
        if let Outcome::Started { run } = &outcome {
            self.state.last_run = Some(*run);
            self.state.last_fired_at = Some(now);
            self.state.fired += 1;
        }
        // A fire that had waited is remembered as such, and once is enough.
        let waited = |fired: &Fired| {
            fired.at == firing.at
                && fired.cause == firing.cause
                && matches!(fired.outcome, Outcome::Buffered { .. })
        };
        self.state.recent.retain(|fired| !waited(fired));
        self.remember(firing.at, firing.cause, outcome);
    }

    /// Notes that an occurrence fires for others that were missed.
    pub fn make_up(&mut self, first: Timestamp, at: Timestamp) {
        self.remember(first, Cause::Due, Outcome::Missed { until: at });
    }

    fn remember(&mut self, at: Timestamp, cause: Cause, outcome: Outcome) {
        self.state.recent.insert(0, Fired { at, cause, outcome });
        self.state.recent.truncate(MOST_RECENT);
    }
}
