//! What users ask of schedules: make, list, show, pause, resume, trigger, backfill, delete. Firing
//! them is in `fire.rs`.

use super::fire::MAX_TRIES;
use super::{Service, ServiceError};
use crate::clock;
use crate::schedules::Agenda;
use everstep_core::schedule::{
    BackfillBody, Backfilled, Cause, Created, Firing, ScheduleBody, ScheduleList, ScheduleView,
    TAG, TriggerBody, Triggered,
};
use everstep_core::{Schedule, ScheduleId};
use everstep_store::{Hint, StoreError};
use std::time::Duration;

/// The most schedules there may be; all of them stand in memory with their next time.
const MOST_SCHEDULES: usize = 100_000;
/// The most occurrences of one backfill.
const MOST_BACKFILLED: usize = 1_000;
/// The longest reference, in bytes.
const LONGEST_REFERENCE: usize = 256;
/// Schedules of one page unless told otherwise.
const PAGE: usize = 100;

impl Service {
    /// Makes a schedule. The same reference with the same definition again changes nothing.
    ///
    /// # Errors
    /// When it can never fire, what it starts would be refused now, or the reference belongs to
    /// another schedule.
    pub async fn create_schedule(&self, body: ScheduleBody) -> Result<Created, ServiceError> {
        check_reference(body.reference.as_deref())?;
        if body.start.tags.contains_key(TAG) {
            return Err(invalid("tags", format!("the tag `{TAG}` is set by the schedule")));
        }
        let now = clock::now();
        let schedule = Schedule::new(body, rand::random(), now)?;
        if let Some(existing) = self.parts.store.schedule(schedule.id).await? {
            return same(&existing, &schedule);
        }
        if self.agenda().len() >= MOST_SCHEDULES {
            return Err(ServiceError::TooManySchedules { most: MOST_SCHEDULES });
        }
        self.check_start(&schedule.start_body(&Firing::new(now, Cause::Due))).await?;
        match self.put_schedule(schedule.clone(), None).await {
            Ok(()) => {}
            // Another creation with the same reference was quicker.
            Err(ServiceError::Store(StoreError::ScheduleChanged { .. })) => {
                return same(&self.find_schedule(schedule.id).await?, &schedule);
            }
            Err(error) => return Err(error),
        }
        tracing::info!(schedule = %schedule.id, label = schedule.label(), "schedule made");
        Ok(Created { created: true, schedule: ScheduleView::whole(&schedule, now) })
    }

    /// Schedules in the order of their creation.
    ///
    /// # Errors
    /// When the cursor is none or the store cannot be read.
    pub async fn schedules(
        &self,
        cursor: Option<String>,
        limit: Option<usize>,
    ) -> Result<ScheduleList, ServiceError> {
        let limit = limit.unwrap_or(PAGE);
        let page = self.parts.store.schedules(cursor.as_deref(), limit).await?;
        let now = clock::now();
        let rows = page.schedules.iter().map(|schedule| ScheduleView::row(schedule, now));
        Ok(ScheduleList { schedules: rows.collect(), cursor: page.cursor })
    }

    /// A schedule with its next occurrences and its last fires.
    ///
    /// # Errors
    /// When there is no such schedule or the store cannot be read.
    pub async fn schedule(&self, id: ScheduleId) -> Result<ScheduleView, ServiceError> {
        Ok(ScheduleView::whole(&self.find_schedule(id).await?, clock::now()))
    }

    /// Stands a schedule still. One that stands still already is left as it is.
    ///
    /// # Errors
    /// When there is no such schedule.
    pub async fn pause_schedule(&self, id: ScheduleId) -> Result<ScheduleView, ServiceError> {
        self.change_schedule(id, |schedule| !schedule.paused, Schedule::pause).await
    }

    /// Lets a schedule go on.
    ///
    /// # Errors
    /// When there is no such schedule.
    pub async fn resume_schedule(&self, id: ScheduleId) -> Result<ScheduleView, ServiceError> {
        let resume = |schedule: &mut Schedule| schedule.resume(clock::now());
        self.change_schedule(id, |schedule| schedule.paused, resume).await
    }

    /// Fires now, also when the schedule is paused.
    ///
    /// # Errors
    /// When there is no such schedule.
    pub async fn trigger_schedule(
        &self,
        id: ScheduleId,
        body: TriggerBody,
    ) -> Result<Triggered, ServiceError> {
        self.fire(id, |schedule| schedule.trigger(clock::now()), body.overlap).await
    }

