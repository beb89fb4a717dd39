//! Decisions: what a fact means for a run. Every transition that a host causes goes through
//! [`Run::handle`]; it checks first and changes nothing when it refuses.

use super::operations::Pending;
use super::{RUN_TIMEOUT, Run};
use crate::StuckCause;
use crate::event::{AttemptCount, Entry, JournalEvent};
use crate::record::ModuleRef;
use crate::transitions::{self, Trigger};
use crate::{
    Activation, Command, Commit, Completion, Deferred, Delivery, Failure, LogLine, MessageId,
    MessageKind, OpId, OpResult, Outcome, Payload, Refusal, Reply, RunState, TimerDue, Timestamp,
};

/// A hundred years in milliseconds, the longest sleep.
pub(super) const LONGEST_SLEEP_MS: u64 = 100 * 366 * 86_400_000;

/// A fact that a host brings.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The guest was activated.
    Activated {
        /// What it was told.
        delivery: Delivery,
        /// What it did.
        activation: Activation,
    },
    /// An attempt of a task failed, and [`Run::finish_attempt`] said that another will follow.
    AttemptFailed {
        /// The operation.
        op: OpId,
        /// Why.
        failure: Failure,
        /// When the next one is due.
        retry_at: Timestamp,
        /// What the attempt logged.
        logs: Vec<LogLine>,
        /// What its last heartbeat said.
        progress: Option<Payload>,
    },
    /// An operation ended while the run is paused: the guest is told when it goes on.
    Kept {
        /// What it will be told.
        delivery: Delivery,
        /// What a task logged.
        logs: Vec<LogLine>,
    },
    /// The other side has a message that the guest does not wait for.
    MessageTaken(MessageId),
    /// A time limit of the run passed.
    Expired,
    /// The run cannot go on.
    Stuck {
        /// What stopped it, and what to do.
        cause: StuckCause,
        /// What the guest could not be told. A task's result is kept for when the run goes on;
        /// anything else comes up again by itself.
        undelivered: Option<Delivery>,
    },
}

/// What the end of a task attempt, or the answer to a message, leads to.
#[derive(Debug, Clone, PartialEq)]
pub enum Finished {
    /// Tell the guest.
    Deliver(Delivery),
    /// The guest need not know now: give this to [`Run::handle`].
    Decide(Input),
    /// The guest gave the operation up in the meantime.
    Ignored,
}

impl Run {
    /// Decides what a fact means. The commit has no token yet; the host adds its own.
    ///
    /// # Errors
    /// When the run's state does not allow it or a limit is exceeded; nothing has changed then.
    pub fn handle(&mut self, input: Input, now: Timestamp) -> Result<Commit, Refusal> {
        let from = self.record.state.kind();
        let trigger = input.trigger();
        if !transitions::accepts(from, trigger) {
            return Err(Refusal::IllegalTransition { state: from, action: trigger.participle() });
        }
        let expected_length = self.record.length;
        let at = now.max(self.last_at);
        let mut entries = Vec::new();
        let mut logs = Vec::new();
        let mut published = None;
        let mut stuck = None;
        match input {
            Input::Activated { delivery, activation } => {
                self.check_limits(&delivery, &activation)?;
                self.activated(&delivery, &activation, &mut entries)?;
                logs = activation.logs;
                published = activation.published;
            }
            Input::Kept { delivery, logs: lines } => {
                if let Some(event) = self.kept(Some(&delivery))? {
                    self.push(at, event, &mut entries)?;
                }
                logs = lines;
            }
            Input::MessageTaken(id) => {
                self.push(at, JournalEvent::MessageTaken { id }, &mut entries)?;
            }
            Input::AttemptFailed { op, failure, retry_at, logs: lines, progress } => {
                let attempt = self.failed_attempts(op)? + 1;
                let event =
                    JournalEvent::TaskAttemptFailed { op, attempt, failure, retry_at, progress };
                self.push(at, event, &mut entries)?;
                logs = lines;
            }
            Input::Expired => self.push(at, self.expiry(), &mut entries)?,
            Input::Stuck { cause, undelivered } => {
                if let Some(event) = self.kept(undelivered.as_ref())? {
                    self.push(at, event, &mut entries)?;
                }
                stuck = Some(cause);
            }
        }
        self.settle();
        if let Some(cause) = stuck {
            self.record.state = RunState::Stuck { cause };
            self.record.ready = false;
            self.record.wake_at = None;
        }
        self.record.log_lines += logs.len() as u64;
        if published.is_some() {
            self.record.published = published;
        }
        debug_assert!(
            transitions::allows(from, trigger, self.record.state.kind()),
            "{from:?} --{trigger:?}--> {:?} is not in the table",
            self.record.state.kind()
        );
        let record = self.record.clone();
        let references = Vec::new();
        Ok(Commit { expected_length, token: None, entries, logs, record, references })
    }

