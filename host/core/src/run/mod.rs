//! The run state machine: one door in, one door out.
//!
//! A [`Run`] is rebuilt from its journal by [`Run::fold`] and changed only by [`Run::handle`], which
//! returns the [`Commit`](crate::Commit) that makes the change durable. Both go through the same
//! `apply`, so what was decided live and what a replay rebuilds are the same by construction.
//!
//! The host drives it: [`Run::next`] says what is due, the host activates the guest, hands the
//! activation to `handle`, makes the commit durable, and only then asks [`Run::start_tasks`] for
//! effects.

mod apply;
mod bounds;
mod decide;
mod external;
mod fork;
mod identity;
mod image;
mod mailbox;
mod operations;
mod outbox;
mod reuse;

pub use decide::{Finished, Input};
pub use external::{External, external};
pub use fork::{Draft, Edit, EditTarget, ForkRefusal, ForkRequest, Forked};
pub use image::RunImage;
pub use operations::TaskCall;

use crate::activation::{CommandIdentity, CommandKind};
use crate::event::JournalEvent;
use crate::record::{QueueReason, RetryCause};
use crate::replay::Steps;
use crate::{
    Completion, Deferred, Delivery, Entry, Failure, Message, MessageId, OpId, OpResult, Payload,
    Record, Refusal, RunState, Timestamp,
};
use mailbox::Mailbox;
use operations::Operations;
use outbox::Outbox;
use reuse::Reuse;
use std::collections::{BTreeMap, VecDeque};

/// The failure code of a run that took longer than its `timeout_ms`.
pub const RUN_TIMEOUT: &str = "run.timeout";

/// A run with everything that the next decision needs. Its size grows with the pending operations,
/// not with the history (but for runs that may be retried as a whole: they keep the results that a
/// next attempt can reuse).
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    record: Record,
    input: Payload,
    first_due: Timestamp,
    /// Whether that is later than the first entry.
    delayed: bool,
    last_at: Timestamp,
    /// How often the run has begun anew.
    generation: u32,
    operations: Operations,
    /// Results that are known before the guest asked, by reuse from an earlier attempt.
    answers: VecDeque<(OpId, OpResult)>,
    /// What has not reached the guest, by the position of its entry.
    waiting: BTreeMap<u64, Completion>,
    mailbox: Mailbox,
    outbox: Outbox,
    /// When the next attempt is due, and the failure after which it is made; none when somebody
    /// asked for it.
    retry: Option<(Timestamp, Option<Failure>)>,
    /// Why it stands still, when it does.
    paused: Option<String>,
    reuse: Reuse,
}

/// What is to be done next for a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Activate the guest with this.
    Deliver(Delivery),
    /// Give this to [`Run::handle`]; the guest is not needed.
    Decide(Input),
    /// Nothing before this time, unless a task ends.
    Wait(Option<Timestamp>),
    /// The run has ended or is stuck.
    Ended,
}

impl Run {
    /// Rebuilds a run from its journal, which begins at `position` (0 unless the run has begun
    /// anew).
    ///
    /// # Errors
    /// [`Refusal::Corrupt`] when the journal cannot have come about.
    pub fn fold(entries: &[Entry], position: u64) -> Result<Self, Refusal> {
        let retried = |entry: &Entry| matches!(entry.event, JournalEvent::RetryRequested { .. });
        let keeps_results = entries.iter().any(retried);
        let mut run = Self::begin(entries.first(), position, keeps_results)?;
        for entry in &entries[1..] {
            run.absorb(entry)?;
        }
        Ok(run)
    }

