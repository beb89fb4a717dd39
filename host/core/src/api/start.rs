//! The start of a run.

use crate::{Payload, RetryPolicy, RunId, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What to do when a start's idempotency key is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnConflict {
    /// Answer with the run that has the key, provided that the input is the same.
    #[default]
    ReturnExisting,
    /// Refuse.
    Error,
}

/// Body of `POST /v1/runs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartBody {
    /// The workflow's name.
    pub workflow: String,
    /// Its version; the newest one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The input; `null` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Payload>,
    /// Start so many milliseconds from now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<u64>,
    /// Start at this instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// Names the run: a second start with the same key does not start a second run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Makes the key from the input, in the place of the workflow's own template: text with
    /// placeholders such as `order-${order.id}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_template: Option<String>,
    /// What to do when the key is taken.
    #[serde(default)]
    pub on_conflict: OnConflict,
    /// When to try the whole run again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// The longest the run may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Searchable labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tags: BTreeMap<String, String>,
    /// Only hosts that serve this pool may have the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
}

impl StartBody {
    /// A start of the newest version of a workflow with `null` as input, at once.
    #[must_use]
    pub fn new(workflow: impl Into<String>) -> Self {
        Self {
            workflow: workflow.into(),
            version: None,
            input: None,
            delay_ms: None,
            at: None,
            idempotency_key: None,
            key_template: None,
            on_conflict: OnConflict::default(),
            retry: None,
            timeout_ms: None,
            tags: BTreeMap::new(),
            pool: None,
        }
    }
}

/// Answer of `POST /v1/runs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// The run's id.
    pub id: RunId,
    /// False when the idempotency key named a run that existed.
    pub created: bool,
}
