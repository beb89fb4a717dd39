//! Firing schedules in time. The loop here keeps the next time of every schedule in memory, sleeps
//! until the first has come, and lets the service do what is due (`service/fire.rs`). What is true
//! stands in the store: whatever is in memory can be read again.
//!
//! The clock is compared at least once a second, so a clock that is set forward or back is noticed;
//! what that means for a schedule is decided in `everstep_core::schedule`.

mod agenda;

pub(crate) use agenda::{Agenda, Look};

use crate::clock;
use crate::service::{Service, ServiceError};
use everstep_core::Timestamp;
use everstep_store::{MAX_PAGE, StoreError};
use futures::stream::{self, StreamExt};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Schedules that are taken from the agenda at a time.
const BATCH: usize = 256;
/// How many of them are worked on at once, so that their commits share fsyncs.
const AT_ONCE: usize = 64;
/// The longest sleep: the clock may be set while it lasts.
const LONGEST_NAP: Duration = Duration::from_millis(1_000);
/// When something is in the way, a schedule is tried again after this many milliseconds.
const AGAIN_MS: u64 = 1_000;
/// How often all schedules are read, when other servers may have changed some unheard.
const READ_AGAIN: Duration = Duration::from_secs(60);
/// A clock that goes back by more than this was set, and everything is looked at again.
const SET_BACK_MS: u64 = 60_000;

/// Serves until the future is dropped: as long as this server is the one that does so on its store.
pub async fn serve(service: Arc<Service>) {
    loop {
        if !service.leads() {
            tokio::time::sleep(LONGEST_NAP).await;
        } else if let Err(error) = load(&service).await {
            tracing::error!(%error, "the schedules cannot be read");
            tokio::time::sleep(LONGEST_NAP).await;
        } else {
            lead(&service).await;
        }
    }
}

/// Fires what is due, until another server does so, or the schedules are to be read again.
async fn lead(service: &Service) {
    let (mut before, read) = (clock::now(), Instant::now());
    let is_shared = service.store().ownership().is_shared();
    while service.leads() && !(is_shared && read.elapsed() > READ_AGAIN) {
        let now = clock::now();
        if before.since(now) > SET_BACK_MS {
            tracing::warn!(%before, %now, "the clock was set back");
            service.agenda().recall();
        }
        before = now;
        let due = service.agenda().take_due(now, BATCH);
        if due.is_empty() {
            let nap = service.agenda().next().map(|at| Duration::from_millis(at.since(now)));
            tokio::select! {
                () = tokio::time::sleep(nap.unwrap_or(LONGEST_NAP).min(LONGEST_NAP)) => {}
                () = service.agenda().changed() => {}
            }
            continue;
        }
        let work = stream::iter(due).for_each_concurrent(AT_ONCE, |ticket| async move {
            let look = match service.advance(ticket.schedule).await {
                Ok(look) => look,
                Err(error) => after_error(ticket.schedule, &error, clock::now()),
            };
            service.agenda().settle(ticket, look);
        });
        work.await;
    }
}

/// Damage does not mend itself; anything else may.
fn after_error(schedule: everstep_core::ScheduleId, error: &ServiceError, now: Timestamp) -> Look {
    tracing::error!(%schedule, %error, "a schedule does not go on");
    let is_damage =
        matches!(error, ServiceError::Spec(_) | ServiceError::Store(StoreError::Corrupt { .. }));
    if is_damage { Look::WhenWoken } else { Look::At(now.plus(AGAIN_MS)) }
}

async fn load(service: &Service) -> Result<(), StoreError> {
    let mut after: Option<String> = None;
    loop {
        let page = service.store().schedules(after.as_deref(), MAX_PAGE).await?;
        for schedule in page.damaged {
            tracing::error!(%schedule, "a schedule is damaged and does not fire");
        }
        for schedule in page.schedules {
            service.agenda().wake(schedule.id);
        }
        after = page.cursor;
        if after.is_none() {
            return Ok(());
        }
    }
}
