//! What a client says when it starts a run.

use crate::{Limits, Payload, RetryPolicy, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Options of a start. They are what `context.options` shows to the guest.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StartOptions {
    /// The idempotency key, unique per workflow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// When to try the whole run again after it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// The longest the run may take from when it is due, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Searchable labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// The hosts that may have the run: those that serve this pool; none for those without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

/// A checked request to start a run: the module is chosen, the input matches its schema.
#[derive(Debug, Clone, PartialEq)]
pub struct StartRequest {
    /// The run's id.
    pub id: crate::RunId,
    /// The workflow's name.
    pub workflow: String,
    /// Its version.
    pub version: String,
    /// The module that has it.
    pub digest: crate::Digest,
    /// The version of the engine's configuration.
    pub engine: u32,
    /// The bounds of the run.
    pub limits: Limits,
    /// The input.
    pub input: Payload,
    /// The options.
    pub options: StartOptions,
    /// When the first attempt is due; none for at once.
    pub due: Option<Timestamp>,
    /// The run whose child it is to be.
    pub parent: Option<crate::Parent>,
}
