//! Matching a replay against the journal. While a run is rebuilt, every activation must ask for
//! exactly what the journal recorded; the first difference is a [`Divergence`], which stops the run
//! and changes nothing.

use crate::activation::{
    Activation, Command, CommandIdentity, CommandKind, Completion, Deferred, Delivery, Outcome,
};
use crate::difference::{shortened, unequal};
use crate::event::{Entry, JournalEvent};
use crate::{InputHash, OpId, OpResult, Payload, Refusal, RunId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// One recorded command of an activation, with its position.
#[derive(Debug, Clone, PartialEq)]
pub struct RecordedCommand {
    /// Its position in the journal.
    pub seq: u64,
    /// What a replay must ask for.
    pub identity: CommandIdentity,
    /// The recorded input, for the report.
    pub input: Option<Payload>,
    /// The child run that was started.
    pub child: Option<(OpId, RunId)>,
}

/// One activation as the journal has it: what was delivered and what the guest asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The position of the delivery.
    pub seq: u64,
    /// The attempt of the run that it belongs to.
    pub attempt: u32,
    /// What to deliver.
    pub delivery: Delivery,
    /// What the guest asked for then, in order; the report of an outcome comes last.
    pub recorded: Vec<RecordedCommand>,
}

/// The first difference between a replay and the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Divergence {
    /// The journal position of the recorded command, or of the delivery when none was recorded.
    pub seq: u64,
    /// What the journal has; none when the activation recorded fewer commands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Asked>,
    /// What the replay asked for; none when it asked for less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// The fields that differ.
    pub differences: Vec<Difference>,
}

/// A command as a report shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Asked {
    /// Kind, name and input hash.
    pub identity: CommandIdentity,
    /// The input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<serde_json::Value>,
}

/// One field that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// `kind`, `name`, or a path into the input such as `input.user.id`.
    pub field: String,
    /// The journal's side.
    pub expected: String,
    /// The replay's side.
    pub asked: String,
}

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
        let step = Step { seq, attempt: self.attempt, delivery, recorded: Vec::new() };
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
        let cancelled = matches!(entry.event, JournalEvent::RunCancelled { .. });
        cancelled || recorded(0, &entry.event).is_some()
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

impl Step {
    /// The values that the guest recorded then, which a replay gives back to it.
    #[must_use]
    pub fn values(&self) -> Vec<(String, Payload)> {
        let value = |command: &RecordedCommand| match (&command.identity, &command.input) {
            (CommandIdentity { kind: CommandKind::Value, name, .. }, Some(value)) => {
                Some((name.clone(), value.clone()))
            }
            _ => None,
        };
        self.recorded.iter().filter_map(value).collect()
    }

    /// The children that were started then. A fork has some of them from another run, which named
    /// them.
    #[must_use]
    pub fn children(&self) -> BTreeMap<OpId, RunId> {
        self.recorded.iter().filter_map(|command| command.child).collect()
    }

    /// Compares what an activation asked for with what the journal has.
    ///
    /// # Errors
    /// The first difference.
    pub fn check(&self, activation: &Activation) -> Result<(), Box<Divergence>> {
        let asked = activation
            .commands
            .iter()
            .map(asked_command)
            .chain(activation.outcome.iter().filter_map(asked_outcome));
        let mut recorded = self.recorded.iter();
        for asked in asked {
            match recorded.next() {
                Some(expected) if expected.identity == asked.identity => {}
                expected => return Err(self.diverge(expected, Some(asked))),
            }
        }
        match recorded.next() {
            Some(missing) => Err(self.diverge(Some(missing), None)),
            None => Ok(()),
        }
    }

    fn diverge(&self, expected: Option<&RecordedCommand>, asked: Option<Asked>) -> Box<Divergence> {
        let expected_at = expected.map(|command| command.seq);
        let expected = expected.map(|command| Asked {
            identity: command.identity.clone(),
            input: command.input.as_ref().and_then(|input| input.read().ok()),
        });
        let differences = differences(expected.as_ref(), asked.as_ref());
        let seq = expected_at.unwrap_or(self.seq + self.recorded.len() as u64);
        Box::new(Divergence { seq, expected, asked, differences })
    }
}

fn asked_command(command: &Command) -> Asked {
    let input = match command {
        Command::StartTask { input, .. } => input.read().ok(),
        Command::SendEvent { event, .. } => event.data.read().ok(),
        Command::StartChild { request, .. } => request.input.read().ok(),
        Command::RecordValue { value, .. } => value.read().ok(),
        Command::StartTimer { .. }
        | Command::AwaitEvent { .. }
        | Command::CancelOperation { .. } => None,
    };
    Asked { identity: command.identity(), input }
}

/// A guest that ends as cancelled is recorded by the bookkeeping entry `RunCancelled`, which also
/// the host writes; so that outcome is no part of the comparison.
fn asked_outcome(outcome: &Outcome) -> Option<Asked> {
    let input = match outcome {
        Outcome::Completed(output) | Outcome::Continued(output) => output.read().ok(),
        Outcome::Failed(_) => None,
        Outcome::Cancelled => return None,
    };
    Some(Asked { identity: outcome.identity(), input })
}

fn differences(expected: Option<&Asked>, asked: Option<&Asked>) -> Vec<Difference> {
    let (Some(expected), Some(asked)) = (expected, asked) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut compare = |field: &str, left: &str, right: &str| {
        if left != right {
            let (field, expected, asked) = (field.into(), left.into(), right.into());
            found.push(Difference { field, expected, asked });
        }
    };
    compare("kind", expected.identity.kind.as_str(), asked.identity.kind.as_str());
    compare("name", &expected.identity.name, &asked.identity.name);
    if let (Some(left), Some(right)) = (&expected.input, &asked.input) {
        let fields = unequal("input", left, right).into_iter();
        found.extend(fields.map(|it| Difference {
            field: it.path,
            expected: it.left,
            asked: it.right,
        }));
    }
    found
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.identity.fmt(f)?;
        if let Some(input) = &self.input {
            write!(f, " {}", shortened(&input.to_string()))?;
        }
        Ok(())
    }
}

impl Divergence {
    /// What divergences of one cause have in common: both sides without their inputs, or the fields
    /// that differ.
    #[must_use]
    pub fn summary(&self) -> String {
        let side = |asked: &Option<Asked>| {
            asked.as_ref().map_or("nothing".into(), |asked| asked.identity.to_string())
        };
        let (expected, asked) = (side(&self.expected), side(&self.asked));
        if expected != asked {
            return format!("the journal has {expected}, the module asks for {asked}");
        }
        let fields: Vec<_> = self.differences.iter().map(|it| it.field.as_str()).collect();
        format!("{expected}: {} differs", fields.join(", "))
    }
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side =
            |asked: &Option<Asked>| asked.as_ref().map_or("nothing".into(), Asked::to_string);
        writeln!(f, "at journal position {}", self.seq)?;
        writeln!(f, "  the journal has   {}", side(&self.expected))?;
        write!(f, "  the code asks for {}", side(&self.asked))?;
        for d in &self.differences {
            write!(f, "\n    {}: {} → {}", d.field, d.expected, d.asked)?;
        }
        Ok(())
    }
}
