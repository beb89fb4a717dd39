//! What goes into a guest and what comes out of it: the vocabulary between the engine, which runs
//! guests, and the state machine, which decides what their commands mean.

use crate::{Failure, InputHash, LogLine, OpId, Payload, TaskOptions, Timestamp};
use serde::{Deserialize, Serialize};

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
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// The journal position of an entry that was written earlier and is delivered now; none when
    /// the completion enters the journal with this activation.
    pub deferred: Option<u64>,
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
}

/// What makes a command of a replay the same command: its kind, its name and the hash of its input.
/// The length of a sleep and the options of a task are no part of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CommandIdentity {
    /// `task`, `timer`, `cancel`, `complete`, `fail` or `cancelled`.
    pub kind: CommandKind,
    /// The task's or timer's name, the cancelled operation's number, else empty.
    pub name: String,
    /// The hash of a task's input or of an outcome's value.
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
        }
    }
}

impl Command {
    /// What a replay compares.
    #[must_use]
    pub fn identity(&self) -> CommandIdentity {
        match self {
            Self::StartTask { name, input, .. } => CommandIdentity {
                kind: CommandKind::Task,
                name: name.clone(),
                input_hash: Some(input.hash()),
            },
            Self::StartTimer { name, .. } => {
                CommandIdentity { kind: CommandKind::Timer, name: name.clone(), input_hash: None }
            }
            Self::CancelOperation { op } => CommandIdentity {
                kind: CommandKind::Cancel,
                name: op.to_string(),
                input_hash: None,
            },
        }
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
        };
        CommandIdentity { kind, name: String::new(), input_hash }
    }
}
