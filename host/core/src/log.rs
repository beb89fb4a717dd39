//! Log lines of a run. They travel in the commit of the step that wrote them, which is why they are
//! stored exactly once although the code is replayed.

use crate::{OpId, Payload, Timestamp};
use serde::{Deserialize, Serialize};

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the usual five levels")]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

/// What wrote a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogSource {
    /// The workflow's logger.
    Workflow,
    /// A task, through its logger or by printing.
    Task,
    /// The workflow's standard output.
    Stdout,
    /// The workflow's standard error.
    Stderr,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// In a workflow the time of the completion being delivered, in a task the real time.
    pub at: Timestamp,
    /// How much it matters.
    pub level: LogLevel,
    /// What wrote it.
    pub source: LogSource,
    /// The text, without a line break at its end.
    pub message: String,
    /// Structured fields, a JSON object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<Payload>,
    /// The task execution that wrote it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub op: Option<OpId>,
    /// The attempt (of the task when `op` is set, else of the run).
    pub attempt: u32,
}
