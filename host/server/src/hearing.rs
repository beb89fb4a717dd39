//! Word of what other servers on the store have changed. A commit that another server has made for a run
//! of ours is passed on as if we had made it; one that somebody waits for here is told to them. Started by
//! `server` on a store that several servers can have open.
//!
//! Hints are no promises: what is not heard is found by the looks at the store, only later.

use crate::committer::Committer;
use crate::dispatch::Dispatch;
use crate::hub::Hub;
use crate::service::Service;
use everstep_core::RunId;
use everstep_store::{Hint, Store};
use futures::{FutureExt, StreamExt};
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::Notify;

/// Hints that are taken together: those of the same run are one.
const TOGETHER: usize = 1_024;
/// Records that are read at once.
const AT_ONCE: usize = 32;

/// Who hears.
pub(crate) struct Hearing {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) committer: Arc<Committer>,
    pub(crate) dispatch: Arc<Dispatch>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) service: Arc<Service>,
    /// Rings for a look at the shards.
    pub(crate) bell: Arc<Notify>,
}

impl Hearing {
    /// Hears until the store is closed or the future is dropped.
    pub(crate) async fn serve(self) {
        let mut hints = self.store.ownership().hints();
        while let Some(first) = hints.next().await {
            let mut runs = HashSet::new();
            self.take(first, &mut runs);
            for _ in 0..TOGETHER {
                let Some(Some(hint)) = hints.next().now_or_never() else { break };
                self.take(hint, &mut runs);
            }
            let reading = futures::stream::iter(runs);
            reading.for_each_concurrent(AT_ONCE, |run| self.committer.heard(run)).await;
        }
    }

    fn take(&self, hint: Hint, runs: &mut HashSet<RunId>) {
        match hint {
            Hint::Run(run) => {
                if self.dispatch.owns(run) || self.hub.is_watched(run) {
                    runs.insert(run);
                }
            }
            Hint::Schedule(schedule) => {
                if self.dispatch.leads() {
                    self.service.agenda().wake(schedule);
                }
            }
            Hint::Modules => self.service.modules_changed(),
            Hint::Missed => {
                self.service.modules_changed();
                self.bell.notify_one();
            }
        }
    }
}
