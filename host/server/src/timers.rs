//! Waking runs in time. The store knows every run's `wake_at`; this service keeps the near ones in
//! memory, sleeps until the first is due and tells the dispatcher.
//!
//! Invariant: a run whose durable `wake_at` lies within the horizon is in memory. So a timer is
//! never missed, and because the clock is compared before telling, never early.

use crate::clock;
use crate::dispatch::Dispatch;
use everstep_core::{Record, RunId, Timestamp};
use everstep_store::{Due, Store, StoreError};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How far ahead timers are held in memory, in milliseconds.
const HORIZON_MS: u64 = 60_000;
/// Timers that one look into the store brings.
const PAGE: usize = 10_000;
/// The most timers in memory that were read ahead. The horizon moves nearer when there are more.
const READ_AHEAD_MAX: usize = 500_000;
/// When a full queue did not take a run, it is offered again after this many milliseconds.
const OFFER_AGAIN_MS: u64 = 500;
/// The longest sleep: the clock may be set while it lasts.
const LONGEST_NAP: Duration = Duration::from_millis(1_000);

#[derive(Debug, Default)]
struct State {
    due: BTreeSet<(Timestamp, RunId)>,
    by_run: HashMap<RunId, Timestamp>,
    horizon: Timestamp,
    /// The last timer that was read from the store.
    read_to: Option<Due>,
    /// How often everything was to be read again.
    anew: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Timers {
    state: Mutex<State>,
    earlier: Notify,
}

impl Timers {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note of a durable commit.
    pub fn changed(&self, record: &Record) {
        let mut state = self.state();
        match record.wake_at {
            Some(at) if at <= state.horizon => self.set(&mut state, record.id(), at),
            _ => state.remove(record.id()),
        }
    }

    /// Wakes a run at a time that the store does not know of: after an error of the infrastructure.
    pub fn wake_later(&self, run: RunId, at: Timestamp) {
        let mut state = self.state();
        if state.by_run.get(&run).is_none_or(|known| at < *known) {
            self.set(&mut state, run, at);
        }
    }

    /// Makes sure that a run is woken at its time, if that is near.
    pub fn remind(&self, run: RunId, at: Timestamp) {
        let mut state = self.state();
        if at <= state.horizon && state.by_run.get(&run).is_none_or(|known| at < *known) {
            self.set(&mut state, run, at);
        }
    }

    fn set(&self, state: &mut State, run: RunId, at: Timestamp) {
        let first = state.due.first().copied();
        state.remove(run);
        state.due.insert((at, run));
        state.by_run.insert(run, at);
        if first.is_none_or(|(first, _)| at < first) {
            self.earlier.notify_one();
        }
    }

    /// Has everything read again: there are shards now whose timers were somebody else's.
    pub fn read_again(&self) {
        let mut state = self.state();
        (state.horizon, state.read_to) = (Timestamp::default(), None);
        state.anew += 1;
        drop(state);
        self.earlier.notify_one();
    }

    /// Serves until the future is dropped.
    pub async fn serve(&self, store: Arc<dyn Store>, dispatch: Arc<Dispatch>) {
        loop {
            if let Err(error) = self.read_ahead(&store, &dispatch, clock::now()).await {
                tracing::error!(%error, "timers cannot be read");
                tokio::time::sleep(LONGEST_NAP).await;
                continue;
            }
            let now = clock::now();
            let nap = self.fire(&dispatch, now);
            tokio::select! {
                () = tokio::time::sleep(nap.min(LONGEST_NAP)) => {}
                () = self.earlier.notified() => {}
            }
        }
    }

    /// Tells the dispatcher of everything due and returns the time until the next.
    fn fire(&self, dispatch: &Dispatch, now: Timestamp) -> Duration {
        loop {
            let mut state = self.state();
            let Some(&(at, run)) = state.due.first() else { return LONGEST_NAP };
            if at > now {
                return Duration::from_millis(at.since(now));
            }
            state.remove(run);
            drop(state);
            if !dispatch.wake(run) {
                self.wake_later(run, now.plus(OFFER_AGAIN_MS));
            }
        }
    }

    /// Moves the horizon on when half of it has passed.
    async fn read_ahead(
        &self,
        store: &Arc<dyn Store>,
        dispatch: &Dispatch,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let until = now.plus(HORIZON_MS);
        let (start, mut after, anew) = {
            let mut state = self.state();
            if state.horizon >= now.plus(HORIZON_MS / 2) || state.due.len() > READ_AHEAD_MAX {
                return Ok(());
            }
            // From here on commits up to the new horizon are noted by `changed`; older ones are read.
            let start = std::mem::replace(&mut state.horizon, until);
            (start, state.read_to, state.anew)
        };
        // Shards that come later have everything read again.
        let shards = dispatch.owned();
        loop {
            let page = store.due(&shards, until, after, PAGE).await;
            let mut state = self.state();
            if state.anew != anew {
                return Ok(());
            }
            let page = match page {
                Ok(page) => page,
                Err(error) => {
                    state.horizon = start;
                    return Err(error);
                }
            };
            let Some(last) = page.last().copied() else {
                // What lies before the horizon is in memory from now on, or was told already.
                state.read_to = Some(Due { at: until, run: RunId::from_bytes([0xff; 16]) });
                return Ok(());
            };
            for due in page {
                // A commit that was noted meanwhile is newer than this page.
                if !state.by_run.contains_key(&due.run) {
                    self.set(&mut state, due.run, due.at);
                }
            }
            if state.due.len() > READ_AHEAD_MAX {
                (state.horizon, state.read_to) = (last.at, Some(last));
                return Ok(());
            }
            after = Some(last);
        }
    }
}

impl State {
    fn remove(&mut self, run: RunId) {
        if let Some(at) = self.by_run.remove(&run) {
            self.due.remove(&(at, run));
        }
    }
}
