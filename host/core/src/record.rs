//! The run record: the small summary of a run that is rewritten with every commit. Lists, waits and
//! the dispatcher read it instead of the journal. Its size depends neither on the length of the
//! journal nor on the number of pending operations.

use crate::{
    Digest, Failure, InputHash, Limits, OpId, Parent, Payload, RunId, StartOptions, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a run is and how it was asked for. Fixed at its start, but for the module, which an upgrade
/// changes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Origin {
    /// The run's id.
    pub id: RunId,
    /// The workflow's name.
    pub workflow: String,
    /// Its version.
    pub version: String,
    /// The module that the run executes.
    pub digest: Digest,
    /// The version of the engine's configuration, part of what makes a replay valid.
    pub engine: u32,
    /// The bounds that the guest can observe.
    pub limits: Limits,
    /// The hash of the input, by which a repeated start with the same key is compared.
    pub input_hash: InputHash,
    /// The options of the start.
    pub options: StartOptions,
    /// When the start was accepted.
    pub started_at: Timestamp,
    /// The run whose child this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    /// When the first attempt is due, if that was not at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// The run whose beginning this one has, when it is a fork.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<Box<ForkedFrom>>,
}

/// Where a fork comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkedFrom {
    /// The original.
    pub run: RunId,
    /// The position at which its journal was cut.
    pub at: u64,
    /// The hash of what was asked for, by which a repeated request with the same key is compared.
    pub asked: InputHash,
    /// What the guest knows of itself.
    pub seen: Seen,
}

/// What the guest of a fork goes on to see, because it has seen it before: otherwise a replay of what
/// the fork has from the original would not ask for the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The original's id, also the seed of everything random.
    pub run: RunId,
    /// The original's parent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RunId>,
    /// The original's idempotency key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Where the original's journal began.
    #[serde(default)]
    pub first: u64,
}

/// What a run executes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleRef {
    /// The module.
    pub digest: Digest,
    /// The version that the workflow has in it.
    pub version: String,
    /// The version of the engine's configuration under which the module was accepted.
    pub engine: u32,
}

impl Origin {
    /// What the run executes.
    #[must_use]
    pub fn module(&self) -> ModuleRef {
        ModuleRef { digest: self.digest, version: self.version.clone(), engine: self.engine }
    }

    /// The same run with another module.
    #[must_use]
    pub fn with_module(&self, module: ModuleRef) -> Self {
        let ModuleRef { digest, version, engine } = module;
        Self { digest, version, engine, ..self.clone() }
    }
}

/// Why a run waits for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueReason {
    /// It has just been started.
    New,
    /// Another attempt of the run is due.
    Retry,
    /// Another attempt of a task is due.
    TaskRetry,
    /// A sleep is over.
    Wakeup,
    /// A sleep was ended early by somebody.
    WakeupEarly,
    /// An event came.
    Event,
    /// A child run ended.
    Child,
    /// Somebody asked for something (cancel, continue after stuck or paused).
    Resumption,
    /// The host that had it is gone.
    Recovery,
}

/// What a run waits for, or how it ended.
///
/// Tagged from outside on purpose: serde's inner tags lose whether a format is for people, on which
/// the form of instants and payloads depends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// To start at a time.
    Scheduled {
        /// When.
        at: Timestamp,
    },
    /// Ready for a host.
    Queued {
        /// Why.
        reason: QueueReason,
    },
    /// A host works on it: tasks are being executed.
    Running,
    /// Only timers are pending.
    Sleeping {
        /// The timer that ends first; may be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        timer: String,
        /// When.
        wakeup_at: Timestamp,
    },
    /// The next thing to come is an event.
    AwaitingEvent {
        /// Its name.
        event: String,
        /// When the wait ends without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_at: Option<Timestamp>,
    },
    /// The next thing to come is the end of a child run.
    AwaitingChild {
        /// The child.
        child: RunId,
    },
    /// Somebody made it stand still.
    Paused {
        /// Their words.
        reason: String,
    },
    /// The run, or a task that it waits for, failed and a next attempt is due.
    AwaitingRetry {
        /// What failed.
        cause: RetryCause,
        /// When the next attempt is due.
        next_attempt_at: Timestamp,
        /// Why the last one failed.
        failure: Failure,
    },
    /// Stopped by something that only people can mend.
    Stuck {
        /// What, and what to do.
        cause: StuckCause,
    },
    /// Ended with an output.
    Completed {
        /// The value.
        output: Payload,
    },
    /// Ended with a failure.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// Ended because somebody asked for it.
    Cancelled {
        /// Their words.
        reason: String,
    },
}

/// What failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RetryCause {
    /// A task of the run.
    Task {
        /// Its name.
        name: String,
    },
    /// The run itself.
    Run,
}

