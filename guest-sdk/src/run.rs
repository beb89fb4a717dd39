//! What a workflow can do: the [`Run`] that every workflow function gets.

use crate::handle::Sleep;
use crate::host::{context, timer};
use crate::runtime::Cancelled;
use crate::time::{Timestamp, as_millis};
use crate::{Logger, RetryPolicy};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// A run, seen from inside its workflow. Everything it tells is the same in every replay.
#[derive(Debug, Clone)]
pub struct Run(());

/// The options that a run was started with.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct RunOptions {
    /// The key under which the run was started, if any.
    pub idempotency_key: Option<String>,
    /// When the whole run is tried again after it failed.
    pub retry: Option<RetryPolicy>,
    /// The longest the run may take, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// Searchable labels.
    pub tags: BTreeMap<String, String>,
}

impl Run {
    pub(crate) fn new() -> Self {
        Self(())
    }

    /// The run's id.
    #[must_use]
    pub fn id(&self) -> String {
        context::id()
    }

    /// The workflow's name.
    #[must_use]
    pub fn name(&self) -> String {
        context::name()
    }

    /// The workflow's version.
    #[must_use]
    pub fn version(&self) -> String {
        context::version()
    }

    /// 1 for the first attempt of the run; a retry of the whole run counts up.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        context::attempt()
    }

    /// The options that the run was started with.
    #[must_use]
    pub fn options(&self) -> RunOptions {
        serde_json::from_slice(&context::options()).unwrap_or_default()
    }

    /// The time of the completion that the workflow is handling. It stands still between two
    /// awaits; `SystemTime::now()` gives the same.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(context::now())
    }

    /// The next number of a sequence that is seeded by the run's id. Not secret.
    #[must_use]
    pub fn random(&self) -> u64 {
        context::random()
    }

    /// A UUID (version 4) from [`Run::random`]: the same one in every replay. Not secret.
    #[must_use]
    pub fn uuid(&self) -> String {
        let high = (self.random() & !0xf000) | 0x4000;
        let low = (self.random() & !(0b11 << 62)) | (0b10 << 62);
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            high >> 32,
            high >> 16 & 0xffff,
            high & 0xffff,
            low >> 48,
            low & 0xffff_ffff_ffff
        )
    }

    /// Writes log lines of this run, each once, however often the code is replayed.
    #[must_use]
    pub fn logger(&self) -> Logger {
        Logger::new()
    }

    /// Sleeps durably for `duration`, at most 100 years. The sleep begins with this call, and ends
    /// when it is dropped.
    pub fn sleep(&self, duration: Duration) -> Sleep {
        self.sleep_named("", duration)
    }

    /// [`Run::sleep`] with a name, which is shown while the run sleeps. In a replay the name, not
    /// the length, says which sleep it is.
    pub fn sleep_named(&self, name: &str, duration: Duration) -> Sleep {
        Sleep::started(timer::sleep(as_millis(duration), name))
    }

    /// Sleeps durably until an instant; one that has passed ends the sleep at once.
    pub fn sleep_until(&self, instant: impl Into<Timestamp>) -> Sleep {
        Sleep::started(timer::sleep_until(instant.into().as_millis(), ""))
    }

    /// Resolves with the reason when somebody wants the run to stop.
    ///
    /// A workflow that never calls this is simply dropped on such a request: what it awaits is
    /// cancelled, and the run ends as cancelled. A workflow that has called it, once, anywhere, is
    /// told instead and decides by itself: it can undo what it did, within the grace period of the
    /// request, and return [`WorkflowError::cancelled`](crate::Failure::cancelled) for the run to
    /// end as cancelled; or it finishes its work and the run completes.
    ///
    /// ```no_run
    /// # use everstep_sdk::prelude::*;
    /// # #[task] async fn charge() -> TaskResult<()> { Ok(()) }
    /// # #[task] async fn refund() -> TaskResult<()> { Ok(()) }
    /// # async fn example(run: Run) -> WorkflowResult<()> {
    /// charge.start(&run, ()).await?;
    /// select! {
    ///     () = run.sleep(days(14)) => Ok(()),
    ///     reason = run.cancelled() => {
    ///         refund.start(&run, ()).await?;
    ///         Err(WorkflowError::cancelled(reason))
    ///     }
    /// }
    /// # }
    /// ```
    pub fn cancelled(&self) -> Cancelled {
        Cancelled::new()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn uuids_are_of_version_4() {
        assert_eq!(Run::new().uuid(), "01234567-89ab-4def-8123-456789abcdef");
    }

    #[test]
    fn options_are_read() {
        let options = Run::new().options();
        assert_eq!(options.idempotency_key.unwrap(), "k");
        assert!(
            matches!(options.retry, Some(RetryPolicy::Fixed(fixed)) if fixed.max_attempts == 2)
        );
    }
}