    /// One step of a fold that reads a journal piece by piece: the first entry makes the run, the
    /// others are taken in. The record says where the journal begins; it may be older than the
    /// journal's end.
    ///
    /// # Errors
    /// [`Refusal::Corrupt`] when the entry cannot stand there.
    pub fn fold_on<'r>(
        run: &'r mut Option<Self>,
        entry: &Entry,
        record: &Record,
    ) -> Result<&'r mut Self, Refusal> {
        match run {
            Some(run) => {
                run.absorb(entry)?;
                Ok(run)
            }
            none => {
                // Somebody may be about to have a failed run tried again.
                let failed = matches!(record.state, RunState::Failed { .. });
                let keeps_results = record.keeps_results || failed;
                Ok(none.insert(Self::begin(Some(entry), record.first, keeps_results)?))
            }
        }
    }

    /// A run as the first entry of its journal leaves it. The entry stands at `position`;
    /// `keeps_results` says that the results of completed operations will be wanted, because the
    /// run was tried again by hand (see [`Record::keeps_results`]).
    fn begin(first: Option<&Entry>, position: u64, keeps_results: bool) -> Result<Self, Refusal> {
        let mut run = apply::first(first, position, keeps_results)?;
        run.settle();
        Ok(run)
    }

    /// Takes in an entry that is durable already: the next one of a fold, or one that came from
    /// outside while the run was in memory.
    ///
    /// # Errors
    /// [`Refusal::Corrupt`] when it cannot stand there.
    pub fn absorb(&mut self, entry: &Entry) -> Result<(), Refusal> {
        self.apply(entry)?;
        self.settle();
        Ok(())
    }

    /// Takes over from the stored record what the journal does not tell: the number of log lines,
    /// what the run shows of itself, and that it is stuck. The journal may have grown since the record was read.
    ///
    /// # Errors
    /// [`Refusal::Corrupt`] when record and journal do not belong together.
    pub fn adopt(&mut self, stored: &Record) -> Result<(), Refusal> {
        if stored.length > self.record.length || stored.origin.id != self.record.origin.id {
            return Err(Refusal::Corrupt {
                seq: self.record.length,
                problem: format!("the record tells of {} entries", stored.length),
            });
        }
        self.record.log_lines = stored.log_lines;
        self.record.published.clone_from(&stored.published);
        if matches!(stored.state, RunState::Stuck { .. }) && stored.length == self.record.length {
            self.record = stored.clone();
        }
        Ok(())
    }

    /// When the last entry of the journal was decided.
    #[must_use]
    pub fn last_at(&self) -> Timestamp {
        self.last_at
    }

    /// The summary as of the last change.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// The input of the run.
    #[must_use]
    pub fn input(&self) -> &Payload {
        &self.input
    }

    /// Steps of what the journal will have from here on, for a replay that goes on.
    #[must_use]
    pub fn steps(&self) -> Steps {
        let events = self.mailbox.by_place().collect();
        Steps::going_on(&self.record, self.waiting.clone(), events)
    }

    /// Whether this operation awaits its completion.
    #[must_use]
    pub fn is_pending(&self, op: OpId) -> bool {
        self.operations.get(op).is_some()
    }

    /// The attempt of a task that is due or under way; none when the operation is no task that awaits its
    /// completion.
    #[must_use]
    pub fn task_attempt(&self, op: OpId) -> Option<u32> {
        match self.operations.get(op) {
            Some(operations::Pending::Task(task)) => Some(task.failed + 1),
            _ => None,
        }
    }

    /// What is to be done now. Task retries that are due become startable as a side effect.
    pub fn next(&mut self, now: Timestamp) -> Next {
        if self.record.is_terminal() || matches!(self.record.state, RunState::Stuck { .. }) {
            return Next::Ended;
        }
        let passed = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        let cancel_deadline = self.record.cancel.as_ref().map(|cancel| cancel.deadline);
        if passed(cancel_deadline) || passed(self.record.timeout_at()) {
            return Next::Decide(Input::Expired);
        }
        if self.paused.is_some() {
            return Next::Wait(self.wake_at(None));
        }
        let at = now.max(self.last_at);
        if self.attempt_due().is_some() && self.record.cancel.is_some() {
            // Between two attempts nobody is there to be told.
            return Next::Decide(Input::Expired);
        }
        if let Some(start_at) = self.attempt_due() {
            if start_at > now {
                return Next::Wait(self.record.wake_at);
            }
            let attempt = self.record.attempt + 1;
            let first_op = OpId(self.record.next_op.0);
            let completion = Completion::Start { attempt, first_op };
            return Next::Deliver(Delivery { at, completion, deferred: None });
        }
        if let Some((seq, completion)) = self.waiting.first_key_value() {
            let deferred = Some(Deferred { seq: *seq, nth: 0 });
            return Next::Deliver(Delivery { at, completion: completion.clone(), deferred });
        }
        if let Some((op, result)) = self.answers.front().cloned() {
            let completion = Completion::Operation { op, result };
            return Next::Deliver(Delivery { at, completion, deferred: None });
        }
        if let Some((op, deferred, data)) = self.awaited_event() {
            let completion = Completion::Operation { op, result: OpResult::Value(data) };
            return Next::Deliver(Delivery { at, completion, deferred: Some(deferred) });
        }
        if let Some((op, result)) = self.operations.due(now) {
            let completion = Completion::Operation { op, result };
            return Next::Deliver(Delivery { at, completion, deferred: None });
        }
        self.operations.release_retries(now);
        Next::Wait(self.wake_at(self.operations.next_release()))
    }

    /// The oldest event that is waited for, and the wait that gets it: the one that began first.
    fn awaited_event(&self) -> Option<(OpId, Deferred, Payload)> {
        let found = |name: &str| {
            let mail = self.mailbox.first(name)?;
            Some((self.operations.wait_for(name, mail.received)?, mail))
        };
        let oldest = self.operations.awaited().filter_map(found).min_by_key(|(_, mail)| mail.at);
        oldest.map(|(op, mail)| (op, mail.at, mail.data.clone()))
    }

    /// When the next attempt of the run is due; none while one is under way.
    fn attempt_due(&self) -> Option<Timestamp> {
        match &self.retry {
            Some((at, _)) => Some(*at),
            None if self.record.attempt == 0 => Some(self.first_due),
            None => None,
        }
    }

    /// Takes task attempts to execute, at most `most`. Call it only when the commit that led here
    /// is durable.
    pub fn start_tasks(&mut self, now: Timestamp, most: usize) -> Vec<TaskCall> {
        if self.paused.is_some() {
            return Vec::new();
        }
        self.operations.start_tasks(self.record.origin.id, now, most)
    }

    /// Whether a task attempt could start now.
    #[must_use]
    pub fn has_startable_tasks(&self) -> bool {
        self.paused.is_none() && self.operations.has_startable()
    }

    /// Takes messages to send, at most `most`, in the order in which they are to be sent. Call it
    /// only when the commit that led here is durable.
    pub fn take_messages(&mut self, most: usize) -> Vec<(MessageId, Message)> {
        if matches!(self.record.state, RunState::Stuck { .. }) {
            return Vec::new();
        }
        self.outbox.take(most)
    }

    /// Notes that these messages may not have come through: they are to be sent again.
    pub fn lost_messages(&mut self, lost: impl IntoIterator<Item = MessageId>) {
        lost.into_iter().for_each(|id| self.outbox.lost(id));
    }

    /// Whether a message could be sent now.
    #[must_use]
    pub fn has_messages(&self) -> bool {
        self.outbox.has_unsent() && !matches!(self.record.state, RunState::Stuck { .. })
    }

    /// Tasks that failed in the last attempt of a failed run, the last one first: an operator may
    /// give them another outcome.
    #[must_use]
    pub fn failed_tasks(&self) -> Vec<(OpId, String)> {
        let task = |(op, identity): (OpId, &CommandIdentity)| {
            (identity.kind == CommandKind::Task).then(|| (op, identity.name.clone()))
        };
        let mut failed: Vec<_> = self.reuse.failed().filter_map(task).collect();
        failed.reverse();
        failed
    }

    /// Task executions that are to be stopped, because the guest gave them up or the run ended.
    pub fn stop_tasks(&mut self) -> Vec<OpId> {
        self.operations.take_stopped()
    }

    /// The pending operations, at most `most`.
    #[must_use]
    pub fn operations(&self, most: usize) -> Vec<crate::api::OperationView> {
        self.operations.views(most)
    }

    fn wake_at(&self, operations: Option<Timestamp>) -> Option<Timestamp> {
        let cancel = self.record.cancel.as_ref().map(|cancel| cancel.deadline);
        let attempt = self.attempt_due().filter(|_| self.paused.is_none());
        [attempt, operations, cancel, self.record.timeout_at()].into_iter().flatten().min()
    }

    /// Brings the record in line with everything else. The last step of every change.
    fn settle(&mut self) {
        self.record.pending = self.operations.len() as u64;
        let undelivered = self.waiting.len() + self.mailbox.len();
        self.record.undelivered = u32::try_from(undelivered).unwrap_or(u32::MAX);
        self.record.outbox = self.outbox.len() as u64;
        self.record.updated_at = self.last_at;
        if self.record.is_terminal() {
            self.record.wake_at = None;
            self.record.ready = self.record.outbox > 0;
            return;
        }
        self.record.state = self.derived_state();
        let stuck = matches!(self.record.state, RunState::Stuck { .. });
        let due = self.operations.next_due().filter(|_| self.paused.is_none());
        self.record.wake_at = if stuck { None } else { self.wake_at(due) };
        let works = matches!(self.record.state, RunState::Queued { .. } | RunState::Running);
        self.record.ready = works || (self.record.outbox > 0 && !stuck);
    }

    fn derived_state(&self) -> RunState {
        if let Some(reason) = &self.paused {
            return RunState::Paused { reason: reason.clone() };
        }
        if let Some((at, failure)) = &self.retry {
            let Some(failure) = failure.clone() else {
                return RunState::Queued { reason: QueueReason::Retry };
            };
            let next_attempt_at = *at;
            return RunState::AwaitingRetry { cause: RetryCause::Run, next_attempt_at, failure };
        }
        if self.record.attempt == 0 {
            if self.delayed {
                return RunState::Scheduled { at: self.first_due };
            }
            return RunState::Queued { reason: QueueReason::New };
        }
        match self.waiting.values().next() {
            Some(Completion::CancelRequested { .. } | Completion::Start { .. }) => {
                return RunState::Queued { reason: QueueReason::Resumption };
            }
            Some(Completion::Operation { .. }) => {
                return RunState::Queued { reason: QueueReason::Child };
            }
            None if !self.answers.is_empty() => {
                return RunState::Queued { reason: QueueReason::Retry };
            }
            None => {}
        }
        if self.awaited_event().is_some() {
            return RunState::Queued { reason: QueueReason::Event };
        }
        self.operations.state()
    }
}

#[cfg(test)]
mod tests;
