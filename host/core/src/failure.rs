//! Failures that authors see. A failure is data: it is journaled, retried by policy, and handed to
//! the workflow as an ordinary error value. Errors of the host itself are never one of these.

use crate::Payload;
use serde::{Deserialize, Serialize};

/// Why a task, an operation or a run did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A stable dotted word for programs, such as `card.declined`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Anything else, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Payload>,
    /// False stops all further attempts, whatever the retry policy says.
    #[serde(default = "yes", skip_serializing_if = "is_true")]
    pub retryable: bool,
}

impl Failure {
    /// A failure that may be retried.
    #[must_use]
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), details: None, retryable: true }
    }

    /// The same failure, with no further attempts.
    #[must_use]
    pub fn not_retryable(mut self) -> Self {
        self.retryable = false;
        self
    }
}

fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_true(value: &bool) -> bool {
    *value
}
