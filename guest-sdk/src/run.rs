//! What a workflow can do: the [`Run`] that every workflow function gets.

use crate::host::{context, state, timer};
use crate::payload::{decode, encode};
use crate::runtime::Cancelled;
use crate::time::{Timestamp, as_millis};
use crate::{
    ChildHandle, ChildOptions, EventTarget, EventWait, Failure, Logger, Payload, RetryPolicy,
    Sending, Sleep, WorkflowError, WorkflowResult,
};
use serde::{Deserialize, Serialize};
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

    /// The id of the run whose child this is.
    #[must_use]
    pub fn parent(&self) -> Option<String> {
        context::parent()
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

    /// Waits for the next event of this name, which the workflow must declare:
    /// `#[workflow(version = "1", events(approved = Approval))]`. Events are kept until somebody
    /// waits for them, in the order in which they came; each is delivered once.
    ///
    /// ```no_run
    /// # use everstep_sdk::prelude::*;
    /// # #[payload] struct Approval { by: String }
    /// # async fn example(run: Run) {
    /// match run.event::<Approval>("approved").timeout(days(14)).await {
    ///     Awaited::Received(approval) => run.logger().info(approval.by, fields![]),
    ///     Awaited::TimedOut => run.logger().warn("nobody approved", fields![]),
    /// }
    /// # }
    /// ```
    pub fn event<T: Payload>(&self, name: &str) -> EventWait<T> {
        EventWait::new(name)
    }

    /// Sends an event to another run, in this call. Await the result to know whether the run has
    /// it; it receives it once, whatever happens meanwhile.
    pub fn send<T: Serialize>(&self, to: impl Into<EventTarget>, name: &str, data: &T) -> Sending {
        Sending::begin(to.into(), name, data)
    }

    /// Starts a run of a workflow that this crate does not know, by its name, as a child. See
    /// [`Workflow::start_child`](crate::Workflow::start_child) for the others.
    pub fn start_child<I: Serialize, O: Payload>(
        &self,
        workflow: &str,
        input: &I,
        options: ChildOptions,
    ) -> ChildHandle<O> {
        ChildHandle::begin(workflow, input, options)
    }

    /// Shows this to whoever looks at the run, until the next call: how far it is, for example. At
    /// most 16 KiB of JSON; what has no JSON form is not shown.
    pub fn publish(&self, value: impl Serialize) {
        if let Ok(json) = serde_json::to_vec(&value) {
            state::publish(&json);
        }
    }

    /// The value of `compute`, which is recorded: a replay takes it from the journal instead of
    /// computing it again. For what is expensive to compute, or may come out differently in a later
    /// build of the same version.
    ///
    /// # Errors
    /// When the value has no JSON form, or the recorded one does not read as a `T`.
    pub fn side_value<T: Payload>(
        &self,
        name: &str,
        compute: impl FnOnce() -> T,
    ) -> WorkflowResult<T> {
        if let Some(recorded) = state::recall(name) {
            return decode(&recorded, "value.recorded", "the recorded value");
        }
        let value = compute();
        state::record(name, &encode(&value, "value.recorded", "the recorded value")?);
        Ok(value)
    }

    /// What a workflow returns to begin anew with this input, under the same id and with an empty
    /// journal: `return Err(run.continue_as_new(input))`. For runs that go on for ever. Events that
    /// nobody has waited for are kept; what is pending is given up.
    #[must_use = "return it: `return Err(run.continue_as_new(input))`"]
    pub fn continue_as_new(&self, input: impl Serialize) -> WorkflowError {
        Failure::continued(input)
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
