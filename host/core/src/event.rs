//! The journal: what happened to a run, in order, in the past tense. Events are never changed; old
//! forms must be readable for ever, so fields are only added, with a default.

use crate::record::{CancelRequest, ModuleRef, Origin};
use crate::{
    ChildRequest, Digest, Failure, InputHash, Message, MessageId, OpId, OpResult, Payload, RunId,
    TaskOptions, Timestamp, UserEvent,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// One line of a journal. Its position (`seq`, from 0) is its index.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When it was decided. Never before the entry in front of it.
    pub at: Timestamp,
    /// What happened.
    pub event: JournalEvent,
}

/// What can happen to a run.
///
/// Three kinds stand in a journal. *Deliveries* are told to the guest (`AttemptStarted`,
/// `TaskCompleted`, `TaskFailed`, `TimerFired`, `EventTimedOut`, `OperationEnded`, `Delivered`); the
/// *commands* of the activation that followed stand directly behind (`TaskScheduled`,
/// `TimerStarted`, `EventAwaited`, `EventSent`, `ChildScheduled`, `ValueRecorded`,
/// `OperationCancelled`, and the end of the attempt); everything else is bookkeeping that a replay
/// passes over. What happened while the guest was not at hand (`CancelRequested`, `EventReceived`,
/// `ChildEnded`, a task that ended just when the run got stuck) is delivered later by a `Delivered`
/// that names its position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
pub enum JournalEvent {
    /// The run exists. Always and only at position 0.
    RunStarted {
        /// What the run is and how it was asked for.
        origin: Arc<Origin>,
        /// The input.
        input: Payload,
        /// When its first attempt is due.
        due: Timestamp,
    },
    /// An attempt began in a fresh instance.
    AttemptStarted {
        /// From 1.
        attempt: u32,
    },
    /// What the activation left of the guest, noted by a host that audits. It stands directly behind the
    /// delivery, and a replay on the same module must leave the same.
    StateHashed {
        /// The module that was executed.
        module: Digest,
        /// The version of the engine's configuration.
        engine: u32,
        /// The hash of the guest's memories and globals; none in a fork, whose guest was told other
        /// things.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hash: Option<Digest>,
    },
    /// The guest asked for a task.
    TaskScheduled {
        /// The operation.
        op: OpId,
        /// The task's name.
        name: String,
        /// Its input.
        input: Payload,
        /// The hash of the input.
        input_hash: InputHash,
        /// How it is to be executed.
        options: TaskOptions,
        /// An operation of an earlier attempt of the run whose result answers this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reuses: Option<OpId>,
    },
    /// The guest asked to sleep.
    TimerStarted {
        /// The operation.
        op: OpId,
        /// May be empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        name: String,
        /// When it ends.
        due: Timestamp,
        /// A timer of an earlier attempt of the run that has fired already.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reuses: Option<OpId>,
    },
    /// The guest asked for an event.
    EventAwaited {
        /// The operation.
        op: OpId,
        /// The event's name.
        name: String,
        /// When the wait ends without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        timeout_at: Option<Timestamp>,
        /// A wait of an earlier attempt of the run whose event answers this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reuses: Option<OpId>,
    },
    /// The guest sent an event.
    EventSent {
        /// The operation.
        op: OpId,
        /// To whom.
        to: RunId,
        /// What.
        event: Box<UserEvent>,
        /// A send of an earlier attempt of the run that counts for this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reuses: Option<OpId>,
    },
    /// The guest asked for a child run.
    ChildScheduled {
        /// The operation.
        op: OpId,
        /// The child.
        child: RunId,
        /// What it is.
        request: Box<ChildRequest>,
        /// A child of an earlier attempt of the run that completed and answers this one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reuses: Option<OpId>,
    },
    /// The guest computed a value that a replay takes from here.
    ValueRecorded {
        /// The author's name for it.
        name: String,
        /// The value.
        value: Payload,
    },
    /// The guest gave an operation up.
    OperationCancelled {
        /// Which one.
        op: OpId,
    },
    /// An attempt of a task failed and another will follow.
    TaskAttemptFailed {
        /// The operation.
        op: OpId,
        /// The attempt that failed, from 1.
        attempt: u32,
        /// Why.
        failure: Failure,
        /// When the next one is due.
        retry_at: Timestamp,
        /// What its last heartbeat said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        progress: Option<Payload>,
    },
    /// A task succeeded.
    TaskCompleted {
        /// The operation.
        op: OpId,
        /// Its value.
        output: Payload,
        /// How many attempts it took.
        #[serde(default, skip_serializing_if = "is_one")]
        attempts: AttemptCount,
        /// The guest could not be told; a later `Delivered` tells it.
        #[serde(default, skip_serializing_if = "is_false")]
        deferred: bool,
    },
    /// A task failed for good.
    TaskFailed {
        /// The operation.
        op: OpId,
        /// How many attempts were made.
        attempts: AttemptCount,
        /// Why the last one failed.
        failure: Failure,
        /// The guest could not be told; a later `Delivered` tells it.
        #[serde(default, skip_serializing_if = "is_false")]
        deferred: bool,
    },
    /// A sleep ended.
    TimerFired {
        /// The operation.
        op: OpId,
    },
    /// A wait for an event took too long.
    EventTimedOut {
        /// The operation.
        op: OpId,
    },
    /// The other side answered a message that the guest waits for.
    OperationEnded {
        /// The operation.
        op: OpId,
        /// How.
        result: OpResult,
        /// The guest could not be told; a later `Delivered` tells it.
        #[serde(default, skip_serializing_if = "is_false")]
        deferred: bool,
    },
    /// The other side has a message that the guest does not wait for.
    MessageTaken {
        /// Which one.
        id: MessageId,
    },
    /// Somebody sent an event to the run.
    EventReceived {
        /// What.
        event: Box<UserEvent>,
    },
    /// A child run ended.
    ChildEnded {
        /// The operation.
        op: OpId,
        /// How.
        result: OpResult,
    },
    /// Somebody wants the run to stand still.
    RunPaused {
        /// Their words.
        reason: String,
    },
    /// Somebody wants the run to go on.
    RunResumed,
    /// Somebody wants the sleep that ends first to end now.
    WakeRequested,
    /// Somebody wants the failed run to be tried again.
    RetryRequested {
        /// Results that take the place of those of failed tasks.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        outcomes: Vec<SetOutcome>,
    },
    /// Somebody asked the run to stop.
    CancelRequested {
        /// Their words.
        reason: String,
        /// When the host ends it if it has not ended itself.
        deadline: Timestamp,
    },
    /// An earlier entry reached the guest.
    Delivered {
        /// The position of that entry.
        seq: u64,
        /// Which of the events that the entry carries over.
        #[serde(default, skip_serializing_if = "is_zero")]
        nth: u32,
        /// The operation that an event ended.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        op: Option<OpId>,
    },
    /// The run begins anew, as if the journal were empty: nothing before this entry is read again.
    RunContinued {
        /// What the run is.
        origin: Arc<Origin>,
        /// Its new input.
        input: Payload,
        /// From 1.
        generation: u32,
        /// The id that the next operation will get.
        next_op: OpId,
        /// Events that nobody has waited for yet.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        events: Vec<UserEvent>,
        /// What has not reached the other side yet.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        messages: Vec<(MessageId, Message)>,
        /// A request to stop that the run has not been told of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cancel: Option<CancelRequest>,
    },
    /// From here on the run executes another module, which asks for the same up to here.
    RunUpgraded {
        /// The module.
        to: ModuleRef,
        /// The one before.
        was: ModuleRef,
    },
    /// What stands in front of this was copied from another run; the run is its own from here on.
    RunForked {
        /// The other run.
        from: RunId,
        /// The position at which its journal was cut.
        at: u64,
        /// What this run has to tell others: starts of its own children, and events that are awaited.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        messages: Vec<(MessageId, Message)>,
    },
    /// An attempt of the run failed and another will follow.
    AttemptFailed {
        /// From 1.
        attempt: u32,
        /// Why.
        failure: Failure,
        /// When the next one is due.
        retry_at: Timestamp,
    },
    /// The run ended with this output.
    RunCompleted {
        /// Its value.
        output: Payload,
    },
    /// The run ended with this failure.
    RunFailed {
        /// Why.
        failure: Failure,
    },
    /// The run took longer than its limit, and the host ended it as failed.
    RunTimedOut {
        /// What it says: the limit.
        failure: Failure,
    },
    /// The run ended because somebody asked for it.
    RunCancelled {
        /// Their words.
        reason: String,
    },
    /// Somebody ended the run at once.
    RunTerminated {
        /// Their words.
        reason: String,
    },
}

