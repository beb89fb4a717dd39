//! Retry policies and the arithmetic of delays. Pure: the jitter comes from a seed, so the same
//! attempt of the same operation waits equally long wherever it is computed.

use serde::{Deserialize, Serialize};

/// When to try again. `max_attempts` counts the first attempt, too.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RetryPolicy {
    /// One attempt, no retry.
    Never,
    /// The same wait before every retry.
    Fixed {
        /// Attempts in all.
        max_attempts: u32,
        /// Milliseconds before each retry.
        delay_ms: u64,
    },
    /// The n-th retry waits `initial_ms * factor^(n-1)`, at most `max_delay_ms`.
    Exponential {
        /// Attempts in all.
        max_attempts: u32,
        /// Milliseconds before the first retry.
        initial_ms: u64,
        /// How much longer each wait is than the one before; at least 1.
        factor: f64,
        /// The longest wait in milliseconds.
        max_delay_ms: u64,
        /// Draw each wait evenly from the upper half of its value.
        #[serde(default)]
        jitter: bool,
    },
}

impl RetryPolicy {
    /// What tasks do unless told otherwise: 10 attempts, 1 s doubling up to 1 min.
    pub const TASK_DEFAULT: Self = Self::Exponential {
        max_attempts: 10,
        initial_ms: 1_000,
        factor: 2.0,
        max_delay_ms: 60_000,
        jitter: false,
    };

    /// How many attempts there are in all; at least 1.
    #[must_use]
    pub fn max_attempts(&self) -> u32 {
        match *self {
            Self::Never => 1,
            Self::Fixed { max_attempts, .. } | Self::Exponential { max_attempts, .. } => {
                max_attempts.max(1)
            }
        }
    }

    /// Milliseconds to wait after attempt number `failed` (from 1) failed; none when it was the
    /// last. `seed` decides the jitter.
    #[must_use]
    pub fn delay_after(&self, failed: u32, seed: u64) -> Option<u64> {
        if failed >= self.max_attempts() {
            return None;
        }
        match *self {
            Self::Never => None,
            Self::Fixed { delay_ms, .. } => Some(delay_ms),
            Self::Exponential { initial_ms, factor, max_delay_ms, jitter, .. } => {
                let exponent = i32::try_from(failed.saturating_sub(1)).unwrap_or(i32::MAX);
                let wait = initial_ms as f64 * factor.max(1.0).powi(exponent);
                // A float over the range of u64 becomes its maximum, which the bound then cuts.
                let wait = (wait as u64).min(max_delay_ms);
                Some(if jitter { jittered(wait, seed ^ u64::from(failed)) } else { wait })
            }
        }
    }

    /// Says what is wrong with a policy that came from outside.
    ///
    /// # Errors
    /// A sentence naming the field.
    pub fn check(&self) -> Result<(), String> {
        match *self {
            Self::Fixed { max_attempts: 0, .. } | Self::Exponential { max_attempts: 0, .. } => {
                Err("max_attempts must be at least 1".into())
            }
            Self::Exponential { factor, .. } if !(1.0..=1_000.0).contains(&factor) => {
                Err("factor must be between 1 and 1000".into())
            }
            _ => Ok(()),
        }
    }
}

/// An even draw from `[wait / 2, wait]` by the splitmix64 mixing function
/// (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
fn jittered(wait: u64, seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    let half = wait / 2;
    half + z % (wait - half + 1)
}

/// How a task is to be executed. What is absent falls back to the manifest, then to the defaults.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct TaskOptions {
    /// When to try again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// The longest one attempt may take, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_timeout_ms: Option<u64>,
    /// The longest all attempts may take together, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_timeout_ms: Option<u64>,
}

impl TaskOptions {
    /// These options where they say something, `defaults` elsewhere.
    #[must_use]
    pub fn or(self, defaults: Self) -> Self {
        Self {
            retry: self.retry.or(defaults.retry),
            attempt_timeout_ms: self.attempt_timeout_ms.or(defaults.attempt_timeout_ms),
            total_timeout_ms: self.total_timeout_ms.or(defaults.total_timeout_ms),
        }
    }

    /// The policy that applies.
    #[must_use]
    pub fn retry_policy(&self) -> RetryPolicy {
        self.retry.unwrap_or(RetryPolicy::TASK_DEFAULT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_follow_the_policy() {
        let fixed = RetryPolicy::Fixed { max_attempts: 3, delay_ms: 250 };
        let delays: Vec<_> = (1..=3).map(|n| fixed.delay_after(n, 0)).collect();
        assert_eq!(delays, [Some(250), Some(250), None]);
        let delays: Vec<_> =
            (1..=10).map(|n| RetryPolicy::TASK_DEFAULT.delay_after(n, 0)).collect();
        let seconds = |s: u64| Some(s * 1_000);
        let expected = [1, 2, 4, 8, 16, 32, 60, 60, 60].map(seconds);
        assert_eq!(delays[..9], expected);
        assert_eq!(delays[9], None);
        assert_eq!(RetryPolicy::Never.delay_after(1, 0), None);
    }

    #[test]
    fn huge_policies_saturate() {
        let policy = RetryPolicy::Exponential {
            max_attempts: u32::MAX,
            initial_ms: u64::MAX,
            factor: 1_000.0,
            max_delay_ms: u64::MAX,
            jitter: true,
        };
        assert!(policy.delay_after(u32::MAX - 1, 3).is_some());
    }

    #[test]
    fn jitter_stays_in_the_upper_half_and_is_reproducible() {
        let policy = RetryPolicy::Exponential {
            max_attempts: 100,
            initial_ms: 1_000,
            factor: 1.0,
            max_delay_ms: 1_000,
            jitter: true,
        };
        let draw = |seed| policy.delay_after(1, seed).unwrap_or_default();
        let draws: Vec<u64> = (0..200).map(draw).collect();
        assert!(draws.iter().all(|d| (500..=1_000).contains(d)));
        assert!(draws.iter().any(|d| *d < 600) && draws.iter().any(|d| *d > 900));
        assert_eq!(draw(42), draw(42));
    }
}
