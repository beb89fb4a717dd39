//! The host: leases runs from a server, activates their guests, executes their tasks.
//!
//! It knows the server only through [`HostLink`]. Each leased run is driven by one task of its own
//! (`drive`), so runs wait for nothing but their own work; a semaphore bounds how many are driven
//! at once. Instances of runs that went idle stay warm in a bounded cache.

mod causes;
mod drive;
mod executions;
mod gates;
mod load;
mod messages;
mod snapshots;
mod tasks;
mod warm;

use crate::link::{HostId, HostLink, Work};
use drive::{Driver, Parts};
use everstep_core::{RunId, Token};
use everstep_engine::Engine;
use snapshots::Snapshots;
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore, watch};
use warm::Warm;

/// The bounds within which a host works.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// Runs that are driven at once. A run that only sleeps does not count.
    pub concurrency: usize,
    /// Task attempts that are executed at once.
    pub task_concurrency: usize,
    /// Instances of idle runs that are kept, at most.
    pub warm_instances: usize,
    /// Memory of idle instances that is kept, at most, in bytes.
    pub warm_bytes: u64,
    /// How long task attempts that are under way may take to end when the host shuts down.
    pub drain: Duration,
    /// Whether what each activation leaves of its guest is hashed and recorded in the journal.
    pub audit: bool,
    /// The part of the time of activations that snapshots may take, between 0 (none are taken) and 1.
    pub snapshot_share: f64,
    /// The bytes of snapshots that may be written in a second, on average.
    pub snapshot_bytes: u64,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            concurrency: 512,
            task_concurrency: 256,
            warm_instances: 256,
            warm_bytes: 512 << 20,
            drain: Duration::from_secs(5),
            audit: false,
            snapshot_share: 0.05,
            snapshot_bytes: 32 << 20,
        }
    }
}

/// The runs that are driven now.
#[derive(Default)]
struct Active {
    runs: Mutex<HashMap<RunId, (Token, Arc<Notify>)>>,
    /// Runs of which news came when they were not here: not yet, or not any more.
    missed: Mutex<HashSet<RunId>>,
}

/// How many of those are remembered. When there are more, every run that comes looks for news.
const MISSED_MAX: usize = 10_000;

impl Active {
    fn runs(&self) -> MutexGuard<'_, HashMap<RunId, (Token, Arc<Notify>)>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes news of a run on to its driver.
    fn tell(&self, run: RunId) {
        // In this order here and below, so that either side sees what the other one did.
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, moved)) = self.runs().get(&run) {
            moved.notify_one();
        } else if missed.len() < MISSED_MAX {
            missed.insert(run);
        }
    }

    /// Takes a run in, with the news that came too early for it.
    fn begin(&self, run: RunId, token: Token, moved: &Arc<Notify>) {
        let mut missed = self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        self.runs().insert(run, (token, Arc::clone(moved)));
        let full = missed.len() >= MISSED_MAX;
        if missed.remove(&run) || full {
            moved.notify_one();
        }
    }

    fn leases(&self) -> Vec<(RunId, Token)> {
        self.runs().iter().map(|(run, (token, _))| (*run, *token)).collect()
    }
}

/// A run's place among the active ones. It is given up also when the driver panics: then the lease
/// is no longer renewed, and the run goes to somebody else when it expires.
struct ActiveEntry {
    active: Arc<Active>,
    run: RunId,
    token: Token,
}

impl Drop for ActiveEntry {
    fn drop(&mut self) {
        let mut runs = self.active.runs();
        // After a lost lease the run may be here again under a newer token.
        if runs.get(&self.run).is_some_and(|(token, _)| *token == self.token) {
            runs.remove(&self.run);
        }
    }
}

/// Serves until the link says that there is no more work, then ends what is under way. Runs on a
/// runtime that guests may keep busy; what must not wait for them (leases, news of cancels) runs on
/// `control`.
pub async fn serve(
    link: Arc<dyn HostLink>,
    engine: Arc<Engine>,
    options: HostOptions,
    mut draining: watch::Receiver<bool>,
    control: Handle,
) {
    let host = HostId(u64::from(std::process::id()));
    let parts = Arc::new(Parts {
        warm: Warm::new(options.warm_instances, options.warm_bytes),
        gates: Arc::default(),
        tasks: Arc::new(Semaphore::new(options.task_concurrency)),
        modules: load::Modules::default(),
        drain: options.drain,
        audit: options.audit,
        snapshots: Arc::new(Snapshots::new(
            Arc::clone(&link),
            options.snapshot_share,
            options.snapshot_bytes,
        )),
        draining: draining.clone(),
        link: Arc::clone(&link),
        engine,
    });
    let active = Arc::new(Active::default());
    let slots = Arc::new(Semaphore::new(options.concurrency));
    let renewing = control.spawn(renew(Arc::clone(&link), Arc::clone(&active)));
    let hearing = control.spawn(hear(Arc::clone(&link), host, Arc::clone(&active)));
    loop {
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            _ = draining.wait_for(|draining| *draining) => break,
        };
        let Ok(slot) = slot else { break };
        let Some(Work { run, token, record }) = link.next_work(host).await else { break };
        let moved = Arc::new(Notify::new());
        active.begin(run, token, &moved);
        let entry = ActiveEntry { active: Arc::clone(&active), run, token };
        let parts = Arc::clone(&parts);
        tokio::spawn(async move {
            let back = Driver::new(&parts, record, token, moved).drive().await;
            drop(entry);
            if let Some(how) = back {
                parts.link.hand_back(run, token, how).await;
            }
            drop(slot);
        });
    }
    // Every driver holds a slot until it has handed its run back.
    let all = u32::try_from(options.concurrency).unwrap_or(u32::MAX);
    let limit = options.drain + Duration::from_secs(5);
    if tokio::time::timeout(limit, slots.acquire_many(all)).await.is_err() {
        tracing::warn!("some runs did not come to rest in time; they go on after the next start");
    }
    renewing.abort();
    hearing.abort();
}

/// Passes on what happened to runs that are driven here.
async fn hear(link: Arc<dyn HostLink>, host: HostId, active: Arc<Active>) {
    loop {
        let run = link.next_moved(host).await;
        active.tell(run);
    }
}

async fn renew(link: Arc<dyn HostLink>, active: Arc<Active>) {
    let mut ticks = tokio::time::interval(link.lease_time() / 3);
    loop {
        ticks.tick().await;
        let leases = active.leases();
        if leases.is_empty() {
            continue;
        }
        match link.renew(&leases).await {
            // A lost lease shows at the next commit, which the token keeps from happening.
            Ok(lost) if lost.is_empty() => {}
            Ok(lost) => tracing::warn!(runs = lost.len(), "leases were lost"),
            Err(error) => tracing::warn!(%error, "leases could not be renewed"),
        }
    }
}
