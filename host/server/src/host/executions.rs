//! The task attempts of one run that are under way, and those that ended and are not decided yet.
//! Dropping it stops everything that is under way.

use super::drive::Parts;
use super::tasks::{self, Ended, Execution};
use everstep_core::{Limits, OpId, Run, RunId, TaskCall};
use everstep_engine::{Module, TaskControl};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::Instant;

/// How many attempts of one run may be under way, or wait for a permit, at once.
const MOST: usize = 1_000;

/// How long a task that nobody wants any more may clean up.
const CLEAN_UP: Duration = Duration::from_secs(10);

#[derive(Default)]
pub(super) struct Executions {
    /// An attempt that began alone runs inside the driver's own `wait`: a run that does one thing
    /// after the other needs no spawn and no hop to another thread for each.
    alone: Option<(OpId, BoxFuture<'static, Ended>)>,
    set: JoinSet<Ended>,
    handles: HashMap<OpId, AbortHandle>,
    /// The lines to those that are under way.
    controls: HashMap<OpId, TaskControl>,
    /// Those that nobody wants any more and that clean up, with the time until which they may.
    stopping: BTreeMap<OpId, Instant>,
    ended: VecDeque<Ended>,
    /// Those whose decision is not durable yet. They are used again when it does not become so.
    undecided: Vec<Ended>,
}

impl Executions {
    /// Whether nothing is under way and nothing is to be decided.
    pub(super) fn is_idle(&self) -> bool {
        self.is_quiet() && self.ended.is_empty()
    }

    /// Whether no attempt is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.alone.is_none() && self.handles.is_empty()
    }

    /// Whether an attempt that ended is to be decided.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// How many more attempts may begin. Those that ended count until they are decided, which
    /// bounds what a run holds in memory.
    pub(super) fn room(&self) -> usize {
        MOST.saturating_sub(self.under_way().count() + self.ended.len())
    }

    /// Begins attempts. After a reload one may be under way already, or wait to be decided; it is
    /// not begun again.
    pub(super) fn begin(
        &mut self,
        run: RunId,
        limits: Limits,
        module: &Arc<Module>,
        parts: &Parts,
        calls: Vec<TaskCall>,
    ) {
        if calls.is_empty() {
            return;
        }
        let ended = self.ended.iter().map(|ended| ended.op);
        let known: HashSet<OpId> = self.under_way().chain(ended).collect();
        let alone = self.is_quiet() && calls.len() == 1;
        for call in calls {
            let op = call.op;
            if known.contains(&op) {
                continue;
            }
            let control = TaskControl::default();
            self.controls.insert(op, control.clone());
            let execution = tasks::execute(Execution {
                module: Arc::clone(module),
                run,
                limits,
                call,
                control,
                permits: Arc::clone(&parts.tasks),
                gates: Arc::clone(&parts.gates),
                link: Arc::clone(&parts.link),
            });
            if alone {
                self.alone = Some((op, unbroken(op, execution).boxed()));
            } else {
                self.handles.insert(op, self.set.spawn(execution));
            }
        }
    }

    fn under_way(&self) -> impl Iterator<Item = OpId> {
        self.alone.iter().map(|(op, _)| *op).chain(self.handles.keys().copied())
    }

    /// Stops an attempt that nobody wants any more; one that looks whether it is wanted gets time
    /// to clean up.
    pub(super) fn stop(&mut self, op: OpId) {
        if self.controls.get(&op).is_some_and(TaskControl::cancel) {
            self.stopping.entry(op).or_insert_with(|| Instant::now() + CLEAN_UP);
        } else {
            self.abort(op);
        }
    }

    fn abort(&mut self, op: OpId) {
        self.forget(op);
        self.alone.take_if(|(alone, _)| *alone == op);
        if let Some(handle) = self.handles.remove(&op) {
            handle.abort();
        }
    }

    fn forget(&mut self, op: OpId) {
        self.controls.remove(&op);
        self.stopping.remove(&op);
    }

    /// Waits for those that clean up.
    pub(super) async fn finish_stopping(&mut self) {
        while !self.stopping.is_empty() {
            self.wait().await;
        }
    }

    /// After a reload: stops what was given up meanwhile.
    pub(super) fn stop_stale(&mut self, run: &Run) {
        let stale: Vec<OpId> = self.under_way().filter(|op| !run.is_pending(*op)).collect();
        for op in stale {
            self.stop(op);
        }
    }

    /// Waits for the next attempt to end, and takes all that have. Never returns while none is
    /// under way. May be dropped at any time.
    pub(super) async fn wait(&mut self) {
        let patience = self.stopping.iter().map(|(op, until)| (*until, *op)).min();
        tokio::select! {
            ended = run_alone(&mut self.alone) => self.keep(ended),
            op = give_up(patience) => self.abort(op),
            Some(joined) = self.set.join_next() => self.note(joined),
        }
        while let Some(joined) = self.set.try_join_next() {
            self.note(joined);
        }
    }

    /// Waits until all have ended, but not longer than this.
    pub(super) async fn wind_down(&mut self, limit: Duration) {
        let all = async {
            while !self.is_quiet() {
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

    fn keep(&mut self, ended: Ended) {
        self.forget(ended.op);
        self.ended.push_back(ended);
    }

    fn note(&mut self, joined: Result<Ended, JoinError>) {
        match joined {
            Ok(ended) => {
                self.handles.remove(&ended.op);
                self.keep(ended);
            }
            Err(error) => {
                // An attempt that was stopped is off the list; one that is on it broke off.
                let broken = self.handles.iter().find(|(_, handle)| handle.id() == error.id());
                if let Some((&op, _)) = broken {
                    self.handles.remove(&op);
                    self.keep(Ended::host_failed(op, &error.to_string()));
                }
            }
        }
    }
}

/// Waits until the time to clean up is over for one. Never returns when none cleans up.
async fn give_up(patience: Option<(Instant, OpId)>) -> OpId {
    match patience {
        Some((until, op)) => {
            tokio::time::sleep_until(until).await;
            op
        }
        None => std::future::pending().await,
    }
}

/// Goes on with the attempt that is alone. Never returns when there is none.
async fn run_alone(alone: &mut Option<(OpId, BoxFuture<'static, Ended>)>) -> Ended {
    match alone {
        Some((_, execution)) => {
            let ended = execution.await;
            *alone = None;
            ended
        }
        None => std::future::pending().await,
    }
}

/// What breaks off in the host must not take the driver with it.
async fn unbroken(op: OpId, execution: impl Future<Output = Ended>) -> Ended {
    AssertUnwindSafe(execution)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Ended::host_failed(op, "it panicked"))
}
