//! The task attempts of one run that are under way, and those that ended and are not decided yet.
//! Dropping it stops everything that is under way.

use super::drive::Parts;
use super::tasks::{self, Ended, Execution};
use everstep_core::{Limits, OpId, Run, RunId, TaskCall};
use everstep_engine::{Module, TaskControl};
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::{HashMap, HashSet, VecDeque};
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
    alone: Option<BoxFuture<'static, Ended>>,
    set: JoinSet<Ended>,
    under_way: HashMap<OpId, UnderWay>,
    ended: VecDeque<Ended>,
    /// Those whose decision is not durable yet. They are used again when it does not become so.
    undecided: Vec<Ended>,
}

/// An attempt that is under way.
struct UnderWay {
    attempt: u32,
    control: TaskControl,
    /// Ends it; none for the one that is alone.
    handle: Option<AbortHandle>,
    /// Until when it may clean up, when nobody wants it any more.
    until: Option<Instant>,
}

impl Executions {
    /// Whether nothing is under way and nothing is to be decided.
    pub(super) fn is_idle(&self) -> bool {
        self.is_quiet() && self.ended.is_empty()
    }

    /// Whether no attempt is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Whether an attempt that ended is to be decided.
    pub(super) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// How many more attempts may begin. Those that ended count until they are decided, which
    /// bounds what a run holds in memory.
    pub(super) fn room(&self) -> usize {
        MOST.saturating_sub(self.under_way.len() + self.ended.len())
    }

    /// Begins attempts. After a reload one may be under way already, or wait to be decided; it is
    /// not begun again, but an earlier one of the same task, which the journal has, is of no use.
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
        let ended = self.ended.iter().map(|ended| (ended.op, ended.attempt));
        let ended: HashSet<(OpId, u32)> = ended.collect();
        for call in &calls {
            if self.under_way.get(&call.op).is_some_and(|it| it.attempt != call.attempt) {
                self.abort(call.op);
            }
        }
        let alone = self.is_quiet() && calls.len() == 1;
        for call in calls {
            let (op, attempt) = (call.op, call.attempt);
            if self.under_way.contains_key(&op) || ended.contains(&(op, attempt)) {
                continue;
            }
            let control = TaskControl::default();
            let execution = tasks::execute(Execution {
                module: Arc::clone(module),
                run,
                limits,
                call,
                control: control.clone(),
                permits: Arc::clone(&parts.tasks),
                gates: Arc::clone(&parts.gates),
                link: Arc::clone(&parts.link),
            });
            let handle = if alone {
                self.alone = Some(unbroken(op, attempt, execution).boxed());
                None
            } else {
                Some(self.set.spawn(execution))
            };
            self.under_way.insert(op, UnderWay { attempt, control, handle, until: None });
        }
    }

    /// Stops an attempt that nobody wants any more; one that looks whether it is wanted gets time
    /// to clean up.
    pub(super) fn stop(&mut self, op: OpId) {
        let Some(attempt) = self.under_way.get_mut(&op) else { return };
        if attempt.control.cancel() {
            attempt.until.get_or_insert_with(|| Instant::now() + CLEAN_UP);
        } else {
            self.abort(op);
        }
    }

    fn abort(&mut self, op: OpId) {
        match self.under_way.remove(&op).map(|attempt| attempt.handle) {
            Some(Some(handle)) => handle.abort(),
            Some(None) => self.alone = None,
            None => {}
        }
    }

    /// The attempt that has to be done with cleaning up first.
    fn stopping(&self) -> Option<(Instant, OpId)> {
        self.under_way.iter().filter_map(|(op, attempt)| Some((attempt.until?, *op))).min()
    }

    /// Waits for those that clean up.
    pub(super) async fn finish_stopping(&mut self) {
        while self.stopping().is_some() {
            self.wait().await;
        }
    }

    /// After a reload: stops what was given up meanwhile.
    pub(super) fn stop_stale(&mut self, run: &Run) {
        let stale = self.under_way.keys().filter(|op| !run.is_pending(**op));
        for op in stale.copied().collect::<Vec<_>>() {
            self.stop(op);
        }
    }

    /// Waits for the next attempt to end, and takes all that have. Never returns while none is
    /// under way. May be dropped at any time.
    pub(super) async fn wait(&mut self) {
        let patience = self.stopping();
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
        self.under_way.remove(&ended.op);
        self.ended.push_back(ended);
    }

    fn note(&mut self, joined: Result<Ended, JoinError>) {
        match joined {
            Ok(ended) => self.keep(ended),
            Err(error) => {
                // An attempt that was stopped is off the list; one that is on it broke off.
                let is_it = |attempt: &UnderWay| {
                    attempt.handle.as_ref().is_some_and(|handle| handle.id() == error.id())
                };
                let broken = self.under_way.iter().find(|(_, attempt)| is_it(attempt));
                if let Some((&op, UnderWay { attempt, .. })) = broken {
                    self.keep(Ended::host_failed(op, *attempt, &error.to_string()));
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
async fn run_alone(alone: &mut Option<BoxFuture<'static, Ended>>) -> Ended {
    match alone {
        Some(execution) => {
            let ended = execution.await;
            *alone = None;
            ended
        }
        None => std::future::pending().await,
    }
}

/// What breaks off in the host must not take the driver with it.
async fn unbroken(op: OpId, attempt: u32, execution: impl Future<Output = Ended>) -> Ended {
    AssertUnwindSafe(execution)
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Ended::host_failed(op, attempt, "it panicked"))
}
