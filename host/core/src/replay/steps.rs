//! Cutting a journal into steps: a delivery, and what the guest asked for then. The parent compares a
//! replay with them.

use super::{Audited, RecordedCommand, Step};
use crate::activation::{CommandIdentity, Completion, Deferred, Delivery};
use crate::event::{Entry, JournalEvent};
use crate::{InputHash, OpId, OpResult, Payload, Record, Refusal};
use std::collections::BTreeMap;

/// Cuts a journal into steps. Feed entries in order; a step is complete when the next begins.
#[derive(Debug, Default)]
pub struct Steps {
    seq: u64,
    attempt: u32,
    next_op: u64,
    current: Option<Step>,
    waiting: BTreeMap<u64, Completion>,
    events: BTreeMap<Deferred, Payload>,
}

impl Steps {
    /// Steps of a journal that begins at this position.
    #[must_use]
    pub fn from(position: u64) -> Self {
        Self { seq: position, ..Self::default() }
    }

    /// Steps of a journal whose front part is not at hand: a record of it, and what of it is still to be
    /// delivered.
    pub(crate) fn going_on(
        record: &Record,
        waiting: BTreeMap<u64, Completion>,
        events: BTreeMap<Deferred, Payload>,
    ) -> Self {
        let (seq, attempt, next_op) = (record.length, record.attempt, record.next_op.0 - 1);
        Self { seq, attempt, next_op, current: None, waiting, events }
    }

    /// Takes the next entry and returns the step that it ends, if it ends one.
    ///
    /// # Errors
    /// When the entry cannot stand where it stands.
    pub fn push(&mut self, entry: &Entry) -> Result<Option<Step>, Refusal> {
        let seq = self.seq;
        self.seq += 1;
        let completion = match &entry.event {
            JournalEvent::AttemptStarted { attempt } => {
                self.attempt = *attempt;
                Completion::Start { attempt: *attempt, first_op: OpId(self.next_op + 1) }
            }
            JournalEvent::TaskCompleted { op, output, deferred, .. } => {
                let completion = operation(*op, OpResult::Value(output.clone()));
                if *deferred {
                    return Ok(self.wait(seq, completion));
                }
                completion
            }
            JournalEvent::TaskFailed { op, failure, deferred, .. } => {
                let completion = operation(*op, OpResult::Failed(failure.clone()));
                if *deferred {
                    return Ok(self.wait(seq, completion));
                }
                completion
            }
            JournalEvent::TimerFired { op } => operation(*op, OpResult::Fired),
            JournalEvent::EventTimedOut { op } => operation(*op, OpResult::TimedOut),
            JournalEvent::OperationEnded { op, result, deferred } => {
                let completion = operation(*op, result.clone());
                if *deferred {
                    return Ok(self.wait(seq, completion));
                }
                completion
            }
            JournalEvent::ChildEnded { op, result } => {
                return Ok(self.wait(seq, operation(*op, result.clone())));
            }
            JournalEvent::EventReceived { event } => {
                self.events.insert(Deferred { seq, nth: 0 }, event.data.clone());
                return Ok(None);
            }
            JournalEvent::RunContinued { .. } => return Ok(self.begin_anew(seq, &entry.event)),
            JournalEvent::StateHashed { module, engine, hash } => {
                if let (Some(step), Some(hash)) = (&mut self.current, *hash) {
                    step.audited = Some(Audited { seq, module: *module, engine: *engine, hash });
                }
                return Ok(None);
            }
            JournalEvent::CancelRequested { reason, .. } => {
                return Ok(self.wait(seq, Completion::CancelRequested { reason: reason.clone() }));
            }
            JournalEvent::Delivered { seq: of, nth, op } => {
                let of = Deferred { seq: *of, nth: *nth };
                let completion = match op {
                    Some(op) => {
                        self.events.remove(&of).map(|it| operation(*op, OpResult::Value(it)))
                    }
                    None => self.waiting.remove(&of.seq),
                };
                let completion = completion.ok_or_else(|| Refusal::Corrupt {
                    seq,
                    problem: format!("it delivers entry {}, which does not wait", of.seq),
                })?;
                return Ok(self.begin(seq, entry, completion, Some(of)));
            }
            other => {
                if let Some(op) = other.registers() {
                    self.next_op = op.0;
                }
                return match recorded(seq, other) {
                    Some(command) => self.record(seq, command).map(|()| None),
                    None => Ok(None),
                };
            }
        };
        Ok(self.begin(seq, entry, completion, None))
    }

    /// The last step so far, when the journal ends here for now. What follows must begin with
    /// another delivery: a commit holds whole steps.
    pub fn take_last(&mut self) -> Option<Step> {
        self.current.take()
    }

