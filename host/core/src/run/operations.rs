//! The pending operations of a run, with indexes by what is due. Everything here takes logarithmic
//! time, so that a run with ten thousand pending operations pays for each only once.

use super::identity::{child_identity, named_identity, send_identity, task_identity};
use crate::StuckCause;
use crate::activation::{CommandIdentity, CommandKind};
use crate::api::OperationView;
use crate::record::RetryCause;
use crate::{
    Failure, InputHash, OnParentEnd, OpId, OpResult, Payload, RunId, RunState, TaskOptions,
    Timestamp,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// A task attempt to execute.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskCall {
    /// The operation.
    pub op: OpId,
    /// The task's name.
    pub name: String,
    /// Its input.
    pub input: Payload,
    /// From 1.
    pub attempt: u32,
    /// The longest this attempt may take, in milliseconds.
    pub attempt_timeout_ms: Option<u64>,
    /// What is left of the time for all attempts, in milliseconds.
    pub remaining_ms: Option<u64>,
    /// The same for every attempt of this operation and for nothing else: `run-id/op`.
    pub idempotency_token: String,
    /// What the last heartbeat of the attempt before this one said.
    pub progress: Option<Payload>,
}

/// An operation that awaits its completion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Pending {
    Task(PendingTask),
    Timer { name: String, due: Timestamp },
    Event { name: String, timeout_at: Option<Timestamp> },
    Send { name: String, data: InputHash },
    Child(PendingChild),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PendingChild {
    pub(super) run: RunId,
    pub(super) workflow: String,
    pub(super) input: InputHash,
    pub(super) on_parent_end: OnParentEnd,
}

impl Pending {
    /// What a replay, or a next attempt of the run, knows the operation by.
    pub(super) fn identity(&self) -> CommandIdentity {
        match self {
            Self::Task(task) => task_identity(&task.name, task.input.hash()),
            Self::Timer { name, .. } => named_identity(CommandKind::Timer, name),
            Self::Event { name, .. } => named_identity(CommandKind::Event, name),
            Self::Send { name, data } => send_identity(name, *data),
            Self::Child(child) => child_identity(&child.workflow, child.input),
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Task(_) => "task",
            Self::Timer { .. } => "timer",
            Self::Event { .. } => "event",
            Self::Send { .. } => "send",
            Self::Child(_) => "child",
        }
    }

    /// When its time is over, for what has one.
    fn due(&self) -> Option<Timestamp> {
        match self {
            Self::Timer { due, .. } => Some(*due),
            Self::Event { timeout_at, .. } => *timeout_at,
            Self::Task(_) | Self::Send { .. } | Self::Child(_) => None,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct PendingTask {
    pub(super) name: String,
    pub(super) input: Payload,
    pub(super) options: TaskOptions,
    pub(super) scheduled_at: Timestamp,
    /// Attempts that are known to have failed. One that was cut off by a crash is not among them:
    /// it is simply made again.
    pub(super) failed: u32,
    pub(super) retry: Option<(Timestamp, Failure)>,
    pub(super) progress: Option<Payload>,
}

impl PendingTask {
    /// When the time for all attempts is over.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.options.total_timeout_ms.map(|ms| self.scheduled_at.plus(ms))
    }

    fn call(&self, run: RunId, op: OpId, now: Timestamp) -> TaskCall {
        TaskCall {
            op,
            name: self.name.clone(),
            input: self.input.clone(),
            attempt: self.failed + 1,
            attempt_timeout_ms: self.options.attempt_timeout_ms,
            remaining_ms: self.deadline().map(|deadline| deadline.since(now)),
            idempotency_token: format!("{run}/{op}"),
            progress: self.progress.clone(),
        }
    }
}

/// See the module. `unreleased`, `startable`, `running` and `stopped` are what a host does with the
/// run just now. They are not durable: a fold leaves every task startable that does not wait for a
/// retry, and nothing that the record tells may depend on them.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Operations {
    pending: BTreeMap<OpId, Pending>,
    /// Timers, and the time limits of waits.
    timers: BTreeSet<(Timestamp, OpId)>,
    /// Waits for events by their name, but for those that have an answer already.
    waits: BTreeMap<String, BTreeSet<OpId>>,
    children: BTreeSet<OpId>,
    /// Tasks and sends: what somebody works on.
    worked_on: usize,
    retries: BTreeSet<(Timestamp, OpId)>,
    unreleased: BTreeSet<(Timestamp, OpId)>,
    startable: BTreeSet<OpId>,
    running: BTreeSet<OpId>,
    stopped: Vec<OpId>,
}

impl Operations {
    pub(super) fn len(&self) -> usize {
        self.pending.len()
    }

    /// What is pending, by operation.
    pub(super) fn all(&self) -> Vec<(OpId, Pending)> {
        self.pending.iter().map(|(op, pending)| (*op, pending.clone())).collect()
    }