    /// A commit that only writes the record again as the journal tells it, for a run that was asked
    /// to go on but is where it was.
    #[must_use]
    pub fn restate(&self) -> Commit {
        let record = self.record.clone();
        let (entries, logs, references) = (Vec::new(), Vec::new(), Vec::new());
        Commit { expected_length: record.length, token: None, entries, logs, record, references }
    }

    /// What the end of a task attempt means. Changes nothing.
    #[must_use]
    pub fn finish_attempt(
        &self,
        op: OpId,
        result: Result<Payload, Failure>,
        logs: Vec<LogLine>,
        progress: Option<Payload>,
        now: Timestamp,
    ) -> Finished {
        let Some(Pending::Task(task)) = self.operations.get(op) else { return Finished::Ignored };
        let at = now.max(self.last_at);
        let failure = match result {
            Ok(output) => return self.finished(op, OpResult::Value(output), logs, at),
            Err(failure) => failure,
        };
        let seed = self.record.origin.id.seed() ^ op.0.rotate_left(32);
        let delay = task.options.retry_policy().delay_after(task.failed + 1, seed);
        let retry_at = delay.filter(|_| failure.retryable).map(|delay| at.plus(delay));
        let in_time = |at: &Timestamp| task.deadline().is_none_or(|deadline| *at < deadline);
        match retry_at.filter(in_time) {
            Some(retry_at) => {
                Finished::Decide(Input::AttemptFailed { op, failure, retry_at, logs, progress })
            }
            None => self.finished(op, OpResult::Failed(failure), logs, at),
        }
    }

    /// What the answer to a message means. Changes nothing.
    #[must_use]
    pub fn answered(&self, id: MessageId, reply: Reply, now: Timestamp) -> Finished {
        // A run that got stuck meanwhile sends the message again when it goes on.
        if !self.outbox.contains(id) || matches!(self.record.state, RunState::Stuck { .. }) {
            return Finished::Ignored;
        }
        let result = match (id.kind, self.operations.get(id.op), reply) {
            (MessageKind::Event, Some(Pending::Send { .. }), Reply::Taken) => {
                OpResult::Value(Payload::null())
            }
            (MessageKind::Event, Some(Pending::Send { .. }), Reply::Refused(failure))
            | (MessageKind::Start, Some(Pending::Child(_)), Reply::Refused(failure)) => {
                OpResult::Failed(failure)
            }
            _ => return Finished::Decide(Input::MessageTaken(id)),
        };
        self.finished(id.op, result, Vec::new(), now.max(self.last_at))
    }

    fn finished(&self, op: OpId, result: OpResult, logs: Vec<LogLine>, at: Timestamp) -> Finished {
        let completion = Completion::Operation { op, result };
        let delivery = Delivery { at, completion, deferred: None };
        match self.paused {
            Some(_) => Finished::Decide(Input::Kept { delivery, logs }),
            None => Finished::Deliver(delivery),
        }
    }

    fn failed_attempts(&self, op: OpId) -> Result<u32, Refusal> {
        match self.operations.get(op) {
            Some(Pending::Task(task)) => Ok(task.failed),
            _ => Err(self.corrupt("an attempt of no pending task failed")),
        }
    }

    /// Appends a decided event. It cannot be refused unless the caller's facts contradict the run.
    fn push(
        &mut self,
        at: Timestamp,
        event: JournalEvent,
        entries: &mut Vec<Entry>,
    ) -> Result<(), Refusal> {
        let entry = Entry { at, event };
        self.apply(&entry)?;
        entries.push(entry);
        Ok(())
    }

