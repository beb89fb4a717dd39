//! Retry policies and task options as authors write them, and their forms in the manifest (JSON,
//! milliseconds) and in the contract (WIT).

use crate::host::task as wit;
use crate::time::as_millis;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// When to try again.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "Wire", into = "Wire")]
pub enum RetryPolicy {
    /// One attempt, no retry.
    Never,
    /// The same wait before every retry.
    Fixed(Fixed),
    /// A wait that grows with every retry.
    Exponential(Exponential),
}

/// Retries after a constant delay.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fixed {
    /// Attempts in all, the first one included.
    pub max_attempts: u32,
    /// The wait before each retry.
    pub delay: Duration,
}

/// Retries after `initial`, `initial * factor`, `initial * factor²` … and at most `max_delay`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exponential {
    /// Attempts in all, the first one included.
    pub max_attempts: u32,
    /// The wait before the first retry.
    pub initial: Duration,
    /// How much longer each wait is than the one before; 1 to 1,000.
    pub factor: f64,
    /// The longest wait.
    pub max_delay: Duration,
    /// Draws each wait evenly from the upper half of its value, so that many do not retry at once.
    pub jitter: bool,
}

/// How one execution of a task differs from what its `#[task]` attribute says.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct TaskOptions {
    /// When to try again.
    pub retry: Option<RetryPolicy>,
    /// The longest one attempt may take.
    pub attempt_timeout: Option<Duration>,
    /// The longest all attempts may take together.
    pub total_timeout: Option<Duration>,
}

impl Default for Fixed {
    /// 10 attempts, a second apart.
    fn default() -> Self {
        Self { max_attempts: 10, delay: Duration::from_secs(1) }
    }
}

impl Default for Exponential {
    /// 10 attempts, 1 s doubling up to 1 min: what tasks do unless told otherwise.
    fn default() -> Self {
        Self {
            max_attempts: 10,
            initial: Duration::from_secs(1),
            factor: 2.0,
            max_delay: Duration::from_secs(60),
            jitter: false,
        }
    }
}

impl From<Fixed> for RetryPolicy {
    fn from(fixed: Fixed) -> Self {
        Self::Fixed(fixed)
    }
}

impl From<Exponential> for RetryPolicy {
    fn from(exponential: Exponential) -> Self {
        Self::Exponential(exponential)
    }
}

/// The JSON form, as `wit/definitions.wit` documents it.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Wire {
    Never,
    Fixed {
        max_attempts: u32,
        delay_ms: u64,
    },
    Exponential {
        max_attempts: u32,
        initial_ms: u64,
        factor: f64,
        max_delay_ms: u64,
        #[serde(default)]
        jitter: bool,
    },
}

impl From<RetryPolicy> for Wire {
    fn from(policy: RetryPolicy) -> Self {
        match policy {
            RetryPolicy::Never => Self::Never,
            RetryPolicy::Fixed(Fixed { max_attempts, delay }) => {
                Self::Fixed { max_attempts, delay_ms: as_millis(delay) }
            }
            RetryPolicy::Exponential(e) => Self::Exponential {
                max_attempts: e.max_attempts,
                initial_ms: as_millis(e.initial),
                factor: e.factor,
                max_delay_ms: as_millis(e.max_delay),
                jitter: e.jitter,
            },
        }
    }
}

impl From<Wire> for RetryPolicy {
    fn from(wire: Wire) -> Self {
        match wire {
            Wire::Never => Self::Never,
            Wire::Fixed { max_attempts, delay_ms } => {
                Self::Fixed(Fixed { max_attempts, delay: Duration::from_millis(delay_ms) })
            }
            Wire::Exponential { max_attempts, initial_ms, factor, max_delay_ms, jitter } => {
                Self::Exponential(Exponential {
                    max_attempts,
                    initial: Duration::from_millis(initial_ms),
                    factor,
                    max_delay: Duration::from_millis(max_delay_ms),
                    jitter,
                })
            }
        }
    }
}

impl From<RetryPolicy> for wit::RetryPolicy {
    fn from(policy: RetryPolicy) -> Self {
        match policy {
            RetryPolicy::Never => Self::Never,
            RetryPolicy::Fixed(Fixed { max_attempts, delay }) => {
                Self::Fixed(wit::FixedRetry { max_attempts, delay: as_millis(delay) })
            }
            RetryPolicy::Exponential(e) => Self::Exponential(wit::ExponentialRetry {
                max_attempts: e.max_attempts,
                initial: as_millis(e.initial),
                factor: e.factor,
                max_delay: as_millis(e.max_delay),
                jitter: e.jitter,
            }),
        }
    }
}

impl From<TaskOptions> for wit::Options {
    fn from(options: TaskOptions) -> Self {
        Self {
            retry: options.retry.map(Into::into),
            attempt_timeout: options.attempt_timeout.map(as_millis),
            total_timeout: options.total_timeout.map(as_millis),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_json_form_is_the_documented_one() {
        let policy = RetryPolicy::from(Exponential { max_attempts: 5, ..Exponential::default() });
        let json = serde_json::to_string(&policy).unwrap();
        assert_eq!(
            json,
            r#"{"kind":"exponential","max_attempts":5,"initial_ms":1000,"factor":2.0,"max_delay_ms":60000,"jitter":false}"#
        );
        assert_eq!(serde_json::from_str::<RetryPolicy>(&json).unwrap(), policy);
        assert_eq!(serde_json::to_string(&RetryPolicy::Never).unwrap(), r#"{"kind":"never"}"#);
    }
}
