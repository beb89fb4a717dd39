//! The pending operations of a run, with indexes by what is due. Everything here takes logarithmic
//! time, so that a run with ten thousand pending operations pays for each only once.

use crate::api::OperationView;
use crate::event::StuckCause;
use crate::record::RetryCause;
use crate::{Failure, OpId, Payload, RunId, RunState, TaskOptions, Timestamp};
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
}

/// An operation that awaits its completion.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Pending {
    Task(PendingTask),
    Timer { name: String, due: Timestamp },
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct PendingTask {
    pub(super) name: String,
    pub(super) input: Payload,
    pub(super) options: TaskOptions,
    pub(super) scheduled_at: Timestamp,
    /// Attempts that are known to have failed. One that was cut off by a crash is not among them:
    /// it is simply made again.
    pub(super) failed: u32,
    pub(super) retry: Option<(Timestamp, Failure)>,
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
        }
    }
}

/// See the module. `unreleased`, `startable`, `running` and `stopped` are what a host does with the
/// run just now. They are not durable: a fold leaves every task startable that does not wait for a
/// retry, and nothing that the record tells may depend on them.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Operations {
    pending: BTreeMap<OpId, Pending>,
    timers: BTreeSet<(Timestamp, OpId)>,
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

    pub(super) fn get(&self, op: OpId) -> Option<&Pending> {
        self.pending.get(&op)
    }

    pub(super) fn add_task(&mut self, op: OpId, task: PendingTask, answered: bool) {
        if !answered {
            self.startable.insert(op);
        }
        self.pending.insert(op, Pending::Task(task));
    }

    pub(super) fn add_timer(&mut self, op: OpId, name: String, due: Timestamp) {
        self.timers.insert((due, op));
        self.pending.insert(op, Pending::Timer { name, due });
    }

    /// Takes an operation out, because it completed or was given up.
    pub(super) fn remove(&mut self, op: OpId) -> Option<Pending> {
        let pending = self.pending.remove(&op)?;
        match &pending {
            Pending::Timer { due, .. } => {
                self.timers.remove(&(*due, op));
            }
            Pending::Task(task) => {
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
    ) -> bool {
        let Some(Pending::Task(task)) = self.pending.get_mut(&op) else { return false };
        if let Some((at, _)) = task.retry.take() {
            self.retries.remove(&(at, op));
            self.unreleased.remove(&(at, op));
        }
        task.failed += 1;
        task.retry = Some((retry_at, failure));
        self.retries.insert((retry_at, op));
        self.unreleased.insert((retry_at, op));
        self.startable.remove(&op);
        self.running.remove(&op);
        true
    }

    pub(super) fn due_timer(&self, now: Timestamp) -> Option<OpId> {
        self.timers.first().filter(|(due, _)| *due <= now).map(|(_, op)| *op)
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
        let timers = self.timers.len();
        let waiting_tasks = self.pending.len() - timers - self.retries.len();
        if waiting_tasks > 0 {
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
        let view = |(op, pending): (&OpId, &Pending)| match pending {
            Pending::Task(task) => OperationView {
                op: *op,
                kind: "task".into(),
                name: task.name.clone(),
                attempt: Some(task.failed + 1),
                due: task.retry.as_ref().map(|(at, _)| *at),
            },
            Pending::Timer { name, due } => OperationView {
                op: *op,
                kind: "timer".into(),
                name: name.clone(),
                attempt: None,
                due: Some(*due),
            },
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
        message: "the workflow awaits something, but no task and no sleep is pending".into(),
        remedy: "Await only futures that come from `run` (tasks, sleeps, cancelled()); other \
                 futures are never woken inside a workflow. Cancel the run, correct the workflow, \
                 upload it as a new version and start it again."
            .into(),
        divergence: None,
    }
}