/// A result that an operator gives a failed task, for the next attempt of its run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetOutcome {
    /// The operation that failed.
    pub op: OpId,
    /// The value that it counts as having.
    pub output: Payload,
}

impl JournalEvent {
    /// The name of the event, as it stands in the journal.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::RunStarted { .. } => "RunStarted",
            Self::AttemptStarted { .. } => "AttemptStarted",
            Self::StateHashed { .. } => "StateHashed",
            Self::TaskScheduled { .. } => "TaskScheduled",
            Self::TimerStarted { .. } => "TimerStarted",
            Self::OperationCancelled { .. } => "OperationCancelled",
            Self::TaskAttemptFailed { .. } => "TaskAttemptFailed",
            Self::TaskCompleted { .. } => "TaskCompleted",
            Self::TaskFailed { .. } => "TaskFailed",
            Self::TimerFired { .. } => "TimerFired",
            Self::CancelRequested { .. } => "CancelRequested",
            Self::Delivered { .. } => "Delivered",
            Self::AttemptFailed { .. } => "AttemptFailed",
            Self::RunCompleted { .. } => "RunCompleted",
            Self::RunFailed { .. } => "RunFailed",
            Self::RunTimedOut { .. } => "RunTimedOut",
            Self::RunCancelled { .. } => "RunCancelled",
            Self::RunTerminated { .. } => "RunTerminated",
            Self::EventAwaited { .. } => "EventAwaited",
            Self::EventSent { .. } => "EventSent",
            Self::ChildScheduled { .. } => "ChildScheduled",
            Self::ValueRecorded { .. } => "ValueRecorded",
            Self::EventTimedOut { .. } => "EventTimedOut",
            Self::OperationEnded { .. } => "OperationEnded",
            Self::MessageTaken { .. } => "MessageTaken",
            Self::EventReceived { .. } => "EventReceived",
            Self::ChildEnded { .. } => "ChildEnded",
            Self::RunPaused { .. } => "RunPaused",
            Self::RunResumed => "RunResumed",
            Self::WakeRequested => "WakeRequested",
            Self::RetryRequested { .. } => "RetryRequested",
            Self::RunContinued { .. } => "RunContinued",
            Self::RunUpgraded { .. } => "RunUpgraded",
            Self::RunForked { .. } => "RunForked",
        }
    }
}