    /// The last step of what was before ends with the wish to begin anew.
    fn begin_anew(&mut self, seq: u64, event: &JournalEvent) -> Option<Step> {
        let JournalEvent::RunContinued { next_op, events, cancel, .. } = event else {
            return None;
        };
        let mut last = self.current.take();
        if let Some(step) = &mut last {
            step.recorded.extend(recorded(seq, event));
        }
        *self = Self { seq: self.seq, next_op: next_op.0 - 1, ..Self::default() };
        let events = events.iter().zip(0..).map(|(event, nth)| (Deferred { seq, nth }, event));
        self.events = events.map(|(at, event)| (at, event.data.clone())).collect();
        if let Some(cancel) = cancel {
            let reason = cancel.reason.clone();
            self.waiting.insert(seq, Completion::CancelRequested { reason });
        }
        last
    }

    fn wait(&mut self, seq: u64, completion: Completion) -> Option<Step> {
        self.waiting.insert(seq, completion);
        None
    }

    fn begin(
        &mut self,
        seq: u64,
        entry: &Entry,
        completion: Completion,
        deferred: Option<Deferred>,
    ) -> Option<Step> {
        let delivery = Delivery { at: entry.at, completion, deferred };
        let step =
            Step { seq, attempt: self.attempt, delivery, recorded: Vec::new(), audited: None };
        self.current.replace(step)
    }

    fn record(&mut self, seq: u64, command: RecordedCommand) -> Result<(), Refusal> {
        match &mut self.current {
            Some(step) => step.recorded.push(command),
            None => {
                let problem = "a command stands before the first attempt".into();
                return Err(Refusal::Corrupt { seq, problem });
            }
        }
        Ok(())
    }
}

/// Where the step ends that index `at` of a journal is in the middle of: there, and not before, the
/// journal can be cut. `at` itself when it is between two steps.
#[must_use]
pub fn step_end(entries: &[Entry], at: usize) -> usize {
    let is_command = |entry: &&Entry| {
        // A guest that ends as cancelled leaves no other trace.
        let other = matches!(
            entry.event,
            JournalEvent::RunCancelled { .. } | JournalEvent::StateHashed { .. }
        );
        other || recorded(0, &entry.event).is_some()
    };
    let at = at.min(entries.len());
    at + entries[at..].iter().take_while(is_command).count()
}

/// Where the last step in front of index `at` begins; 0 when there is none.
#[must_use]
pub fn step_begin(entries: &[Entry], at: usize) -> usize {
    entries[..at.min(entries.len())]
        .iter()
        .rposition(|entry| entry.event.begins_step())
        .unwrap_or(0)
}

fn operation(op: OpId, result: OpResult) -> Completion {
    Completion::Operation { op, result }
}

/// The command that an entry records; none when it is not one.
fn recorded(seq: u64, event: &JournalEvent) -> Option<RecordedCommand> {
    use crate::activation::CommandKind::{
        Cancel, Child, Complete, Continue, Event, Fail, Send, Task, Timer, Value,
    };
    let named =
        |kind, name: &str, input_hash| CommandIdentity { kind, name: name.to_owned(), input_hash };
    let (identity, input) = match event {
        JournalEvent::TaskScheduled { name, input, input_hash, .. } => {
            (named(Task, name, Some(*input_hash)), Some(input.clone()))
        }
        JournalEvent::TimerStarted { name, .. } => (named(Timer, name, None), None),
        JournalEvent::EventAwaited { name, .. } => (named(Event, name, None), None),
        JournalEvent::EventSent { event, .. } => {
            (named(Send, &event.name, Some(event.data.hash())), Some(event.data.clone()))
        }
        JournalEvent::ChildScheduled { request, .. } => (
            named(Child, &request.workflow, Some(request.input.hash())),
            Some(request.input.clone()),
        ),
        JournalEvent::ValueRecorded { name, value } => {
            (named(Value, name, None), Some(value.clone()))
        }
        JournalEvent::RunContinued { input, .. } => {
            (named(Continue, "", Some(input.hash())), Some(input.clone()))
        }
        JournalEvent::OperationCancelled { op } => (named(Cancel, &op.to_string(), None), None),
        JournalEvent::RunCompleted { output } => {
            (named(Complete, "", Some(output.hash())), Some(output.clone()))
        }
        JournalEvent::RunFailed { failure } | JournalEvent::AttemptFailed { failure, .. } => {
            (named(Fail, "", Some(InputHash::of(failure.code.as_bytes()))), None)
        }
        _ => return None,
    };
    let child = match event {
        JournalEvent::ChildScheduled { op, child, .. } => Some((*op, *child)),
        _ => None,
    };
    Some(RecordedCommand { seq, identity, input, child })
}
