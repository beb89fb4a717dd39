//! What is due of a schedule, done. Every change of a schedule is durable before the next one is
//! begun, and a fire is written down before its run is started, so whoever finds one under way (after
//! a crash, or because a trigger and the loop meet) can just do it again.
//!
//! Changes are decided for the revision that was read. When something else was quicker, the schedule
//! is read and decided about again.

use super::{Service, ServiceError};
use crate::clock;
use crate::schedules::Look;
use everstep_core::api::CancelBody;
use everstep_core::schedule::{Cause, Firing, Outcome, Overlap, Step, Triggered};
use everstep_core::{RunId, Schedule, ScheduleId};
use everstep_store::{Hint, StoreError};
use std::sync::Arc;
use std::time::Duration;

/// The most that one schedule does before others have their turn.
const MOST_IN_A_ROW: usize = 100;
/// How often the run that a fire waits for is looked at, in milliseconds.
const LOOK_MS: u64 = 1_000;
/// How often a decision is made again because the schedule moved on.
pub(super) const MAX_TRIES: u64 = 32;

impl Service {
    /// Does what is due of a schedule, and says when to look at it again.
    pub(crate) async fn advance(&self, id: ScheduleId) -> Result<Look, ServiceError> {
        for _ in 0..MOST_IN_A_ROW {
            let Some(schedule) = self.parts.store.schedule(id).await? else {
                return Ok(Look::Gone);
            };
            match self.advance_once(schedule).await {
                Ok(Some(look)) => return Ok(look),
                Ok(None) | Err(ServiceError::Store(StoreError::ScheduleChanged { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Look::At(clock::now()))
    }

    /// Does one thing. When there is none to do, says until when.
    async fn advance_once(&self, mut schedule: Schedule) -> Result<Option<Look>, ServiceError> {
        if schedule.state.firing.is_some() {
            return self.finish_fire(schedule).await.map(|_| None);
        }
        let waits = schedule.state.buffered.is_some() && !schedule.paused;
        if waits && !self.is_open(schedule.state.last_run).await? {
            schedule.release();
            self.keep_schedule(&mut schedule).await?;
            return Ok(None);
        }
        let now = clock::now();
        match schedule.step(now)? {
            Step::Wait(next) => {
                let look = waits.then(|| now.plus(LOOK_MS));
                let next = [next, look].into_iter().flatten().min();
                Ok(Some(next.map_or(Look::WhenWoken, Look::At)))
            }
            Step::Miss(first, until) => {
                tracing::warn!(schedule = %schedule.id, %first, %until, "occurrences were missed");
                schedule.miss(first, until);
                self.keep_schedule(&mut schedule).await.map(|()| None)
            }
            Step::Fire(at, first) => {
                if let Some(first) = first {
                    schedule.make_up(first, at);
                }
                let overlap = schedule.overlap;
                self.begin_fire(schedule, Firing::new(at, Cause::Due), overlap).await.map(|_| None)
            }
        }
    }

    /// Fires, because somebody asked for it, and says what came of it.
    pub(super) async fn fire(
        &self,
        id: ScheduleId,
        firing: impl Fn(&Schedule) -> Firing,
        overlap: Option<Overlap>,
    ) -> Result<Triggered, ServiceError> {
        for tries in 0..MAX_TRIES {
            let schedule = self.find_schedule(id).await?;
            let firing = firing(&schedule);
            let at = firing.at;
            let done = if schedule.state.firing.is_some() {
                self.finish_fire(schedule).await.map(|_| None)
            } else {
                let overlap = overlap.unwrap_or(schedule.overlap);
                self.begin_fire(schedule, firing, overlap).await.map(Some)
            };
            match done {
                Ok(Some(outcome)) => return Ok(Triggered { at, outcome }),
                Ok(None) => {}
                Err(ServiceError::Store(StoreError::ScheduleChanged { .. })) => {
                    // A short random pause finds a gap between the changes of others.
                    tokio::time::sleep(Duration::from_millis(rand::random_range(0..=tries))).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(ServiceError::Busy("the schedule changes too quickly to be asked"))
    }

    /// Decides about an occurrence and, when it is to start a run, starts it.
    async fn begin_fire(
        &self,
        mut schedule: Schedule,
        firing: Firing,
        overlap: Overlap,
    ) -> Result<Outcome, ServiceError> {
        let run = schedule.run_of(&firing);
        if self.parts.store.record(run).await?.is_some() {
            // Filled in before its time, or met again after the clock was set back.
            if firing.cause == Cause::Due {
                schedule.pass(&firing);
                self.keep_schedule(&mut schedule).await?;
            }
            return Ok(Outcome::Existing { run });
        }
        let is_open = overlap != Overlap::Allow && self.is_open(schedule.state.last_run).await?;
        let decided = schedule.admit(firing, overlap, is_open);
        self.keep_schedule(&mut schedule).await?;
        match decided {
            Some(outcome) => Ok(outcome),
            None => self.finish_fire(schedule).await,
        }
    }

    /// Starts the run of the fire that is under way, and notes what came of it.
    async fn finish_fire(&self, mut schedule: Schedule) -> Result<Outcome, ServiceError> {
        let Some(firing) = schedule.state.firing.clone() else {
            return Err(ServiceError::Internal("no fire is under way".into()));
        };
        if let Some(before) = schedule.state.last_run.filter(|_| firing.cancels) {
            self.make_way(before, &schedule.label()).await?;
        }
        let outcome = match self.start(schedule.start_body(&firing)).await {
            Ok(started) => Outcome::Started { run: started.id },
            Err(error) if is_refusal(&error) => {
                tracing::warn!(schedule = %schedule.id, at = %firing.at, %error, "start refused");
                Outcome::Refused { code: error.code().into(), detail: error.to_string() }
            }
            Err(error) => return Err(error),
        };
        schedule.finish(outcome.clone(), clock::now());
        match self.keep_schedule(&mut schedule).await {
            // Somebody else did the same, and noted it.
            Ok(()) | Err(ServiceError::Store(StoreError::ScheduleChanged { .. })) => Ok(outcome),
            Err(error) => Err(error),
        }
    }

    /// Asks the run before to stop. One that has ended meanwhile is out of the way already.
    async fn make_way(&self, run: RunId, label: &str) -> Result<(), ServiceError> {
        let reason = Some(format!("schedule {label} starts the next run"));
        match self.cancel(run, CancelBody { reason, grace_ms: None }).await {
            Ok(_) | Err(ServiceError::RunNotFound(_) | ServiceError::Refused(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn is_open(&self, run: Option<RunId>) -> Result<bool, ServiceError> {
        let Some(run) = run else { return Ok(false) };
        let record = self.parts.store.record(run).await?;
        Ok(record.is_some_and(|record| !record.state.kind().is_terminal()))
    }

    /// Makes a changed schedule durable and has it looked at, even when the client hangs up
    /// meanwhile: were this dropped half-way, the loop might not hear of it.
    pub(super) async fn keep_schedule(&self, schedule: &mut Schedule) -> Result<(), ServiceError> {
        let expected = Some(schedule.revision);
        schedule.revision += 1;
        self.put_schedule(schedule.clone(), expected).await
    }

    pub(super) async fn put_schedule(
        &self,
        schedule: Schedule,
        expected: Option<u64>,
    ) -> Result<(), ServiceError> {
        let (store, agenda) = (Arc::clone(&self.parts.store), Arc::clone(&self.agenda));
        let keeping = tokio::spawn(async move {
            let id = schedule.id;
            store.put_schedule(schedule, expected).await?;
            agenda.wake(id);
            // If it is lost, whoever fires schedules finds this one when it reads them again.
            let _ = store.ownership().publish_hint(Hint::Schedule(id)).await;
            Ok::<_, StoreError>(())
        });
        let kept = keeping.await.map_err(|e| ServiceError::Internal(e.to_string()))?;
        Ok(kept?)
    }
}

/// Whether a start was refused for what it is, and not for what is in the way at this moment.
fn is_refusal(error: &ServiceError) -> bool {
    !matches!(
        error,
        ServiceError::Store(_)
            | ServiceError::Busy(_)
            | ServiceError::Draining
            | ServiceError::Internal(_)
    )
}
