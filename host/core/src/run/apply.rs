//! Taking events in. The only code that changes what a run durably is; live decisions and folds
//! both come through here. It checks that an event can stand where it stands.

use super::Run;
use super::operations::{Operations, Pending, PendingTask};
use super::reuse::Reuse;
use crate::activation::{CommandIdentity, CommandKind};
use crate::event::{Entry, JournalEvent};
use crate::record::CancelRequest;
use crate::{
    Completion, Failure, InputHash, OpId, OpResult, Payload, QueueReason, Record, Refusal,
    RunState, TaskOptions, Timestamp,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The run that a journal's first entry makes.
pub(super) fn first(entry: Option<&Entry>) -> Result<Run, Refusal> {
    let corrupt = |problem: &str| Refusal::Corrupt { seq: 0, problem: problem.into() };
    let Some(Entry { at, event: JournalEvent::RunStarted { origin, input, due } }) = entry else {
        return Err(corrupt("it does not begin with RunStarted"));
    };
    let retries = origin.options.retry.is_some_and(|policy| policy.max_attempts() > 1);
    Ok(Run {
        record: Record {
            origin: Arc::clone(origin),
            state: RunState::Queued { reason: QueueReason::New },
            attempt: 0,
            length: 1,
            log_lines: 0,
            next_op: OpId(1),
            pending: 0,
            undelivered: 0,
            wake_at: None,
            ready: true,
            cancel: None,
            updated_at: *at,
        },
        input: input.clone(),
        first_due: *due,
        last_at: *at,
        operations: Operations::default(),
        answers: VecDeque::new(),
        waiting: BTreeMap::new(),
        retry: None,
        reuse: Reuse::new(retries),
    })
}

impl Run {
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<(), Refusal> {
        if self.record.is_terminal() {
            return Err(self.corrupt("it follows the end of the run"));
        }
        match &entry.event {
            JournalEvent::RunStarted { .. } => return Err(self.corrupt("a second RunStarted")),
            JournalEvent::AttemptStarted { attempt } => self.attempt_started(*attempt)?,
            JournalEvent::TaskScheduled { op, name, input, input_hash, options, reuses } => {
                self.task_scheduled(entry.at, *op, name, input, *input_hash, *options, *reuses)?;
            }
            JournalEvent::TimerStarted { op, name, due, reuses } => {
                self.timer_started(*op, name, *due, *reuses)?;
            }
            JournalEvent::OperationCancelled { op } => {
                self.operations.remove(*op);
                self.answers.retain(|(answered, _)| answered != op);
                self.waiting.retain(|_, completion| {
                    !matches!(completion, Completion::Operation { op: waiting, .. } if waiting == op)
                });
            }
            JournalEvent::TaskAttemptFailed { op, failure, retry_at, .. } => {
                if !self.operations.attempt_failed(*op, *retry_at, failure.clone()) {
                    return Err(self.corrupt("an attempt of no pending task failed"));
                }
            }
            JournalEvent::TaskCompleted { op, output, deferred, .. } => {
                let result = OpResult::Value(output.clone());
                self.completed(*op, CommandKind::Task, Some(result.clone()))?;
                self.defer(*deferred, *op, result);
            }
            JournalEvent::TaskFailed { op, failure, deferred, .. } => {
                self.completed(*op, CommandKind::Task, None)?;
                self.defer(*deferred, *op, OpResult::Failed(failure.clone()));
            }
            JournalEvent::TimerFired { op } => {
                self.completed(*op, CommandKind::Timer, Some(OpResult::Fired))?;
            }
            JournalEvent::CancelRequested { reason, deadline } => {
                let completion = Completion::CancelRequested { reason: reason.clone() };
                self.waiting.insert(self.record.length, completion);
                self.record.cancel =
                    Some(CancelRequest { reason: reason.clone(), deadline: *deadline });
            }
            JournalEvent::Delivered { seq } => {
                if self.waiting.remove(seq).is_none() {
                    return Err(self.corrupt("it delivers what does not wait"));
                }
            }
            JournalEvent::AttemptFailed { failure, retry_at, .. } => {
                self.attempt_failed(failure, *retry_at);
            }
            JournalEvent::RunCompleted { output } => {
                self.end(RunState::Completed { output: output.clone() });
            }
            JournalEvent::RunFailed { failure } | JournalEvent::RunTimedOut { failure } => {
                self.end(RunState::Failed { failure: failure.clone() });
            }
            JournalEvent::RunCancelled { reason } => {
                self.end(RunState::Cancelled { reason: reason.clone() });
            }
        }
        self.record.length += 1;
        self.last_at = self.last_at.max(entry.at);
        Ok(())
    }

    pub(super) fn corrupt(&self, problem: &str) -> Refusal {
        Refusal::Corrupt { seq: self.record.length, problem: problem.into() }
    }

    fn attempt_started(&mut self, attempt: u32) -> Result<(), Refusal> {
        let between_attempts = self.retry.is_some() || self.record.attempt == 0;
        if attempt != self.record.attempt + 1 || !between_attempts {
            return Err(self.corrupt("an attempt starts out of turn"));
        }
        self.record.attempt = attempt;
        self.retry = None;
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one event")]
    fn task_scheduled(
        &mut self,
        at: Timestamp,
        op: OpId,
        name: &str,
        input: &Payload,
        input_hash: InputHash,
        options: TaskOptions,
        reuses: Option<OpId>,
    ) -> Result<(), Refusal> {
        self.take_op(op)?;
        let task = PendingTask {
            name: name.to_owned(),
            input: input.clone(),
            options,
            scheduled_at: at,
            failed: 0,
            retry: None,
        };
        self.operations.add_task(op, task, reuses.is_some());
        let identity = task_identity(name, input_hash);
        self.answer(op, &identity, reuses)
    }

    fn timer_started(
        &mut self,
        op: OpId,
        name: &str,
        due: Timestamp,
        reuses: Option<OpId>,
    ) -> Result<(), Refusal> {
        self.take_op(op)?;
        self.operations.add_timer(op, name.to_owned(), due);
        self.answer(op, &timer_identity(name), reuses)
    }

    fn answer(
        &mut self,
        op: OpId,
        identity: &CommandIdentity,
        reuses: Option<OpId>,
    ) -> Result<(), Refusal> {
        let Some(earlier) = reuses else { return Ok(()) };
        match self.reuse.take(identity, earlier) {
            Some(result) => self.answers.push_back((op, result)),
            None => return Err(self.corrupt("it reuses a result that is not there")),
        }
        Ok(())
    }

    fn take_op(&mut self, op: OpId) -> Result<(), Refusal> {
        if op != self.record.next_op {
            return Err(self.corrupt("operations are numbered in order"));
        }
        self.record.next_op = OpId(op.0 + 1);
        Ok(())
    }

    fn completed(
        &mut self,
        op: OpId,
        kind: CommandKind,
        result: Option<OpResult>,
    ) -> Result<(), Refusal> {
        self.operations.execution_ended(op);
        let pending = self.operations.remove(op);
        match (&pending, kind) {
            (Some(Pending::Task(_)), CommandKind::Task)
            | (Some(Pending::Timer { .. }), CommandKind::Timer) => {}
            _ => return Err(self.corrupt("it completes what is not pending")),
        }
        if self.answers.front().is_some_and(|(answered, _)| *answered == op) {
            self.answers.pop_front();
        } else {
            self.answers.retain(|(answered, _)| *answered != op);
        }
        if let (Some(result), Some(pending), true) = (result, pending, self.reuse.is_enabled()) {
            let identity = match pending {
                Pending::Task(task) => task_identity(&task.name, task.input.hash()),
                Pending::Timer { name, .. } => timer_identity(&name),
            };
            self.reuse.completed(op, identity, result);
        }
        Ok(())
    }

    fn defer(&mut self, deferred: bool, op: OpId, result: OpResult) {
        if deferred {
            self.waiting.insert(self.record.length, Completion::Operation { op, result });
        }
    }

    fn attempt_failed(&mut self, failure: &Failure, retry_at: Timestamp) {
        self.operations.clear();
        self.answers.clear();
        self.waiting.retain(|_, completion| !matches!(completion, Completion::Operation { .. }));
        self.reuse.attempt_ended();
        self.retry = Some((retry_at, failure.clone()));
    }

    fn end(&mut self, state: RunState) {
        self.operations.clear();
        self.answers.clear();
        self.waiting.clear();
        self.retry = None;
        self.reuse = Reuse::default();
        self.record.state = state;
    }
}

pub(super) fn task_identity(name: &str, hash: InputHash) -> CommandIdentity {
    CommandIdentity { kind: CommandKind::Task, name: name.to_owned(), input_hash: Some(hash) }
}

pub(super) fn timer_identity(name: &str) -> CommandIdentity {
    CommandIdentity { kind: CommandKind::Timer, name: name.to_owned(), input_hash: None }
}