    pub(super) fn get(&self, op: OpId) -> Option<&Pending> {
        self.pending.get(&op)
    }

    /// Takes an operation in. One that is `answered` has its result already and only waits for
    /// the guest to be told.
    pub(super) fn add(&mut self, op: OpId, operation: Pending, answered: bool) {
        if let Some(due) = operation.due() {
            self.timers.insert((due, op));
        }
        match &operation {
            Pending::Task(task) => {
                self.worked_on += 1;
                if let Some((at, _)) = &task.retry {
                    self.retries.insert((*at, op));
                    self.unreleased.insert((*at, op));
                } else if !answered {
                    self.startable.insert(op);
                }
            }
            Pending::Send { .. } => self.worked_on += 1,
            Pending::Event { name, .. } if !answered => {
                self.waits.entry(name.clone()).or_default().insert(op);
            }
            Pending::Child(_) if !answered => {
                self.children.insert(op);
            }
            Pending::Timer { .. } | Pending::Event { .. } | Pending::Child(_) => {}
        }
        self.pending.insert(op, operation);
    }

    /// Takes an operation out, because it completed or was given up.
    pub(super) fn remove(&mut self, op: OpId) -> Option<Pending> {
        let pending = self.pending.remove(&op)?;
        if let Some(due) = pending.due() {
            self.timers.remove(&(due, op));
        }
        match &pending {
            Pending::Timer { .. } => {}
            Pending::Send { .. } => self.worked_on -= 1,
            Pending::Child(_) => {
                self.children.remove(&op);
            }
            Pending::Event { name, .. } => {
                if let Some(waits) = self.waits.get_mut(name) {
                    waits.remove(&op);
                    if waits.is_empty() {
                        self.waits.remove(name);
                    }
                }
            }
            Pending::Task(task) => {
                self.worked_on -= 1;
                if let Some((at, _)) = &task.retry {
                    self.retries.remove(&(*at, op));
                    self.unreleased.remove(&(*at, op));
                }
                self.startable.remove(&op);
                if self.running.remove(&op) {
                    self.stopped.push(op);
                }
            }
        }
        Some(pending)
    }

    /// Notes that the execution of a task ended by itself, so that nobody needs to stop it.
    pub(super) fn execution_ended(&mut self, op: OpId) {
        self.running.remove(&op);
    }

    pub(super) fn clear(&mut self) {
        let stopped = std::mem::take(&mut self.running);
        let mut kept = std::mem::take(&mut self.stopped);
        kept.extend(stopped);
        *self = Self { stopped: kept, ..Self::default() };
    }

    pub(super) fn attempt_failed(
        &mut self,
        op: OpId,
        retry_at: Timestamp,
        failure: Failure,
        progress: Option<Payload>,
    ) -> bool {
        let Some(Pending::Task(task)) = self.pending.get_mut(&op) else { return false };
        if let Some((at, _)) = task.retry.take() {
            self.retries.remove(&(at, op));
            self.unreleased.remove(&(at, op));
        }
        task.failed += 1;
        task.retry = Some((retry_at, failure));
        task.progress = progress;
        self.retries.insert((retry_at, op));
        self.unreleased.insert((retry_at, op));
        self.startable.remove(&op);
        self.running.remove(&op);
        true
    }

    /// Lets the time limits of tasks count from now.
    pub(super) fn restart(&mut self, now: Timestamp) {
        for pending in self.pending.values_mut() {
            if let Pending::Task(task) = pending {
                task.scheduled_at = now;
            }
        }
    }

    /// The operation whose time is over first, and how it ends.
    pub(super) fn due(&self, now: Timestamp) -> Option<(OpId, OpResult)> {
        let (_, op) = self.timers.first().filter(|(due, _)| *due <= now)?;
        let result = match self.pending.get(op) {
            Some(Pending::Event { .. }) => OpResult::TimedOut,
            _ => OpResult::Fired,
        };
        Some((*op, result))
    }

    /// Lets the sleep that would end first end at this time.
    pub(super) fn wake(&mut self, at: Timestamp) {
        let is_sleep = |op: &OpId| matches!(self.pending.get(op), Some(Pending::Timer { .. }));
        let Some(&(due, op)) = self.timers.iter().find(|(_, op)| is_sleep(op)) else { return };
        self.timers.remove(&(due, op));
        self.timers.insert((due.min(at), op));
        if let Some(Pending::Timer { due, .. }) = self.pending.get_mut(&op) {
            *due = at.min(*due);
        }
    }

    /// The names of events that are waited for.
    pub(super) fn awaited(&self) -> impl Iterator<Item = &str> {
        self.waits.keys().map(String::as_str)
    }

