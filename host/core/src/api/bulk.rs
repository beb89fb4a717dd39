//! Doing the same to many runs with one request.

use super::RunSelection;
use crate::{RunId, StateKind};
use serde::{Deserialize, Serialize};

/// What can be done to many runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkAction {
    /// Ask them to stop.
    Cancel,
    /// End them at once.
    Terminate,
    /// Let them stand still.
    Pause,
    /// Let those that are paused go on.
    Resume,
    /// End the sleep of those that sleep.
    Wake,
    /// Let those that are stuck go on, and have those that failed tried again.
    Retry,
}

/// Body of `POST /v1/runs/bulk`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BulkBody {
    /// What to do.
    pub action: BulkAction,
    /// To which runs. When it names no state, to those in a state that allows the action.
    #[serde(default, skip_serializing_if = "RunSelection::is_everything")]
    pub filter: RunSelection,
    /// To these runs instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunId>,
    /// Says that a filter without a condition is meant.
    #[serde(default)]
    pub all: bool,
    /// Only say what would happen.
    #[serde(default)]
    pub dry_run: bool,
    /// Why, for people (of a cancel, terminate or pause).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How long the runs may clean up, in milliseconds (of a cancel; 30 s when absent).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<u64>,
    /// The most runs of this request (1,000 when absent, at most 10,000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Go on behind the request whose answer had this cursor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl BulkBody {
    /// This action, to no runs yet.
    #[must_use]
    pub fn new(action: BulkAction) -> Self {
        Self {
            action,
            filter: RunSelection::default(),
            runs: Vec::new(),
            all: false,
            dry_run: false,
            reason: None,
            grace_ms: None,
            limit: None,
            cursor: None,
        }
    }
}

/// Answer of `POST /v1/runs/bulk`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkReport {
    /// One for each run, newest first, or in the order in which they were named.
    pub results: Vec<BulkResult>,
    /// More runs match: pass the cursor to go on with them.
    pub more: bool,
    /// Where to go on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What became of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkResult {
    /// The run.
    pub id: RunId,
    /// Whether it was done (in a dry run: would be).
    pub ok: bool,
    /// The state of the run afterwards (in a dry run: now).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<StateKind>,
    /// The code of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