    fn activated(
        &mut self,
        delivery: &Delivery,
        activation: &Activation,
        entries: &mut Vec<Entry>,
    ) -> Result<(), Refusal> {
        let at = delivery.at;
        self.push(at, self.delivered(delivery)?, entries)?;
        if activation.state.is_some() {
            let ModuleRef { digest: module, engine, .. } = self.record.origin.module();
            let event = JournalEvent::StateHashed { module, engine, hash: activation.state };
            self.push(at, event, entries)?;
        }
        for command in &activation.commands {
            let event = self.commanded(command, at);
            self.push(at, event, entries)?;
        }
        if let Some(outcome) = &activation.outcome {
            let event = self.ended(outcome, at);
            self.push(at, event, entries)?;
        }
        Ok(())
    }

    /// The journal's word for what was delivered.
    fn delivered(&self, delivery: &Delivery) -> Result<JournalEvent, Refusal> {
        if let Some(Deferred { seq, nth }) = delivery.deferred {
            let op = match &delivery.completion {
                Completion::Operation { op, .. } => self.operations.get(*op).map(|_| *op),
                _ => None,
            };
            return Ok(JournalEvent::Delivered { seq, nth, op });
        }
        match &delivery.completion {
            Completion::Start { attempt, .. } => {
                Ok(JournalEvent::AttemptStarted { attempt: *attempt })
            }
            Completion::CancelRequested { .. } => {
                Err(self.corrupt("a cancel request is always deferred"))
            }
            Completion::Operation { op, result } => self.operation_ended(*op, result),
        }
    }

    /// The entry that keeps a task's result which cannot be delivered now.
    fn kept(&self, undelivered: Option<&Delivery>) -> Result<Option<JournalEvent>, Refusal> {
        let Some(Delivery {
            completion: Completion::Operation { op, result }, deferred: None, ..
        }) = undelivered
        else {
            return Ok(None);
        };
        // A result that was reused from an earlier attempt of the run is in the journal already.
        if self.answers.iter().any(|(answered, _)| answered == op) {
            return Ok(None);
        }
        Ok(match self.operation_ended(*op, result)? {
            JournalEvent::TaskCompleted { op, output, attempts, .. } => {
                Some(JournalEvent::TaskCompleted { op, output, attempts, deferred: true })
            }
            JournalEvent::TaskFailed { op, attempts, failure, .. } => {
                Some(JournalEvent::TaskFailed { op, attempts, failure, deferred: true })
            }
            JournalEvent::OperationEnded { op, result, .. } => {
                Some(JournalEvent::OperationEnded { op, result, deferred: true })
            }
            _ => None,
        })
    }

    fn operation_ended(&self, op: OpId, result: &OpResult) -> Result<JournalEvent, Refusal> {
        let is_task = matches!(self.operations.get(op), Some(Pending::Task(_)));
        Ok(match result {
            OpResult::Value(_) | OpResult::Failed(_) if !is_task => {
                JournalEvent::OperationEnded { op, result: result.clone(), deferred: false }
            }
            OpResult::Value(output) => {
                let attempts = AttemptCount(self.failed_attempts(op)? + 1);
                JournalEvent::TaskCompleted {
                    op,
                    output: output.clone(),
                    attempts,
                    deferred: false,
                }
            }
            OpResult::Failed(failure) => {
                let attempts = AttemptCount(self.failed_attempts(op)? + 1);
                let failure = failure.clone();
                JournalEvent::TaskFailed { op, attempts, failure, deferred: false }
            }
            OpResult::Fired => JournalEvent::TimerFired { op },
            OpResult::TimedOut => JournalEvent::EventTimedOut { op },
            OpResult::Cancelled => {
                return Err(self.corrupt("no operation of this kind can end like this"));
            }
        })
    }