/// The states without what they carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "see RunState")]
pub enum StateKind {
    Scheduled,
    Queued,
    Running,
    Sleeping,
    AwaitingEvent,
    AwaitingChild,
    AwaitingRetry,
    Paused,
    Stuck,
    Completed,
    Failed,
    Cancelled,
}

impl StateKind {
    /// All states, in the order of a run's life.
    pub const ALL: [Self; 12] = [
        Self::Scheduled,
        Self::Queued,
        Self::Running,
        Self::Sleeping,
        Self::AwaitingEvent,
        Self::AwaitingChild,
        Self::AwaitingRetry,
        Self::Paused,
        Self::Stuck,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The state's name, as users write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "scheduled",
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Sleeping => "sleeping",
            Self::AwaitingEvent => "awaiting_event",
            Self::AwaitingChild => "awaiting_child",
            Self::AwaitingRetry => "awaiting_retry",
            Self::Paused => "paused",
            Self::Stuck => "stuck",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The state with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether nothing can follow.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl RunState {
    /// The state without what it carries.
    #[must_use]
    pub fn kind(&self) -> StateKind {
        match self {
            Self::Scheduled { .. } => StateKind::Scheduled,
            Self::Queued { .. } => StateKind::Queued,
            Self::Running => StateKind::Running,
            Self::Sleeping { .. } => StateKind::Sleeping,
            Self::AwaitingEvent { .. } => StateKind::AwaitingEvent,
            Self::AwaitingChild { .. } => StateKind::AwaitingChild,
            Self::AwaitingRetry { .. } => StateKind::AwaitingRetry,
            Self::Paused { .. } => StateKind::Paused,
            Self::Stuck { .. } => StateKind::Stuck,
            Self::Completed { .. } => StateKind::Completed,
            Self::Failed { .. } => StateKind::Failed,
            Self::Cancelled { .. } => StateKind::Cancelled,
        }
    }
}

/// A request to stop that the run knows of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelRequest {
    /// The words of whoever asked.
    pub reason: String,
    /// When the host ends the run if it has not ended itself.
    pub deadline: Timestamp,
}

/// The summary of a run as of the end of its journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// What the run is.
    pub origin: Arc<Origin>,
    /// What it waits for, or how it ended.
    pub state: RunState,
    /// The current attempt; 0 before the first.
    pub attempt: u32,
    /// The number of entries in the journal.
    pub length: u64,
    /// The number of log lines.
    pub log_lines: u64,
    /// The id that the next operation will get.
    pub next_op: OpId,
    /// The number of operations that await their completion.
    pub pending: u64,
    /// Entries that came from outside and have not reached the guest.
    pub undelivered: u32,
    /// When a timer, a retry or a time limit is due next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wake_at: Option<Timestamp>,
    /// Whether a host is needed now.
    pub ready: bool,
    /// A request to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<CancelRequest>,
    /// When the last commit was decided.
    pub updated_at: Timestamp,
    /// Where the journal begins: the position of `RunStarted`, or of the last `RunContinued`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub first: u64,
    /// Messages to other runs that are not confirmed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub outbox: u64,
    /// Whether results of completed operations are kept for another attempt of the run.
    #[serde(default, skip_serializing_if = "is_false")]
    pub keeps_results: bool,
    /// What the run shows of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Payload>,
    /// Since when the run's time limit counts: its start, or the last retry by hand.
    pub limited_from: Timestamp,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &u64) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !*value
}

impl Record {
    /// The run's id.
    #[must_use]
    pub fn id(&self) -> RunId {
        self.origin.id
    }

    /// Whether nothing can follow.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.state.kind().is_terminal()
    }

    /// The attempt that a host has to rebuild by replay; none when no attempt is under way.
    #[must_use]
    pub fn attempt_under_way(&self) -> Option<u32> {
        let between = matches!(self.state, RunState::AwaitingRetry { cause: RetryCause::Run, .. });
        (self.attempt > 0 && !between && !self.is_terminal()).then_some(self.attempt)
    }

    /// The code of the failure that the run ended with, or of what it is stuck by: what runs are
    /// searched by.
    #[must_use]
    pub fn failure_code(&self) -> Option<&str> {
        match &self.state {
            RunState::Failed { failure } => Some(&failure.code),
            RunState::Stuck { cause } => Some(&cause.code),
            _ => None,
        }
    }

    /// When the run's own time limit passes. It counts from when the first attempt is due: a delay is
    /// no part of what the run takes.
    #[must_use]
    pub fn timeout_at(&self) -> Option<Timestamp> {
        self.origin.options.timeout_ms.map(|ms| self.limited_from.plus(ms))
    }
}

/// Why a run cannot go on without help. Not part of the journal: the journal stays untouched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StuckCause {
    /// A stable dotted word: `divergence`, `guest.trap`, `guest.fuel`, `limit.…`, `module.load` …
    pub code: String,
    /// What happened, for people; may have many lines (a guest backtrace, a diff).
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// The divergence, when it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence: Option<Box<crate::Divergence>>,
}
