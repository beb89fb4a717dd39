//! The inside of a server: everything between a store and whoever asks, without a door of its own.
//! `server` puts HTTP in front of it, a simulation takes it as it is.

use crate::committer::Committer;
use crate::dispatch::Dispatch;
use crate::hub::Hub;
use crate::link::LinkParts;
use crate::retention::{self, RetentionOptions};
use crate::schedules;
use crate::service::{SelfCheckOptions, Service, ServiceOptions, ServiceParts, selfcheck};
use crate::timers::Timers;
use everstep_engine::Engine;
use everstep_store::{Store, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How often, at least, expired leases are looked for, and an overflown queue is refilled.
const SWEEP: Duration = Duration::from_millis(500);

/// See the module.
pub struct Assembly {
    links: LinkParts,
    hub: Arc<Hub>,
}

impl Assembly {
    /// Goes on with the open runs of a store that the dispatcher owns.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn new(
        store: Arc<dyn Store>,
        dispatch: Arc<Dispatch>,
        engine: Arc<Engine>,
        options: ServiceOptions,
    ) -> Result<Self, StoreError> {
        dispatch.refill(&store).await?;
        let (hub, timers) = (Hub::new(), Arc::new(Timers::default()));
        let committer = Arc::new(Committer::new(
            Arc::clone(&store),
            Arc::clone(&hub),
            Arc::clone(&dispatch),
            Arc::clone(&timers),
        ));
        let parts = ServiceParts {
            store: Arc::clone(&store),
            engine,
            committer: Arc::clone(&committer),
            hub: Arc::clone(&hub),
            dispatch: Arc::clone(&dispatch),
        };
        let service = Arc::new(Service::new(parts, options));
        Ok(Self { links: LinkParts { store, committer, dispatch, timers, service }, hub })
    }

    /// What the links of hosts are made of.
    #[must_use]
    pub fn links(&self) -> &LinkParts {
        &self.links
    }

    /// Tells when something was committed.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// Begins with everything that happens unasked: timers, leases, schedules, retention. It ends when
    /// it is aborted.
    #[must_use]
    pub fn serve(
        &self,
        retention: RetentionOptions,
        self_check: SelfCheckOptions,
    ) -> Vec<JoinHandle<()>> {
        let LinkParts { store, committer, dispatch, timers, service } = self.links.clone();
        let [timed, homes, removing] = [&dispatch; 3].map(Arc::clone);
        let (ahead, kept) = (Arc::clone(&store), Arc::clone(&store));
        let scheduled = Arc::clone(&service);
        vec![
            tokio::spawn(async move { timers.serve(ahead, timed).await }),
            tokio::spawn(async move { committer.serve().await }),
            tokio::spawn(sweep(store, dispatch)),
            tokio::spawn(async move { homes.serve_homes().await }),
            tokio::spawn(retention::serve(kept, removing, retention)),
            tokio::spawn(schedules::serve(scheduled)),
            tokio::spawn(selfcheck::serve(service, self_check)),
        ]
    }
}

async fn sweep(store: Arc<dyn Store>, dispatch: Arc<Dispatch>) {
    let mut ticks = tokio::time::interval(SWEEP.min(dispatch.timing().heartbeat / 4));
    loop {
        ticks.tick().await;
        dispatch.expire_leases();
        if let Err(error) = dispatch.refill(&store).await {
            tracing::error!(%error, "the queue cannot be refilled");
        }
    }
}