    fn commanded(&self, command: &Command, at: Timestamp) -> JournalEvent {
        match command {
            Command::StartTask { op, name, input, options } => {
                let identity = command.identity();
                JournalEvent::TaskScheduled {
                    op: *op,
                    name: name.clone(),
                    input: input.clone(),
                    input_hash: identity.input_hash.unwrap_or_else(|| input.hash()),
                    options: *options,
                    reuses: self.reuse.candidates(&identity).next(),
                }
            }
            Command::StartTimer { op, name, due } => {
                let due = match due {
                    TimerDue::After(ms) => at.plus((*ms).min(LONGEST_SLEEP_MS)),
                    TimerDue::At(instant) => (*instant).min(at.plus(LONGEST_SLEEP_MS)),
                };
                let reuses = self.reuse.candidates(&command.identity()).next();
                JournalEvent::TimerStarted { op: *op, name: name.clone(), due, reuses }
            }
            Command::AwaitEvent { op, name, timeout_ms } => JournalEvent::EventAwaited {
                op: *op,
                name: name.clone(),
                timeout_at: timeout_ms.map(|ms| at.plus(ms.min(LONGEST_SLEEP_MS))),
                reuses: self.reuse.candidates(&command.identity()).next(),
            },
            Command::SendEvent { op, to, event } => {
                let mut event = event.clone();
                let origin = &self.record.origin;
                let own = || format!("{}@{}/{op}", origin.id, origin.started_at.as_millis());
                event.reference.get_or_insert_with(own);
                let reuses = self.reuse.candidates(&command.identity()).next();
                JournalEvent::EventSent { op: *op, to: *to, event, reuses }
            }
            Command::StartChild { op, request } => JournalEvent::ChildScheduled {
                op: *op,
                child: self.record.origin.id.child(*op, self.record.origin.started_at),
                request: request.clone(),
                reuses: self.reuse.candidates(&command.identity()).next(),
            },
            Command::RecordValue { name, value } => {
                JournalEvent::ValueRecorded { name: name.clone(), value: value.clone() }
            }
            Command::CancelOperation { op } => JournalEvent::OperationCancelled { op: *op },
        }
    }

    fn ended(&self, outcome: &Outcome, at: Timestamp) -> JournalEvent {
        let reason = |given: &str| match &self.record.cancel {
            Some(cancel) => cancel.reason.clone(),
            None => given.to_owned(),
        };
        match outcome {
            Outcome::Completed(output) => JournalEvent::RunCompleted { output: output.clone() },
            Outcome::Cancelled => {
                JournalEvent::RunCancelled { reason: reason("the workflow ended itself") }
            }
            Outcome::Failed(failure) => self.failed(failure, at),
            Outcome::Continued(input) => self.continued(input.clone()),
        }
    }

    fn failed(&self, failure: &Failure, at: Timestamp) -> JournalEvent {
        let attempt = self.record.attempt;
        let policy = self.record.origin.options.retry;
        let seed = self.record.origin.id.seed();
        let wanted = failure.retryable && self.record.cancel.is_none();
        let delay = policy.filter(|_| wanted).and_then(|p| p.delay_after(attempt, seed));
        let failure = failure.clone();
        match delay {
            Some(delay) => {
                JournalEvent::AttemptFailed { attempt, failure, retry_at: at.plus(delay) }
            }
            None => JournalEvent::RunFailed { failure },
        }
    }

    /// How a run ends whose time is up. A cancel's grace counts before the run's own limit.
    fn expiry(&self) -> JournalEvent {
        match &self.record.cancel {
            Some(cancel) => JournalEvent::RunCancelled { reason: cancel.reason.clone() },
            None => {
                let limit = self.record.origin.options.timeout_ms.unwrap_or_default();
                let message = format!("the run took longer than its limit of {limit} ms");
                let failure = Failure::new(RUN_TIMEOUT, message).not_retryable();
                JournalEvent::RunTimedOut { failure }
            }
        }
    }
}

impl Input {
    fn trigger(&self) -> Trigger {
        match self {
            Self::Activated { .. } => Trigger::Activated,
            Self::AttemptFailed { .. } => Trigger::TaskAttemptFailed,
            Self::Kept { .. } => Trigger::Kept,
            Self::MessageTaken(_) => Trigger::MessageTaken,
            Self::Expired => Trigger::Expired,
            Self::Stuck { .. } => Trigger::Stuck,
        }
    }
}