impl JournalEvent {
    /// The operation that the guest asks for here.
    #[must_use]
    pub fn registers(&self) -> Option<OpId> {
        match self {
            Self::TaskScheduled { op, .. }
            | Self::TimerStarted { op, .. }
            | Self::EventAwaited { op, .. }
            | Self::EventSent { op, .. }
            | Self::ChildScheduled { op, .. } => Some(*op),
            _ => None,
        }
    }

    /// The operation that ends here, whether or not the guest is told at once.
    #[must_use]
    pub fn ends(&self) -> Option<OpId> {
        match self {
            Self::TaskCompleted { op, .. }
            | Self::TaskFailed { op, .. }
            | Self::TimerFired { op }
            | Self::EventTimedOut { op }
            | Self::OperationEnded { op, .. }
            | Self::ChildEnded { op, .. } => Some(*op),
            Self::Delivered { op, .. } => *op,
            _ => None,
        }
    }

    /// Whether the guest is told something here: an activation begins.
    #[must_use]
    pub fn begins_step(&self) -> bool {
        match self {
            Self::AttemptStarted { .. } | Self::TimerFired { .. } => true,
            Self::EventTimedOut { .. } | Self::Delivered { .. } => true,
            Self::TaskCompleted { deferred, .. }
            | Self::TaskFailed { deferred, .. }
            | Self::OperationEnded { deferred, .. } => !deferred,
            _ => false,
        }
    }
}

/// How often something was tried; 1 unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AttemptCount(pub u32);

impl Default for AttemptCount {
    fn default() -> Self {
        Self(1)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_false(value: &bool) -> bool {
    !*value
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(value: &u32) -> bool {
    *value == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_one(count: &AttemptCount) -> bool {
    count.0 == 1
}