    /// The wait that began first of those that take an event of this name and time.
    pub(super) fn wait_for(&self, name: &str, received: Timestamp) -> Option<OpId> {
        let in_time = |op: &OpId| match self.pending.get(op) {
            Some(Pending::Event { timeout_at, .. }) => timeout_at.is_none_or(|at| received <= at),
            _ => false,
        };
        self.waits.get(name)?.iter().copied().find(in_time)
    }

    /// The children that are to be stopped when the run gives up what is pending.
    pub(super) fn dependents(&self) -> Vec<(OpId, RunId)> {
        let dependent = |op: &OpId| match self.pending.get(op) {
            Some(Pending::Child(child)) if child.on_parent_end == OnParentEnd::Cancel => {
                Some((*op, child.run))
            }
            _ => None,
        };
        self.children.iter().filter_map(dependent).collect()
    }

    /// Lets tasks whose retry is due start again.
    pub(super) fn release_retries(&mut self, now: Timestamp) {
        while let Some(&(at, op)) = self.unreleased.first() {
            if at > now {
                break;
            }
            self.unreleased.pop_first();
            self.startable.insert(op);
        }
    }

    /// When a timer or a retry is due first.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        earliest([&self.timers, &self.retries])
    }

    /// The same, but for retries that were released already.
    pub(super) fn next_release(&self) -> Option<Timestamp> {
        earliest([&self.timers, &self.unreleased])
    }

    pub(super) fn has_startable(&self) -> bool {
        !self.startable.is_empty()
    }

    pub(super) fn start_tasks(&mut self, run: RunId, now: Timestamp, most: usize) -> Vec<TaskCall> {
        let mut calls = Vec::new();
        while calls.len() < most {
            let Some(op) = self.startable.pop_first() else { break };
            if let Some(Pending::Task(task)) = self.pending.get(&op) {
                calls.push(task.call(run, op, now));
                self.running.insert(op);
            }
        }
        calls
    }

    pub(super) fn take_stopped(&mut self) -> Vec<OpId> {
        std::mem::take(&mut self.stopped)
    }

    /// What the run waits for, from its pending operations alone.
    pub(super) fn state(&self) -> RunState {
        if self.worked_on > self.retries.len() {
            return RunState::Running;
        }
        if let Some((next_attempt_at, op)) = self.retries.first()
            && let Some(Pending::Task(PendingTask { name, retry: Some((_, failure)), .. })) =
                self.pending.get(op)
        {
            return RunState::AwaitingRetry {
                cause: RetryCause::Task { name: name.clone() },
                next_attempt_at: *next_attempt_at,
                failure: failure.clone(),
            };
        }
        if let Some(op) = self.children.first()
            && let Some(Pending::Child(child)) = self.pending.get(op)
        {
            return RunState::AwaitingChild { child: child.run };
        }
        if let Some(op) = self.waits.values().filter_map(BTreeSet::first).min()
            && let Some(Pending::Event { name, timeout_at }) = self.pending.get(op)
        {
            return RunState::AwaitingEvent { event: name.clone(), timeout_at: *timeout_at };
        }
        match self.timers.first() {
            Some((wakeup_at, op)) => {
                let timer = match self.pending.get(op) {
                    Some(Pending::Timer { name, .. }) => name.clone(),
                    _ => String::new(),
                };
                RunState::Sleeping { timer, wakeup_at: *wakeup_at }
            }
            None => RunState::Stuck { cause: idle() },
        }
    }

    pub(super) fn views(&self, most: usize) -> Vec<OperationView> {
        let view = |(op, pending): (&OpId, &Pending)| {
            let mut view = OperationView {
                op: *op,
                kind: pending.kind().into(),
                name: String::new(),
                attempt: None,
                due: pending.due(),
                child: None,
                progress: None,
            };
            match pending {
                Pending::Task(task) => {
                    view.name.clone_from(&task.name);
                    view.attempt = Some(task.failed + 1);
                    view.due = task.retry.as_ref().map(|(at, _)| *at);
                }
                Pending::Child(child) => {
                    view.name.clone_from(&child.workflow);
                    view.child = Some(child.run);
                }
                Pending::Timer { name, .. }
                | Pending::Event { name, .. }
                | Pending::Send { name, .. } => view.name.clone_from(name),
            }
            view
        };
        self.pending.iter().take(most).map(view).collect()
    }
}

fn earliest(sets: [&BTreeSet<(Timestamp, OpId)>; 2]) -> Option<Timestamp> {
    sets.into_iter().filter_map(|set| set.first()).map(|(at, _)| *at).min()
}

/// A run that waits for nothing can never go on.
fn idle() -> StuckCause {
    StuckCause {
        code: "guest.idle".into(),
        message: "the workflow awaits something, but nothing is pending".into(),
        remedy: "Await only what comes from `run` (tasks, sleeps, events, children); other \
                 futures are never woken inside a workflow. Cancel the run, correct the workflow, \
                 upload it as a new version and start it again."
            .into(),
        divergence: None,
    }
}
