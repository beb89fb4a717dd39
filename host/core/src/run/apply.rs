//! Taking events in. The only code that changes what a run durably is; live decisions and folds
//! both come through here. It checks that an event can stand where it stands.

use super::Run;
use super::mailbox::Mailbox;
use super::operations::{Operations, Pending, PendingChild, PendingTask};
use super::outbox::Outbox;
use super::reuse::Reuse;
use crate::event::{Entry, JournalEvent, SetOutcome};
use crate::record::{CancelRequest, Origin};
use crate::{
    Completion, Deferred, Failure, Message, OpId, OpResult, Payload, QueueReason, Record, Refusal,
    RunId, RunState, Timestamp,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The run that a journal's first entry makes. One that begins anew has a new time limit. `keeps_results` says that the run was, or may be,
/// tried again by hand.
pub(super) fn first(
    entry: Option<&Entry>,
    position: u64,
    keeps_results: bool,
) -> Result<Run, Refusal> {
    match entry {
        Some(Entry { at, event: JournalEvent::RunStarted { origin, input, due } }) => {
            Ok(begin(origin, input, *at, *due, (position, keeps_results)))
        }
        Some(Entry { at, event: event @ JournalEvent::RunContinued { origin, input, .. } }) => {
            let mut run = begin(origin, input, *at, *at, (position, keeps_results));
            run.carry_over(event);
            Ok(run)
        }
        _ => Err(Refusal::Corrupt {
            seq: position,
            problem: "it does not begin with RunStarted or RunContinued".into(),
        }),
    }
}

fn begin(
    origin: &Arc<Origin>,
    input: &Payload,
    at: Timestamp,
    due: Timestamp,
    (position, keeps_results): (u64, bool),
) -> Run {
    let retries = origin.options.retry.is_some_and(|policy| policy.max_attempts() > 1);
    let keeps_results = keeps_results || retries;
    Run {
        record: Record {
            origin: Arc::clone(origin),
            state: RunState::Queued { reason: QueueReason::New },
            attempt: 0,
            length: position + 1,
            log_lines: 0,
            next_op: OpId(1),
            pending: 0,
            undelivered: 0,
            wake_at: None,
            ready: true,
            cancel: None,
            updated_at: at,
            first: position,
            outbox: 0,
            keeps_results,
            published: None,
            limited_from: due,
        },
        input: input.clone(),
        first_due: due,
        delayed: due > at,
        last_at: at,
        generation: 0,
        operations: Operations::default(),
        answers: VecDeque::new(),
        waiting: BTreeMap::new(),
        mailbox: Mailbox::default(),
        outbox: Outbox::default(),
        retry: None,
        paused: None,
        reuse: Reuse::new(keeps_results),
    }
}

impl Run {
    /// What a run keeps when it begins anew.
    fn carry_over(&mut self, event: &JournalEvent) {
        let JournalEvent::RunContinued { generation, next_op, events, messages, cancel, .. } =
            event
        else {
            return;
        };
        let seq = self.record.first;
        self.generation = *generation;
        self.record.next_op = *next_op;
        for (nth, event) in events.iter().enumerate() {
            let nth = u32::try_from(nth).unwrap_or(u32::MAX);
            self.mailbox.put(Deferred { seq, nth }, self.last_at, event);
        }
        for (id, message) in messages {
            self.outbox.put(id.op, message.clone());
        }
        if let Some(cancel) = cancel {
            self.cancel_requested(seq, cancel.clone());
        }
    }

    pub(super) fn apply(&mut self, entry: &Entry) -> Result<(), Refusal> {
        let at = entry.at;
        if self.record.is_terminal() && !may_follow_the_end(&self.record.state, &entry.event) {
            return Err(self.corrupt("it follows the end of the run"));
        }
        match &entry.event {
            JournalEvent::RunStarted { .. } => return Err(self.corrupt("a second RunStarted")),
            JournalEvent::RunContinued { .. } => return self.begin_anew(entry),
            JournalEvent::AttemptStarted { attempt } => self.attempt_started(*attempt)?,
            event @ (JournalEvent::TaskScheduled { .. }
            | JournalEvent::TimerStarted { .. }
            | JournalEvent::EventAwaited { .. }
            | JournalEvent::EventSent { .. }
            | JournalEvent::ChildScheduled { .. }) => self.registered(event, at)?,
            JournalEvent::ValueRecorded { .. } | JournalEvent::StateHashed { .. } => {}
            JournalEvent::OperationCancelled { op } => self.given_up(*op),
            JournalEvent::TaskAttemptFailed { op, failure, retry_at, progress, .. } => {
                let (failure, progress) = (failure.clone(), progress.clone());
                if !self.operations.attempt_failed(*op, *retry_at, failure, progress) {
                    return Err(self.corrupt("an attempt of no pending task failed"));
                }
            }
            JournalEvent::TaskCompleted { op, output, deferred, .. } => {
                self.completed(*op, OpResult::Value(output.clone()), *deferred)?;
            }
            JournalEvent::TaskFailed { op, failure, deferred, .. } => {
                self.completed(*op, OpResult::Failed(failure.clone()), *deferred)?;
            }
            JournalEvent::TimerFired { op } => self.completed(*op, OpResult::Fired, false)?,
            JournalEvent::EventTimedOut { op } => self.completed(*op, OpResult::TimedOut, false)?,
            JournalEvent::OperationEnded { op, result, deferred } => {
                self.outbox.answered(*op);
                self.completed(*op, result.clone(), *deferred)?;
            }
            JournalEvent::MessageTaken { id } => {
                if !self.outbox.confirm(*id) {
                    return Err(self.corrupt("it confirms a message that nobody sent"));
                }
            }
            JournalEvent::EventReceived { event } => {
                let position = Deferred { seq: self.record.length, nth: 0 };
                self.mailbox.put(position, at, event);
            }
            JournalEvent::ChildEnded { op, result } => self.child_ended(*op, result)?,
            JournalEvent::RunUpgraded { to, .. } => {
                let origin = self.record.origin.with_module(to.clone());
                self.record.origin = Arc::new(origin);
            }
            JournalEvent::RunPaused { reason } => self.paused = Some(reason.clone()),
            JournalEvent::RunResumed => self.paused = None,
            JournalEvent::WakeRequested => self.operations.wake(at),
            JournalEvent::RunForked { messages, .. } => self.forked(messages, at),
            JournalEvent::RetryRequested { outcomes } => self.retry_requested(outcomes, at)?,
            JournalEvent::CancelRequested { reason, deadline } => {
                let request = CancelRequest { reason: reason.clone(), deadline: *deadline };
                self.cancel_requested(self.record.length, request);
            }
            JournalEvent::Delivered { seq, nth, op } => {
                self.delivered_later(Deferred { seq: *seq, nth: *nth }, *op)?;
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
            JournalEvent::RunCancelled { reason } | JournalEvent::RunTerminated { reason } => {
                self.end(RunState::Cancelled { reason: reason.clone() });
            }
        }
        self.record.length += 1;
        self.last_at = self.last_at.max(at);
        Ok(())
    }

    pub(super) fn corrupt(&self, problem: &str) -> Refusal {
        Refusal::Corrupt { seq: self.record.length, problem: problem.into() }
    }

    fn begin_anew(&mut self, entry: &Entry) -> Result<(), Refusal> {
        let mut next = first(Some(entry), self.record.length, false)?;
        next.record.log_lines = self.record.log_lines;
        next.record.published = self.record.published.take();
        // The executions of what was pending are to be stopped still.
        self.operations.clear();
        next.operations = std::mem::take(&mut self.operations);
        *self = next;
        Ok(())
    }

    fn cancel_requested(&mut self, seq: u64, request: CancelRequest) {
        let completion = Completion::CancelRequested { reason: request.reason.clone() };
        self.waiting.insert(seq, completion);
        // Whoever wants a run to stop wants it to move.
        self.paused = None;
        self.record.cancel = Some(request);
    }

    fn attempt_started(&mut self, attempt: u32) -> Result<(), Refusal> {
        let between_attempts = self.retry.is_some() || self.record.attempt == 0;
        if attempt != self.record.attempt + 1 || !between_attempts {
            return Err(self.corrupt("an attempt starts out of turn"));
        }
        self.record.attempt = attempt;
        self.retry = None;
        self.reuse.attempt_started();
        Ok(())
    }

    /// An operation that the guest asked for.
    fn registered(&mut self, event: &JournalEvent, at: Timestamp) -> Result<(), Refusal> {
        let (op, reuses, operation) = match event {
            JournalEvent::TaskScheduled { op, name, input, options, reuses, .. } => {
                let task = PendingTask {
                    name: name.clone(),
                    input: input.clone(),
                    options: *options,
                    scheduled_at: at,
                    failed: 0,
                    retry: None,
                    progress: None,
                };
                (*op, *reuses, Pending::Task(task))
            }
            JournalEvent::TimerStarted { op, name, due, reuses } => {
                (*op, *reuses, Pending::Timer { name: name.clone(), due: *due })
            }
            JournalEvent::EventAwaited { op, name, timeout_at, reuses } => {
                (*op, *reuses, Pending::Event { name: name.clone(), timeout_at: *timeout_at })
            }
            JournalEvent::EventSent { op, to, event, reuses } => {
                if reuses.is_none() {
                    self.outbox.put(*op, Message::Event { to: *to, event: event.clone() });
                }
                let (name, data) = (event.name.clone(), event.data.hash());
                (*op, *reuses, Pending::Send { name, data })
            }
            JournalEvent::ChildScheduled { op, child, request, reuses } => {
                if reuses.is_none() {
                    let request = request.clone();
                    self.outbox.put(*op, Message::Start { op: *op, child: *child, request });
                }
                let child = PendingChild {
                    run: *child,
                    workflow: request.workflow.clone(),
                    input: request.input.hash(),
                    on_parent_end: request.on_parent_end,
                };
                (*op, *reuses, Pending::Child(child))
            }
            _ => return Err(self.corrupt("it registers no operation")),
        };
        if op != self.record.next_op {
            return Err(self.corrupt("operations are numbered in order"));
        }
        self.record.next_op = OpId(op.0 + 1);
        if let Some(earlier) = reuses {
            match self.reuse.take(&operation.identity(), earlier) {
                Some(result) => self.answers.push_back((op, result)),
                None => return Err(self.corrupt("it reuses a result that is not there")),
            }
        }
        self.operations.add(op, operation, reuses.is_some());
        Ok(())
    }

    fn given_up(&mut self, op: OpId) {
        let dependent = self.operations.dependents().into_iter().find(|(child, _)| *child == op);
        if let Some((op, child)) = dependent {
            self.stop_child(op, child, "its parent does not wait for it any more");
        }
        self.operations.remove(op);
        self.answers.retain(|(answered, _)| *answered != op);
        self.waiting.retain(|_, completion| {
            !matches!(completion, Completion::Operation { op: waiting, .. } if *waiting == op)
        });
    }

    fn stop_child(&mut self, op: OpId, child: RunId, reason: &str) {
        self.outbox.put(op, Message::Cancel { child, reason: reason.into() });
    }

    fn completed(&mut self, op: OpId, result: OpResult, deferred: bool) -> Result<(), Refusal> {
        self.operations.execution_ended(op);
        let Some(pending) = self.operations.remove(op) else {
            return Err(self.corrupt("it completes what is not pending"));
        };
        let fits = match (&pending, &result) {
            (Pending::Timer { .. }, OpResult::Fired) => true,
            (Pending::Event { .. }, OpResult::TimedOut) => true,
            (Pending::Timer { .. }, _) | (_, OpResult::Fired | OpResult::TimedOut) => false,
            _ => true,
        };
        if !fits {
            return Err(self.corrupt("the operation cannot end like this"));
        }
        if self.answers.front().is_some_and(|(answered, _)| *answered == op) {
            self.answers.pop_front();
        } else {
            self.answers.retain(|(answered, _)| *answered != op);
        }
        if self.reuse.is_enabled() {
            self.reuse.ended(op, pending.identity(), &result);
        }
        if deferred {
            self.waiting.insert(self.record.length, Completion::Operation { op, result });
        }
        Ok(())
    }

    /// The end of a child that nobody waits for any more means nothing.
    fn child_ended(&mut self, op: OpId, result: &OpResult) -> Result<(), Refusal> {
        self.outbox.answered(op);
        match self.operations.get(op) {
            Some(Pending::Child(_)) => self.completed(op, result.clone(), true),
            _ => Ok(()),
        }
    }

    fn delivered_later(&mut self, at: Deferred, op: Option<OpId>) -> Result<(), Refusal> {
        let Some(op) = op else {
            return match self.waiting.remove(&at.seq) {
                Some(_) => Ok(()),
                None => Err(self.corrupt("it delivers what does not wait")),
            };
        };
        let data = match self.operations.get(op) {
            Some(Pending::Event { name, .. }) => self.mailbox.take(name, at),
            _ => None,
        };
        match data {
            Some(data) => self.completed(op, OpResult::Value(data), false),
            None => Err(self.corrupt("it delivers an event that does not wait")),
        }
    }

    fn retry_requested(&mut self, outcomes: &[SetOutcome], at: Timestamp) -> Result<(), Refusal> {
        if !matches!(self.record.state, RunState::Failed { .. }) {
            return Err(self.corrupt("a run that has not failed is tried again"));
        }
        for SetOutcome { op, output } in outcomes {
            if !self.reuse.set(*op, OpResult::Value(output.clone())) {
                return Err(self.corrupt("it sets the outcome of what has not failed"));
            }
        }
        self.retry = Some((at, None));
        self.record.cancel = None;
        self.record.keeps_results = true;
        self.record.limited_from = at;
        self.record.state = RunState::Queued { reason: QueueReason::Retry };
        Ok(())
    }

    fn attempt_failed(&mut self, failure: &Failure, retry_at: Timestamp) {
        self.drop_operations("the attempt of its parent failed");
        self.retry = Some((retry_at, Some(failure.clone())));
    }

    fn end(&mut self, state: RunState) {
        self.drop_operations("its parent ended");
        self.mailbox = Mailbox::default();
        self.waiting.clear();
        self.retry = None;
        self.paused = None;
        if let Some(parent) = self.record.origin.parent {
            let result = match &state {
                RunState::Completed { output } => OpResult::Value(output.clone()),
                RunState::Failed { failure } => OpResult::Failed(failure.clone()),
                _ => OpResult::Cancelled,
            };
            self.outbox.put(OpId(0), Message::End { parent, result });
        }
        // A failed run may be tried again by hand.
        if !matches!(state, RunState::Failed { .. }) {
            self.reuse = Reuse::default();
        }
        self.record.state = state;
    }

    fn drop_operations(&mut self, why: &str) {
        for (op, child) in self.operations.dependents() {
            self.stop_child(op, child, why);
        }
        self.operations.clear();
        self.answers.clear();
        self.waiting.retain(|_, completion| !matches!(completion, Completion::Operation { .. }));
        self.reuse.attempt_ended();
    }

    /// What a journal that begins anew takes along, as of now.
    pub(super) fn continued(&self, input: Payload) -> JournalEvent {
        let mut outbox = self.outbox.clone();
        for (op, child) in self.operations.dependents() {
            let reason = "its parent began anew".into();
            outbox.put(op, Message::Cancel { child, reason });
        }
        JournalEvent::RunContinued {
            origin: Arc::clone(&self.record.origin),
            input,
            generation: self.generation + 1,
            next_op: self.record.next_op,
            events: self.mailbox.all(),
            messages: outbox.all(),
            cancel: self.record.cancel.clone(),
        }
    }
}

fn may_follow_the_end(state: &RunState, event: &JournalEvent) -> bool {
    match event {
        JournalEvent::MessageTaken { .. } => true,
        JournalEvent::RetryRequested { .. } => matches!(state, RunState::Failed { .. }),
        _ => false,
    }
}
