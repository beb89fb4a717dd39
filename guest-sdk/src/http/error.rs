//! What can go wrong with an outbound request. `?` turns it into a task failure with its code.

use serde_json::Error as JsonError;

/// Why there is no (acceptable) response.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The request cannot be sent as it is.
    #[error("the request is invalid: {0}")]
    InvalidRequest(String),
    /// The host does not let this task reach that place.
    #[error(
        "the task may not reach {host}; grant it with `#[task(hosts = [\"{host}\"])]`, or if this \
         is a workflow, do the request in a task"
    )]
    Denied {
        /// Host and port as in the URL.
        host: String,
    },
    /// A time limit passed first.
    #[error("no answer from {host} in time ({cause})")]
    Timeout {
        /// Host and port as in the URL.
        host: String,
        /// Which limit.
        cause: String,
    },
    /// There was no connection, or it broke.
    #[error("the connection to {host} failed: {cause}")]
    Connection {
        /// Host and port as in the URL.
        host: String,
        /// What happened.
        cause: String,
    },
    /// The body of the response is longer than the request allows.
    #[error("the response is longer than {limit} bytes; raise it with `.max_bytes(…)`")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The response says that the request did not succeed; from
    /// [`Response::success`](super::Response::success).
    #[error("the answer was status {status}: {body}")]
    Status {
        /// The status code.
        status: u16,
        /// The beginning of the body.
        body: String,
    },
    /// The body of the response is not what it was read as.
    #[error("the response is not the expected JSON: {0}")]
    Decode(#[from] JsonError),
    /// This build does not run inside a host.
    #[error("{request}: outbound HTTP works inside the Everstep host only, not in a native build")]
    Unavailable {
        /// Method and host.
        request: String,
    },
}

impl HttpError {
    /// A stable word for programs; the code of the failure that this becomes.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::InvalidRequest(_) => "http.invalid_request",
            Self::Denied { .. } => "http.denied",
            Self::Timeout { .. } => "http.timeout",
            Self::Connection { .. } => "http.connection",
            Self::TooLarge { .. } => "http.too_large",
            Self::Status { .. } => "http.status",
            Self::Decode(_) => "http.decode",
            Self::Unavailable { .. } => "http.unavailable",
        }
    }

    /// Whether the same request may do better later: connection failures, timeouts, and the
    /// statuses 408, 429 and 5xx.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Connection { .. } | Self::Decode(_) => true,
            Self::Status { status, .. } => *status == 408 || *status == 429 || *status >= 500,
            _ => false,
        }
    }
}
