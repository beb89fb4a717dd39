//! The error of workflows and tasks: data that is journaled, retried by policy and shown to people.
//! Authors make one with [`Failure::new`] or get one from `?`.

use crate::host::types;
use crate::http::HttpError;
use serde::Serialize;
use serde_json::Value;
use std::error::Error;
use std::fmt;

/// The code of an error that carries none of its own.
const OTHER: &str = "error";
const CANCELLED: &str = "run.cancelled";
const CONTINUED: &str = "run.continued";

/// Why a task or a workflow did not succeed.
///
/// Any [`std::error::Error`] becomes one through `?`, with the code `error` (those of
/// [`http`](crate::http) bring their own). For that reason it does not implement that trait itself,
/// just as `anyhow::Error` does not.
///
/// ```
/// use everstep_sdk::prelude::*;
///
/// fn parse(text: &str) -> TaskResult<u32> {
///     if text.is_empty() {
///         return Err(TaskError::new("order.empty", "the order has no amount").not_retryable());
///     }
///     Ok(text.parse()?)
/// }
/// assert_eq!(parse("").unwrap_err().code(), "order.empty");
/// assert_eq!(parse("x").unwrap_err().code(), "error");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    code: String,
    message: String,
    details: Option<Value>,
    retryable: bool,
}

/// What a task returns, and what awaiting a task gives.
pub type TaskResult<T> = Result<T, TaskError>;
/// Why a task failed.
pub type TaskError = Failure;
/// What a workflow returns.
pub type WorkflowResult<T> = Result<T, WorkflowError>;
/// Why a workflow failed.
pub type WorkflowError = Failure;

impl Failure {
    /// A failure that may be retried. `code` is a stable, dotted, lower-case word for programs,
    /// such as `card.declined`; `message` is a sentence for people.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), details: None, retryable: true }
    }

    /// What a workflow returns after it has cleaned up upon [`Run::cancelled`](crate::Run::cancelled):
    /// the run then ends as cancelled, not as failed.
    pub fn cancelled(reason: impl Into<String>) -> Self {
        Self::new(CANCELLED, reason).not_retryable()
    }

    pub(crate) fn continued(input: impl Serialize) -> Self {
        Self::new(CONTINUED, "the run begins anew").with_details(input)
    }

    pub(crate) fn is_continued(&self) -> bool {
        self.code == CONTINUED
    }

    /// The input with which the run is to begin anew.
    pub(crate) fn into_continued(self) -> Result<Value, Self> {
        match self {
            Self { code, details, .. } if code == CONTINUED => Ok(details.unwrap_or_default()),
            other => Err(other),
        }
    }

    /// The same failure with no further attempts, whatever the retry policy says.
    #[must_use]
    pub fn not_retryable(mut self) -> Self {
        self.retryable = false;
        self
    }

    /// The same failure with something for programs to read. A value that has no JSON form is
    /// replaced by the reason why.
    #[must_use]
    pub fn with_details(mut self, details: impl Serialize) -> Self {
        self.details = Some(
            serde_json::to_value(details).unwrap_or_else(|error| Value::String(error.to_string())),
        );
        self
    }

    /// The stable word for programs.
    #[must_use]
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The sentence for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Anything else that is known.
    #[must_use]
    pub fn details(&self) -> Option<&Value> {
        self.details.as_ref()
    }

    /// Whether a retry policy may try again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// Whether a time limit of the task passed first.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.code == "task.timeout"
    }

    /// Whether this is [`Failure::cancelled`].
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.code == CANCELLED
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        if let Some(http) = (&error as &dyn Error).downcast_ref::<HttpError>() {
            let failure = Self::new(http.code(), chain(&error));
            return if http.is_retryable() { failure } else { failure.not_retryable() };
        }
        Self::new(OTHER, chain(&error))
    }
}

/// The error and its causes in one line; a cause that the text before names already is left out.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let line = error.to_string();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        cause = error.source();
    }
    text
}

impl From<Failure> for types::Failure {
    fn from(failure: Failure) -> Self {
        Self {
            code: failure.code,
            message: failure.message,
            details: failure.details.map(|details| details.to_string().into_bytes()),
            retryable: failure.retryable,
        }
    }
}

/// The other direction is no `From`, because that would meet the blanket one above.
pub(crate) fn received(failure: types::Failure) -> Failure {
    Failure {
        code: failure.code,
        message: failure.message,
        details: failure.details.and_then(|json| serde_json::from_slice(&json).ok()),
        retryable: failure.retryable,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the file is unreadable")]
    struct Outer(#[source] std::num::ParseIntError);

    #[test]
    fn causes_are_told_once() {
        let cause = "x".parse::<u8>().unwrap_err();
        let failure = Failure::from(Outer(cause.clone()));
        assert_eq!(failure.message(), format!("the file is unreadable: {cause}"));
        assert!(failure.is_retryable());
    }

    #[test]
    fn http_errors_keep_their_code() {
        let failure = Failure::from(HttpError::Denied { host: "a.example".into() });
        assert_eq!(failure.code(), "http.denied");
        assert!(!failure.is_retryable());
    }

    #[test]
    fn nothing_is_lost_on_the_way_through_the_host() {
        let failure = Failure::new("a.b", "c").with_details([1, 2]).not_retryable();
        assert_eq!(received(failure.clone().into()), failure);
    }
}
