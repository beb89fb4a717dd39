//! The task attempts of one run that are under way, and those that ended and are not decided yet.
//! Dropping it stops everything that is under way.

use super::tasks::{self, Ended};
use everstep_core::{Limits, OpId, Run, RunId, TaskCall};
use everstep_engine::Module;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, JoinError, JoinSet};

/// How many attempts of one run may be under way, or wait for a permit, at once.
const MOST: usize = 1_000;

#[derive(Default)]
pub(super) struct Executions {
    set: JoinSet<Ended>,
    handles: HashMap<OpId, AbortHandle>,
    ended: VecDeque<Ended>,
    /// Those whose decision is not durable yet. They are used again when it does not become so.
    undecided: Vec<Ended>,
}

impl Executions {
    /// Whether nothing is under way and nothing is to be decided.
    pub(super) fn is_idle(&self) -> bool {
        self.handles.is_empty() && self.ended.is_empty()
    }

    /// Whether no attempt is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.handles.is_empty()
    }

    /// Whether an attempt that ended is to be decided.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// How many more attempts may begin. Those that ended count until they are decided, which
    /// bounds what a run holds in memory.
    pub(super) fn room(&self) -> usize {
        MOST.saturating_sub(self.handles.len() + self.ended.len())
    }

    /// Begins attempts. After a reload one may be under way already, or wait to be decided; it is
    /// not begun again.
    pub(super) fn begin(
        &mut self,
        run: RunId,
        limits: Limits,
        module: &Arc<Module>,
        permits: &Arc<Semaphore>,
        calls: Vec<TaskCall>,
    ) {
        if calls.is_empty() {
            return;
        }
        let ended: HashSet<OpId> = self.ended.iter().map(|ended| ended.op).collect();
        for call in calls {
            let op = call.op;
            if self.handles.contains_key(&op) || ended.contains(&op) {
                continue;
            }
            let (module, permits) = (Arc::clone(module), Arc::clone(permits));
            let execution = tasks::execute(module, run, limits, call, permits);
            self.handles.insert(op, self.set.spawn(execution));
        }
    }

    /// Stops an attempt that nobody wants any more.
    pub(super) fn stop(&mut self, op: OpId) {
        if let Some(handle) = self.handles.remove(&op) {
            handle.abort();
        }
    }

    /// After a reload: stops what was given up meanwhile.
    pub(super) fn stop_stale(&mut self, run: &Run) {
        let stale = self.handles.keys().filter(|op| !run.is_pending(**op));
        for op in stale.copied().collect::<Vec<_>>() {
            self.stop(op);
        }
    }

    /// Waits for the next attempt to end, and takes all that have. Never returns while none is
    /// under way. May be dropped at any time.
    pub(super) async fn wait(&mut self) {
        match self.set.join_next().await {
            Some(joined) => self.note(joined),
            None => std::future::pending().await,
        }
        while let Some(joined) = self.set.try_join_next() {
            self.note(joined);
        }
    }

    /// Waits until all have ended, but not longer than this.
    pub(super) async fn wind_down(&mut self, limit: Duration) {
        let all = async {
            while !self.handles.is_empty() {
                self.wait().await;
            }
        };
        // What has not ended by then is made again after the next start.
        let _ = tokio::time::timeout(limit, all).await;
    }

    /// The next attempt to decide. It is kept aside until `decided` says that its fate is durable.
    pub(super) fn next_ended(&mut self) -> Option<Ended> {
        let ended = self.ended.pop_front()?;
        self.undecided.push(ended.clone());
        Some(ended)
    }

    /// What was handed out is durable.
    pub(super) fn decided(&mut self) {
        self.undecided.clear();
    }

    /// What was handed out did not become durable and is to be decided anew.
    pub(super) fn undo(&mut self) {
        for ended in self.undecided.drain(..).rev() {
            self.ended.push_front(ended);
        }
    }

    fn note(&mut self, joined: Result<Ended, JoinError>) {
        match joined {
            Ok(ended) => {
                self.handles.remove(&ended.op);
                self.ended.push_back(ended);
            }
            Err(error) => {
                // An attempt that was stopped is off the list; one that is on it broke off.
                let broken = self.handles.iter().find(|(_, handle)| handle.id() == error.id());
                if let Some((&op, _)) = broken {
                    self.handles.remove(&op);
                    self.ended.push_back(Ended::host_failed(op, &error.to_string()));
                }
            }
        }
    }
}
