//! The runs that are driven now, by one server: whom news are passed on to.

use everstep_core::{RunId, Token};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How many runs are remembered of which news came when they were not here. When there are more,
/// every run that comes looks for news.
const MISSED_MAX: usize = 10_000;

/// How a driver is reached.
#[derive(Clone)]
struct Driven {
    token: Token,
    moved: Arc<Notify>,
    lost: Arc<Notify>,
}

/// See the module.
#[derive(Default)]
pub(super) struct Active {
    runs: Mutex<HashMap<RunId, Driven>>,
    /// Runs of which news came when they were not here: not yet, or not any more.
    missed: Mutex<HashSet<RunId>>,
}

impl Active {
    fn runs(&self) -> MutexGuard<'_, HashMap<RunId, Driven>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn missed(&self) -> MutexGuard<'_, HashSet<RunId>> {
        self.missed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes news of a run on to its driver.
    pub(super) fn tell(&self, run: RunId) {
        // In this order here and below, so that either side sees what the other one did.
        let mut missed = self.missed();
        if let Some(driven) = self.runs().get(&run) {
            driven.moved.notify_one();
        } else if missed.len() < MISSED_MAX {
            missed.insert(run);
        }
    }

    /// Stops driving a run whose lease is lost; one that has a newer lease by now goes on.
    pub(super) fn lose(&self, run: RunId, token: Token) {
        let runs = self.runs();
        let driven = runs.get(&run).filter(|driven| driven.token == token);
        if let Some(driven) = driven {
            tracing::warn!(%run, "the lease is lost; the run goes on elsewhere");
            driven.lost.notify_one();
        }
    }

    /// The leases of the runs that are driven.
    pub(super) fn leases(&self) -> Vec<(RunId, Token)> {
        self.runs().iter().map(|(run, driven)| (*run, driven.token)).collect()
    }
}

/// A run's place among the active ones. It is given up also when the driver panics: then the lease
/// is no longer renewed, and the run goes to somebody else when it expires.
pub(super) struct Entry {
    active: Arc<Active>,
    run: RunId,
    driven: Driven,
}

impl Entry {
    /// Takes a run in, with the news that came too early for it.
    pub(super) fn begin(active: &Arc<Active>, run: RunId, token: Token) -> Self {
        let driven = Driven { token, moved: Arc::default(), lost: Arc::default() };
        let mut missed = active.missed();
        active.runs().insert(run, driven.clone());
        let full = missed.len() >= MISSED_MAX;
        if missed.remove(&run) || full {
            driven.moved.notify_one();
        }
        drop(missed);
        Self { active: Arc::clone(active), run, driven }
    }

    /// Rings when something happened to the run.
    pub(super) fn moved(&self) -> &Arc<Notify> {
        &self.driven.moved
    }

    /// Returns when the lease is lost.
    pub(super) async fn lost(&self) {
        self.driven.lost.notified().await;
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut runs = self.active.runs();
        // After a lost lease the run may be here again under a newer token.
        if runs.get(&self.run).is_some_and(|driven| driven.token == self.driven.token) {
            runs.remove(&self.run);
        }
    }
}
