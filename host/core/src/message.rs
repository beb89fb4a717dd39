//! What a run tells other runs: starts of children, events, cancels, and its own end.
//!
//! A run cannot change another one in its own commit. What it has to tell is written into its
//! journal by the activation that asked for it, stands in the run's outbox from then on, and is
//! taken out by a later entry once the other side has it. Hosts deliver; whatever they deliver twice
//! after a crash has effect once, because each message has an id that the receiver remembers.

use crate::{Failure, OpId, OpResult, Payload, RunId, StartOptions};
use serde::{Deserialize, Serialize};

/// What becomes of a child run when its parent ends, or gives it up, before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnParentEnd {
    /// It is asked to stop.
    #[default]
    Cancel,
    /// It goes on alone.
    Abandon,
}

/// A child run, as its parent asks for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChildRequest {
    /// The workflow's name.
    pub workflow: String,
    /// Its version; the newest one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The input.
    pub input: Payload,
    /// The options of its start. A child has no idempotency key: its parent and the operation
    /// name it.
    #[serde(default)]
    pub options: StartOptions,
    /// Milliseconds until its first attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// When the parent ends first.
    #[serde(default)]
    pub on_parent_end: OnParentEnd,
}

/// An event on its way to a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct UserEvent {
    /// Its name.
    pub name: String,
    /// What it says.
    pub data: Payload,
    /// Names this event among those sent to the run: it is received once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// The run that started another one as its child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The run.
    pub run: RunId,
    /// Its operation.
    pub op: OpId,
    /// How many generations of parents the child has.
    #[serde(default)]
    pub depth: u32,
}

/// Names a message of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MessageId {
    /// The operation that it belongs to; 0 for the end of the run itself.
    pub op: OpId,
    /// What it says.
    pub kind: MessageKind,
}

/// The kinds of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MessageKind {
    /// Start a child.
    Start,
    /// Receive an event.
    Event,
    /// Stop, child.
    Cancel,
    /// To the parent: this run has ended.
    End,
}

/// A message that has not been confirmed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// Start a child.
    Start {
        /// The operation that it is.
        op: OpId,
        /// The id that it is to have.
        child: RunId,
        /// What to start.
        request: Box<ChildRequest>,
    },
    /// Receive an event.
    Event {
        /// Who.
        to: RunId,
        /// What.
        event: Box<UserEvent>,
    },
    /// Stop.
    Cancel {
        /// Which child.
        child: RunId,
        /// Why, for people.
        reason: String,
    },
    /// The sender has ended.
    End {
        /// Its parent, and the operation that the sender is there.
        parent: Parent,
        /// How it ended.
        result: OpResult,
    },
}

/// What the other side answered. Its not answering is no reply: then the message is sent again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// It has the message, now or since earlier; or it has no use for it any more.
    Taken,
    /// It will never take it, for this reason.
    Refused(Failure),
}

impl Message {
    /// What kind it is.
    #[must_use]
    pub fn kind(&self) -> MessageKind {
        match self {
            Self::Start { .. } => MessageKind::Start,
            Self::Event { .. } => MessageKind::Event,
            Self::Cancel { .. } => MessageKind::Cancel,
            Self::End { .. } => MessageKind::End,
        }
    }
}
