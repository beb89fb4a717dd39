//! What goes into a guest and what comes out of it: the vocabulary between the engine, which runs
//! guests, and the state machine, which decides what their commands mean.

use crate::{
    ChildRequest, Digest, Failure, InputHash, LogLine, OpId, Payload, RunId, TaskOptions,
    Timestamp, UserEvent,
};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum OpResult {
    /// It succeeded with this value.
    Value(Payload),
    /// Its time came.
    Fired,
    /// It failed for good.
    Failed(Failure),
    /// Its time limit passed first.
    TimedOut,
    /// An operator cancelled it.
    Cancelled,
}

/// The one thing an activation tells a guest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Completion {
    /// An attempt of the run begins, in a fresh instance.
    Start {
        /// From 1.
        attempt: u32,
        /// The id of the first operation that this attempt will register.
        first_op: OpId,
    },
    /// An operation ended.
    Operation {
        /// Which one.
        op: OpId,
        /// How.
        result: OpResult,
    },
    /// Somebody wants the run to stop.
    CancelRequested {
        /// Their words.
        reason: String,
    },
}

/// A completion with the time that the guest sees while it handles it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// `context.now` during the activation.
    pub at: Timestamp,
    /// What is delivered.
    pub completion: Completion,
    /// Which earlier entry is delivered now; none when the completion enters the journal with this
    /// activation.
    pub deferred: Option<Deferred>,
}

/// Something in the journal that has not reached the guest when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Deferred {
    /// The position of the entry.
    pub seq: u64,
    /// Which of the events that the entry carries over; 0 for any other entry.
    pub nth: u32,
}

/// When a timer is due, as the guest said it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimerDue {
    /// So many milliseconds after the time of the activation.
    After(u64),
    /// At an instant.
    At(Timestamp),
}

/// What a guest asks for during an activation.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Execute a task.
    StartTask {
        /// The id given to the guest.
        op: OpId,
        /// The task's name.
        name: String,
        /// Its input.
        input: Payload,
        /// As the guest said them, completed by the manifest.
        options: TaskOptions,
    },
    /// Sleep.
    StartTimer {
        /// The id given to the guest.
        op: OpId,
        /// May be empty.
        name: String,
        /// When it ends.
        due: TimerDue,
    },
    /// Wait for an event.
    AwaitEvent {
        /// The id given to the guest.
        op: OpId,
        /// The event's name.
        name: String,
        /// Milliseconds until the wait ends without one.
        timeout_ms: Option<u64>,
    },
    /// Send an event to a run.
    SendEvent {
        /// The id given to the guest.
        op: OpId,
        /// The receiver.
        to: RunId,
        /// Its name and data. The reference, when the guest gave none, is the run's id and the
        /// operation.
        event: Box<UserEvent>,
    },
    /// Start a child run.
    StartChild {
        /// The id given to the guest.
        op: OpId,
        /// What to start.
        request: Box<ChildRequest>,
    },
    /// Remember a value that the guest computed.
    RecordValue {
        /// The author's name for it.
        name: String,
        /// The value.
        value: Payload,
    },
    /// Give up an operation.
    CancelOperation {
        /// Which one.
        op: OpId,
    },
}

/// How a run ended, as the guest reported it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "data", rename_all = "snake_case")]
pub enum Outcome {
    /// With this output.
    Completed(Payload),
    /// With this failure.
    Failed(Failure),
    /// Because it was asked to stop.
    Cancelled,
    /// It begins anew with this input and an empty journal.
    Continued(Payload),
}

/// Everything that one activation did.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Activation {
    /// In the order of the calls.
    pub commands: Vec<Command>,
    /// Present when the run (or this attempt of it) ended.
    pub outcome: Option<Outcome>,
    /// Log lines in order.
    pub logs: Vec<LogLine>,
    /// What the run shows of itself from now on.
    pub published: Option<Payload>,
    /// The hash of what it left of the guest, where that is to be recorded.
    pub state: Option<Digest>,
}

impl Activation {
    /// About how many bytes of values it adds to a commit.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let command = |command: &Command| match command {
            Command::StartTask { input, .. } => input.len(),
            Command::SendEvent { event, .. } => event.data.len(),
            Command::StartChild { request, .. } => request.input.len(),
            Command::RecordValue { value, .. } => value.len(),
            Command::StartTimer { .. }
            | Command::AwaitEvent { .. }
            | Command::CancelOperation { .. } => 0,
        };
        let outcome = match &self.outcome {
            Some(Outcome::Completed(value) | Outcome::Continued(value)) => value.len(),
            _ => 0,
        };
        self.commands.iter().map(command).sum::<usize>() + outcome
    }
}

/// What makes a command of a replay the same command: its kind, its name and the hash of its input.
/// The length of a sleep and the options of a task are no part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CommandIdentity {
    /// What it asks for.
    pub kind: CommandKind,
    /// The name of the task, timer, event, child workflow or value, the cancelled operation's
    /// number, else empty.
    pub name: String,
    /// The hash of the input of a task or child, of a sent event, or of an outcome's value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_hash: Option<InputHash>,
}

/// The kinds of things a guest can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "named after the commands")]
pub enum CommandKind {
    Task,
    Timer,
    Cancel,
    Complete,
    Fail,
    Cancelled,
    Event,
    Send,
    Child,
    Value,
    Continue,
}

impl fmt::Display for CommandIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.as_str())?;
        if self.name.is_empty() { Ok(()) } else { write!(f, " `{}`", self.name) }
    }
}

impl CommandKind {
    /// The word that reports use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Task => "task",
            Self::Timer => "timer",
            Self::Cancel => "cancel operation",
            Self::Complete => "complete the run",
            Self::Fail => "fail the run",
            Self::Cancelled => "end as cancelled",
            Self::Event => "wait for event",
            Self::Send => "send event",
            Self::Child => "child run",
            Self::Value => "side value",
            Self::Continue => "continue as new",
        }
    }
}

impl Command {
    /// What a replay compares.
    #[must_use]
    pub fn identity(&self) -> CommandIdentity {
        let (kind, name, input) = match self {
            Self::StartTask { name, input, .. } => (CommandKind::Task, name.clone(), Some(input)),
            Self::StartTimer { name, .. } => (CommandKind::Timer, name.clone(), None),
            Self::AwaitEvent { name, .. } => (CommandKind::Event, name.clone(), None),
            Self::SendEvent { event, .. } => {
                (CommandKind::Send, event.name.clone(), Some(&event.data))
            }
            Self::StartChild { request, .. } => {
                (CommandKind::Child, request.workflow.clone(), Some(&request.input))
            }
            Self::RecordValue { name, .. } => (CommandKind::Value, name.clone(), None),
            Self::CancelOperation { op } => (CommandKind::Cancel, op.to_string(), None),
        };
        CommandIdentity { kind, name, input_hash: input.map(Payload::hash) }
    }
}

impl Outcome {
    /// What a replay compares.
    #[must_use]
    pub fn identity(&self) -> CommandIdentity {
        let (kind, input_hash) = match self {
            Self::Completed(output) => (CommandKind::Complete, Some(output.hash())),
            Self::Failed(failure) => {
                (CommandKind::Fail, Some(InputHash::of(failure.code.as_bytes())))
            }
            Self::Cancelled => (CommandKind::Cancelled, None),
            Self::Continued(input) => (CommandKind::Continue, Some(input.hash())),
        };
        CommandIdentity { kind, name: String::new(), input_hash }
    }
}