    /// Fires every occurrence in a range of the past, in order. An occurrence that has started a
    /// run before does not start another one, so a backfill that broke off can be repeated.
    ///
    /// # Errors
    /// When there is no such schedule, or the range is none, too long or not past.
    pub async fn backfill_schedule(
        &self,
        id: ScheduleId,
        body: BackfillBody,
    ) -> Result<Backfilled, ServiceError> {
        let schedule = self.find_schedule(id).await?;
        if body.from > body.to {
            return Err(invalid("to", "it is before `from`"));
        }
        if body.to > clock::now() {
            return Err(invalid("to", "a backfill ends in the past; the future fires by itself"));
        }
        let occurrences = schedule.spec.between(body.from, body.to, MOST_BACKFILLED + 1)?;
        if occurrences.len() > MOST_BACKFILLED {
            let problem = format!("at most {MOST_BACKFILLED} occurrences fire at a time");
            return Err(invalid("to", format!("{problem}; backfill in several ranges")));
        }
        let mut fires = Vec::with_capacity(occurrences.len());
        for at in occurrences {
            let firing = |_: &Schedule| Firing::new(at, Cause::Backfill);
            fires.push(self.fire(id, firing, Some(body.overlap)).await?);
        }
        Ok(Backfilled { fires })
    }

    /// Deletes a schedule. The runs that it has started go on.
    ///
    /// # Errors
    /// When there is no such schedule.
    pub async fn delete_schedule(&self, id: ScheduleId) -> Result<ScheduleView, ServiceError> {
        let last = self.find_schedule(id).await?;
        if !self.parts.store.delete_schedule(id).await? {
            return Err(ServiceError::ScheduleNotFound(id));
        }
        // The loop finds that it is gone, forgets it, and would find one that was made meanwhile.
        self.agenda().wake(id);
        let _ = self.parts.store.ownership().publish_hint(Hint::Schedule(id)).await;
        tracing::info!(schedule = %id, label = last.label(), "schedule deleted");
        Ok(ScheduleView::whole(&last, clock::now()))
    }

    /// When the schedules are to be looked at.
    pub(crate) fn agenda(&self) -> &Agenda {
        &self.agenda
    }

    pub(super) async fn find_schedule(&self, id: ScheduleId) -> Result<Schedule, ServiceError> {
        self.parts.store.schedule(id).await?.ok_or(ServiceError::ScheduleNotFound(id))
    }

    async fn change_schedule(
        &self,
        id: ScheduleId,
        applies: impl Fn(&Schedule) -> bool,
        change: impl Fn(&mut Schedule),
    ) -> Result<ScheduleView, ServiceError> {
        for tries in 0..MAX_TRIES {
            let mut schedule = self.find_schedule(id).await?;
            if !applies(&schedule) {
                return Ok(ScheduleView::whole(&schedule, clock::now()));
            }
            change(&mut schedule);
            match self.keep_schedule(&mut schedule).await {
                Ok(()) => return Ok(ScheduleView::whole(&schedule, clock::now())),
                Err(ServiceError::Store(StoreError::ScheduleChanged { .. })) => {
                    tokio::time::sleep(Duration::from_millis(rand::random_range(0..=tries))).await;
                }
                Err(error) => return Err(error),
            }
        }
        Err(ServiceError::Busy("the schedule changes too quickly to be asked"))
    }
}

/// What a creation answers when its reference names a schedule that exists.
fn same(existing: &Schedule, wanted: &Schedule) -> Result<Created, ServiceError> {
    if !existing.is_defined_like(wanted) {
        let reference = wanted.label().chars().take(80).collect();
        return Err(ServiceError::ReferenceTaken { reference, id: existing.id });
    }
    Ok(Created { created: false, schedule: ScheduleView::whole(existing, clock::now()) })
}

fn check_reference(reference: Option<&str>) -> Result<(), ServiceError> {
    let Some(reference) = reference else { return Ok(()) };
    if reference.is_empty() || reference.len() > LONGEST_REFERENCE {
        return Err(invalid("reference", format!("it has 1 to {LONGEST_REFERENCE} bytes")));
    }
    if reference.chars().any(char::is_control) {
        return Err(invalid("reference", "it has control characters"));
    }
    // Wherever a schedule is named, either is understood.
    if reference.parse::<ScheduleId>().is_ok() {
        return Err(invalid("reference", "it looks like an id"));
    }
    Ok(())
}

fn invalid(field: &'static str, problem: impl Into<String>) -> ServiceError {
    ServiceError::InvalidOption { field, problem: problem.into() }
}
