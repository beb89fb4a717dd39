//! The host: leases runs from servers, activates their guests, executes their tasks.
//!
//! It knows a server only through [`HostLink`]. Each leased run is driven by one task of its own
//! (`drive`), so runs wait for nothing but their own work; a semaphore bounds how many are driven
//! at once. Instances of runs that went idle stay warm in a bounded cache.

mod active;
mod causes;
mod drive;
mod executions;
mod gates;
mod load;
mod messages;
mod snapshots;
mod tasks;
mod warm;

use crate::link::{HandBack, HostLink, News, Report, Work};
use active::{Active, Entry};
use drive::{Driver, Parts};
use everstep_engine::Engine;
use snapshots::Snapshots;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
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

/// How long a host that goes waits for runs to come to rest, beside the time for tasks.
const REST: Duration = Duration::from_secs(5);

/// What a host works with, whichever server its work comes from.
struct Bench {
    slots: Arc<Semaphore>,
    replays: Arc<AtomicU64>,
    draining: watch::Receiver<bool>,
    control: Handle,
}

/// Serves these links, sharing the host's bounds among them, until each says that there is no more
/// work, or the host is drained; then ends what is under way. Runs on a runtime that guests may
/// keep busy; what must not wait for them (leases, news of cancels) runs on `control`.
pub async fn serve(
    links: Vec<Arc<dyn HostLink>>,
    engine: Arc<Engine>,
    options: HostOptions,
    draining: watch::Receiver<bool>,
    control: Handle,
) {
    let bench = Arc::new(Bench {
        slots: Arc::new(Semaphore::new(options.concurrency)),
        replays: Arc::default(),
        draining: draining.clone(),
        control,
    });
    let warm = Arc::new(Warm::new(options.warm_instances, options.warm_bytes));
    let tasks = Arc::new(Semaphore::new(options.task_concurrency));
    let (gates, modules) = (Arc::default(), Arc::default());
    let mut serving = JoinSet::new();
    for link in &links {
        let parts = Arc::new(Parts {
            link: Arc::clone(link),
            engine: Arc::clone(&engine),
            modules: Arc::clone(&modules),
            warm: Arc::clone(&warm),
            tasks: Arc::clone(&tasks),
            gates: Arc::clone(&gates),
            replays: Arc::clone(&bench.replays),
            drain: options.drain,
            audit: options.audit,
            snapshots: Arc::new(Snapshots::new(
                Arc::clone(link),
                options.snapshot_share,
                options.snapshot_bytes,
            )),
            draining: draining.clone(),
        });
        serving.spawn(serve_link(parts, Arc::clone(&bench)));
    }
    // Each has its own limit.
    while serving.join_next().await.is_some() {}
}

async fn serve_link(parts: Arc<Parts>, bench: Arc<Bench>) {
    let (link, active) = (Arc::clone(&parts.link), Arc::new(Active::default()));
    let renewing = bench.control.spawn(renew(
        Arc::clone(&link),
        Arc::clone(&active),
        Arc::clone(&bench.replays),
    ));
    let hearing = bench.control.spawn(hear(Arc::clone(&link), Arc::clone(&active)));
    let mut driving = JoinSet::new();
    let mut draining = bench.draining.clone();
    loop {
        let work = tokio::select! {
            work = take_work(&*link, &bench.slots) => work,
            _ = draining.wait_for(|draining| *draining) => None,
        };
        let Some(Work { run, token, record }) = work else { break };
        // Another server's work may have been quicker.
        let Ok(slot) = Arc::clone(&bench.slots).try_acquire_owned() else {
            link.hand_back(run, token, HandBack::Now).await;
            continue;
        };
        let entry = Entry::begin(&active, run, token);
        let parts = Arc::clone(&parts);
        driving.spawn(async move {
            let driver = Driver::new(&parts, record, token, Arc::clone(entry.moved()));
            let back = tokio::select! {
                back = driver.drive() => back,
                // Whatever it was about to do is somebody else's now.
                () = entry.lost() => None,
            };
            drop(entry);
            if let Some(how) = back {
                parts.link.hand_back(run, token, how).await;
            }
            drop(slot);
        });
        while driving.try_join_next().is_some() {}
    }
    link.stop_work().await;
    let all = async { while driving.join_next().await.is_some() {} };
    if tokio::time::timeout(parts.drain + REST, all).await.is_err() {
        tracing::warn!("some runs did not come to rest in time; they go on elsewhere");
    }
    driving.abort_all();
    renewing.abort();
    hearing.abort();
    link.leave().await;
}

/// Waits until there is a place for a run, and a run. What comes although another server's work has
/// taken the places meanwhile is returned, too: it must not wait here.
async fn take_work(link: &dyn HostLink, slots: &Semaphore) -> Option<Work> {
    loop {
        let free = slots.available_permits();
        tokio::select! {
            work = link.next_work(free) => return work,
            // Nobody closes the semaphore.
            _ = slots.acquire(), if free == 0 => {}
        }
    }
}

/// Passes on what happened to runs that are driven here.
async fn hear(link: Arc<dyn HostLink>, active: Arc<Active>) {
    loop {
        match link.next_news().await {
            News::Moved(run) => active.tell(run),
            News::Lost(run, token) => active.lose(run, token),
        }
    }
}

async fn renew(link: Arc<dyn HostLink>, active: Arc<Active>, replays: Arc<AtomicU64>) {
    loop {
        tokio::time::sleep(link.heartbeat()).await;
        let leases = active.leases();
        let report = Report { replays: replays.load(Ordering::Relaxed) };
        match link.renew(&leases, report).await {
            Ok(lost) => {
                let lost = leases.iter().filter(|(run, _)| lost.contains(run));
                lost.for_each(|(run, token)| active.lose(*run, *token));
            }
            Err(error) => tracing::warn!(%error, "leases could not be renewed"),
        }
    }
}
