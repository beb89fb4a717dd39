//! Sending events to runs.

use crate::{Payload, RunId};
use serde::{Deserialize, Serialize};

/// Body of `POST /v1/runs/{id}/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventBody {
    /// The event's name.
    pub name: String,
    /// What it says; `null` when absent.
    #[serde(default)]
    pub data: Option<Payload>,
    /// Names this event: the run receives it once, however often it is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

/// Answer of `POST /v1/runs/{id}/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventSent {
    /// The run that has the event.
    pub run: RunId,
    /// Whether it had it before, by its reference.
    pub duplicate: bool,
}

/// Body of `POST /v1/events/multicast`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MulticastBody {
    /// The runs; at most 1,000.
    pub to: Vec<EventTarget>,
    /// What they are sent.
    pub event: EventBody,
}

/// A run that an event goes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum EventTarget {
    /// By its id.
    Run {
        /// The id.
        run: RunId,
    },
    /// By the idempotency key of its start.
    Key {
        /// The workflow's name.
        workflow: String,
        /// The key.
        key: String,
    },
}

/// Answer of `POST /v1/events/multicast`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Multicast {
    /// In the order of the request.
    pub results: Vec<MulticastResult>,
}

/// What became of an event that went to one of many runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MulticastResult {
    /// The run.
    pub run: RunId,
    /// Whether it has the event.
    pub ok: bool,
    /// Whether it had it before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub duplicate: bool,
    /// Why it has not: a stable code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The same for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}
