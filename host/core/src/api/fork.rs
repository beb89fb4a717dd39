//! Forks of runs: what is asked for and what is answered.

use crate::{OpId, Payload, RunId};
use serde::{Deserialize, Serialize};

/// Body of `POST /v1/runs/{id}/fork`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForkBody {
    /// The position at which the journal is cut: at the end of the step that it is in.
    pub at: u64,
    /// Results that take the place of those in the journal.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub edits: Vec<EditBody>,
    /// Names the fork: the same request with the same key never makes a second one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
}

/// One edited result. Either `op` or `seq` is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EditBody {
    /// The operation whose result, or event, it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<OpId>,
    /// The journal position of the side value that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The value to take.
    pub value: Payload,
}

/// Answer of `POST /v1/runs/{id}/fork`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ForkStarted {
    /// The fork's id.
    pub id: RunId,
    /// False when the idempotency key named a fork that existed.
    pub created: bool,
    /// Where the journal was cut: at the end of a step, and no later than where the edits make the
    /// workflow ask for something else.
    pub at: u64,
}

/// Where a run that is a fork comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkView {
    /// The run whose beginning it has.
    pub run: RunId,
    /// The position at which that one's journal was cut.
    pub at: u64,
}
