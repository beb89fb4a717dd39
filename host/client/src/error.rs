//! What can go wrong with a call, sorted by what the caller can do about it. Made in
//! `connection.rs`; the command line derives its exit codes from the variants.

use everstep_core::api::Problem;
use std::error::Error as _;
use std::time::Duration;

/// A call that did not give an answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The address is not one of a server.
    #[error("`{address}` is not a server's address: {reason}")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection, or one that broke.
    #[error("the server at {url} cannot be reached: {reason}")]
    Unreachable {
        /// The server.
        url: String,
        /// What the system says.
        reason: String,
    },
    /// The server refused, and says why.
    #[error("{}", .0.detail)]
    Problem(Box<Problem>),
    /// The server did not answer in time.
    #[error("no answer from {url} within {} s", .after.as_secs())]
    Timeout {
        /// The server.
        url: String,
        /// How long the call was willing to wait.
        after: Duration,
    },
    /// The answer makes no sense: another program, or another version, listens there.
    #[error("the answer of {url} is not one of Everstep's API: {reason}")]
    Protocol {
        /// The server.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ClientError {
    /// A stable dotted word; the server's own when it answered.
    #[must_use]
    pub fn code(&self) -> &str {
        match self {
            Self::Address { .. } => "client.address",
            Self::Unreachable { .. } => "server.unreachable",
            Self::Problem(problem) => &problem.code,
            Self::Timeout { .. } => "client.timeout",
            Self::Protocol { .. } => "client.protocol",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::Address { .. } => "give an address like http://127.0.0.1:9090".into(),
            Self::Unreachable { .. } => {
                "start a server with `everstep server`, or name another one with --server or \
                 EVERSTEP_SERVER"
                    .into()
            }
            Self::Problem(problem) => problem.fix.clone(),
            Self::Timeout { .. } => "look at the server's log; it may be overloaded".into(),
            Self::Protocol { .. } => {
                "check that the address is that of an Everstep server of this version".into()
            }
        }
    }

    /// Whether the same call may succeed a moment later: the server is down or restarting.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } => true,
            Self::Problem(problem) => matches!(problem.status, 502..=504),
            Self::Address { .. } | Self::Protocol { .. } => false,
        }
    }
}

/// The sentence at the bottom of an error: what the operating system said.
pub(crate) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    let mut source = error.source();
    while let Some(inner) = source {
        cause = inner;
        source = inner.source();
    }
    cause.to_string()
}
