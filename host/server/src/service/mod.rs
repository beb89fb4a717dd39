//! What the server can be asked to do, without HTTP: the API calls it, and so does everything else
//! that acts for a user in the same process.
//!
//! The service checks what comes from outside, lets the state machine decide, and hands the commit
//! to the committer. It has no state of its own that matters: what it caches can be read again.
//! Invariant: a refused request has changed nothing.

mod bulk;
mod control;
mod error;
mod events;
mod export;
mod fire;
mod follow;
mod fork;
mod messages;
mod modules;
mod publish;
mod read;
mod registry;
mod resumes;
mod schedules;
mod schema;
mod selection;
pub(crate) mod selfcheck;
mod start;
mod trial;
mod upgrade;
mod wait;

pub use error::ServiceError;
pub use follow::{Followed, LogFollower};
pub use modules::UploadPermit;
pub use resumes::ResumeCounts;
pub use selfcheck::{SelfCheck, SelfCheckOptions};
pub use wait::WaitFor;

use crate::committer::Committer;
use crate::dispatch::Dispatch;
use crate::hub::Hub;
use crate::schedules::Agenda;
use everstep_core::api::{HostView, RunView};
use everstep_core::{Commit, Digest, Limits, QueueReason, Record, RunId, StateKind};
use everstep_engine::{Engine, LoadError, Module};
use everstep_store::{Store, StoreError, StoreStats};
use registry::Registry;
use schema::InputSchemas;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Semaphore;

/// The bounds within which the service works.
#[derive(Debug, Clone)]
pub struct ServiceOptions {
    /// The bounds of every run that is started.
    pub limits: Limits,
    /// The largest module, in bytes.
    pub module_bytes_max: u64,
    /// Uploads that may be received and compiled at once; more are asked to come again.
    pub uploads_max: usize,
    /// Clients that may wait for a run or follow its logs at once.
    pub waiting_max: usize,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            module_bytes_max: 64 << 20,
            uploads_max: 4,
            waiting_max: 10_000,
        }
    }
}

/// The parts that a service works with.
#[derive(Clone)]
pub struct ServiceParts {
    /// Where everything is read from.
    pub store: Arc<dyn Store>,
    /// Accepts modules.
    pub engine: Arc<Engine>,
    /// Where every change of a run goes through.
    pub committer: Arc<Committer>,
    /// Says when something happened.
    pub hub: Arc<Hub>,
    /// Knows which runs a host has now.
    pub dispatch: Arc<Dispatch>,
}

/// Everything that users can ask for.
pub struct Service {
    parts: ServiceParts,
    options: ServiceOptions,
    registry: Arc<Registry>,
    schemas: InputSchemas,
    /// One module at a time is compiled: it uses all cores.
    compiling: Arc<Semaphore>,
    uploads: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    upgrading: Arc<Semaphore>,
    starts: AtomicU64,
    agenda: Arc<Agenda>,
    checks: selfcheck::Tally,
    resumes: resumes::Resumes,
}

impl Service {
    /// A service over these parts.
    #[must_use]
    pub fn new(parts: ServiceParts, options: ServiceOptions) -> Self {
        Self {
            registry: Arc::new(Registry::new()),
            schemas: InputSchemas::new(),
            compiling: Arc::new(Semaphore::new(1)),
            uploads: Arc::new(Semaphore::new(options.uploads_max)),
            waiting: Arc::new(Semaphore::new(options.waiting_max)),
            upgrading: Arc::new(Semaphore::new(1)),
            starts: AtomicU64::new(0),
            agenda: Arc::default(),
            checks: selfcheck::Tally::default(),
            resumes: resumes::Resumes::default(),
            parts,
            options,
        }
    }

    /// The bounds within which it works.
    #[must_use]
    pub fn options(&self) -> &ServiceOptions {
        &self.options
    }

    /// Runs started since the process began.
    #[must_use]
    pub fn starts(&self) -> u64 {
        self.starts.load(Ordering::Relaxed)
    }

    /// Clients that wait for a run or follow its logs now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.options.waiting_max - self.waiting.available_permits()
    }

    /// What the store has done since it was opened.
    ///
    /// # Errors
    /// When the store does not work.
    pub async fn store_stats(&self) -> Result<StoreStats, ServiceError> {
        Ok(self.parts.store.stats().await?)
    }

    /// How many runs wait for a host and how many a host has, as far as this server knows.
    #[must_use]
    pub fn queued_and_leased(&self) -> (usize, usize) {
        self.parts.dispatch.counts()
    }

    /// The hosts there are.
    #[must_use]
    pub fn hosts(&self) -> Vec<HostView> {
        self.parts.dispatch.hosts()
    }

    /// Where the server is that takes care of a run, when that is another one.
    #[must_use]
    pub fn elsewhere(&self, run: RunId) -> Option<Arc<str>> {
        self.parts.dispatch.elsewhere(run)
    }

    /// The other servers on the store.
    #[must_use]
    pub fn other_servers(&self) -> BTreeSet<Arc<str>> {
        self.parts.dispatch.other_servers()
    }

    /// How many shards of the store this server owns.
    #[must_use]
    pub fn shards_owned(&self) -> usize {
        self.parts.dispatch.shards()
    }

    /// Whether this server does what is to be done once on a store.
    pub(crate) fn leads(&self) -> bool {
        self.parts.dispatch.leads()
    }

    /// Another server has published something.
    pub(crate) fn modules_changed(&self) {
        self.registry.outdate();
    }

    /// The store, for the loop that fires schedules.
    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        &self.parts.store
    }

    /// Makes a commit true and tells everybody, even when the client hangs up meanwhile: were this
    /// dropped half-way, a run could be durable that the dispatcher has not heard of.
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        let committer = Arc::clone(&self.parts.committer);
        let committing = tokio::spawn(async move { committer.commit(commit).await });
        committing.await.map_err(|e| StoreError::Unavailable(e.to_string()))?
    }

    /// The module with this digest, ready to be executed.
    async fn load(&self, digest: Digest) -> Result<Arc<Module>, ServiceError> {
        let engine = Arc::clone(&self.parts.engine);
        if let Some(module) = engine.cached(&digest) {
            return Ok(module);
        }
        let bytes = self.module_content(digest).await?;
        let load = move || match engine.load::<Infallible>(&digest, || Ok(bytes)) {
            Ok(module) => Ok(module),
            Err(LoadError::Module(error)) => Err(error.into()),
            Err(error) => Err(ServiceError::Internal(format!("module {digest}: {error}"))),
        };
        on_thread(load).await
    }

    async fn record(&self, run: RunId) -> Result<Record, ServiceError> {
        self.parts.store.record(run).await?.ok_or(ServiceError::RunNotFound(run))
    }

    /// The run as it is shown. Leases are not part of the record (a host that takes a run writes
    /// nothing), so what a host has now is laid over what the store says; of runs that another server
    /// takes care of, only that is known.
    fn view(&self, record: &Record) -> RunView {
        let mut view = RunView::from(record);
        if !self.parts.dispatch.owns(record.id()) {
            return view;
        }
        let leased = self.parts.dispatch.is_leased(record.id());
        match view.state {
            StateKind::Queued if leased => {
                view.state = StateKind::Running;
                view.reason = None;
            }
            StateKind::Running if !leased => {
                view.state = StateKind::Queued;
                view.reason = Some(QueueReason::Recovery);
            }
            _ => {}
        }
        view
    }
}

/// Does what takes the processor a while where it holds nobody up.
async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ServiceError> + Send + 'static,
) -> Result<T, ServiceError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|e| ServiceError::Internal(format!("a thread broke off: {e}")))?
}
