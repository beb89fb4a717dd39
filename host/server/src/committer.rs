//! The only door through which the server changes a run. A commit is made durable first; then, and
//! only then, everybody who may want to know is told: waiting clients, the dispatcher, the timers.
//! What they are told are hints, the store is the truth.

use crate::dispatch::Dispatch;
use crate::hub::Hub;
use crate::timers::Timers;
use everstep_core::{Commit, Record};
use everstep_store::{Store, StoreError};
use std::sync::Arc;

/// See the module.
pub struct Committer {
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    dispatch: Arc<Dispatch>,
    timers: Arc<Timers>,
}

impl Committer {
    /// A committer that tells these.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        hub: Arc<Hub>,
        dispatch: Arc<Dispatch>,
        timers: Arc<Timers>,
    ) -> Self {
        Self { store, hub, dispatch, timers }
    }

    /// Makes a commit durable.
    ///
    /// # Errors
    /// As the store says; nothing has happened then (or, when the store is unavailable, nobody
    /// knows).
    pub async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        let record = commit.record.clone();
        let by_host = commit.token.is_some();
        self.store.commit(commit).await?;
        self.tell(&record, by_host);
        Ok(())
    }

    /// Tells everybody what another server has committed.
    pub fn heard(&self, record: &Record) {
        self.tell(record, false);
    }

    fn tell(&self, record: &Record, by_host: bool) {
        if self.dispatch.owns(record.id()) {
            self.timers.changed(record);
            self.dispatch.changed(record, by_host);
        }
        self.hub.publish(record);
    }
}
