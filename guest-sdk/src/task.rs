//! Tasks: what `#[task]` makes of a function, how a workflow starts it, and what it is told about
//! its execution.

use crate::handle::TaskHandle;
use crate::module::StartInsteadOfCalling;
use crate::payload::encode;
use crate::retry::TaskOptions;
use crate::{Logger, Payload, RetryPolicy, Run, TaskResult, host};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;

/// What `#[task]` says of a function. Authors use [`Task`].
pub trait TaskDefinition: 'static {
    /// What it takes.
    type Input: Payload;
    /// What it gives when it succeeds.
    type Output: Payload;
    /// The name under which it is known to the host.
    const NAME: &'static str;

    /// What else the manifest says of it.
    fn settings() -> TaskSettings;

    /// Executes it. Called by the host in an instance of its own, never inside a workflow.
    fn execute(
        context: TaskContext,
        input: Self::Input,
    ) -> impl Future<Output = TaskResult<Self::Output>>;
}

/// A task: the name of an async fn with `#[task]`, as in
/// `send_email.start(&run, input).await?`.
pub trait Task: Copy {
    /// Its definition.
    type Definition: TaskDefinition;

    /// Starts the task in this call. Await the handle for its output; drop it to cancel the task.
    fn start(self, run: &Run, input: InputOf<Self>) -> TaskHandle<OutputOf<Self>> {
        self.options(TaskOptions::default()).start(run, input)
    }

    /// Calls the function itself, as a unit test does: nothing is recorded and nothing retried.
    fn call(self, input: InputOf<Self>) -> impl Future<Output = TaskResult<OutputOf<Self>>> {
        Self::Definition::execute(TaskContext::new("test", 1, "test/1"), input)
    }

    /// This task with other options than its attribute says.
    fn options(self, options: TaskOptions) -> ConfiguredTask<Self> {
        ConfiguredTask { task: self, options }
    }

    /// This task with another retry policy.
    fn retry(self, policy: impl Into<RetryPolicy>) -> ConfiguredTask<Self> {
        self.options(TaskOptions::default()).retry(policy)
    }

    /// This task with a limit on the time that one attempt may take.
    fn attempt_timeout(self, limit: Duration) -> ConfiguredTask<Self> {
        self.options(TaskOptions::default()).attempt_timeout(limit)
    }

    /// This task with a limit on the time that all attempts may take together.
    fn total_timeout(self, limit: Duration) -> ConfiguredTask<Self> {
        self.options(TaskOptions::default()).total_timeout(limit)
    }
}

/// `#[task]` leaves a function that nobody but this crate can call; its result is the definition.
impl<F, D> Task for F
where
    F: Fn(StartInsteadOfCalling) -> D + Copy,
    D: TaskDefinition,
{
    type Definition = D;
}

/// What the task `T` takes.
pub type InputOf<T> = <<T as Task>::Definition as TaskDefinition>::Input;
/// What the task `T` gives.
pub type OutputOf<T> = <<T as Task>::Definition as TaskDefinition>::Output;

/// A task with options for the next start; made by [`Task::options`], [`Task::retry`] and so on.
#[derive(Debug, Clone, Copy)]
#[must_use = "options take effect with `.start(&run, input)`"]
pub struct ConfiguredTask<T> {
    task: T,
    options: TaskOptions,
}

impl<T: Task> ConfiguredTask<T> {
    /// Starts the task; see [`Task::start`].
    pub fn start(self, _run: &Run, input: InputOf<T>) -> TaskHandle<OutputOf<T>> {
        match encode(&input, "task.input", "the input of the task") {
            Ok(json) => {
                let name = T::Definition::NAME;
                TaskHandle::started(host::task::start(name, &json, self.options.into()))
            }
            Err(failure) => TaskHandle::refused(failure),
        }
    }

    /// See [`Task::call`]; the options play no part in it.
    pub fn call(self, input: InputOf<T>) -> impl Future<Output = TaskResult<OutputOf<T>>> {
        self.task.call(input)
    }

    /// Sets the retry policy.
    pub fn retry(mut self, policy: impl Into<RetryPolicy>) -> Self {
        self.options.retry = Some(policy.into());
        self
    }

    /// Limits the time that one attempt may take.
    pub fn attempt_timeout(mut self, limit: Duration) -> Self {
        self.options.attempt_timeout = Some(limit);
        self
    }

    /// Limits the time that all attempts may take together.
    pub fn total_timeout(mut self, limit: Duration) -> Self {
        self.options.total_timeout = Some(limit);
        self
    }
}

/// What a task is told about its execution. A task function that wants it takes it as an argument
/// beside its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskContext {
    run_id: String,
    attempt: u32,
    idempotency_token: String,
}

impl TaskContext {
    /// A context; unit tests make their own to call a task function with it.
    pub fn new(
        run_id: impl Into<String>,
        attempt: u32,
        idempotency_token: impl Into<String>,
    ) -> Self {
        Self { run_id: run_id.into(), attempt, idempotency_token: idempotency_token.into() }
    }

    /// The run that asked for the task.
    #[must_use]
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// 1 for the first attempt.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The same for every attempt of this execution and for no other: pass it on as an idempotency
    /// key, because a task may run more than once although its outcome is recorded once.
    #[must_use]
    pub fn idempotency_token(&self) -> &str {
        &self.idempotency_token
    }

    /// Writes log lines of the run that asked.
    #[must_use]
    pub fn logger(&self) -> Logger {
        Logger::new()
    }

    /// Says that the task is alive, and how far it is. Operators see it, and the next attempt gets
    /// it from [`TaskContext::progress`]. At most 64 KiB of JSON; what has no JSON form is not said.
    pub fn heartbeat(&self, progress: impl Serialize) {
        if let Ok(json) = serde_json::to_vec(&progress) {
            host::control::heartbeat(&json);
        }
    }

    /// What the last heartbeat of the attempt before this one said, if there was one that reads as
    /// a `T`.
    #[must_use]
    pub fn progress<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&host::control::progress()?).ok()
    }

    /// Whether nobody wants the outcome any more. A task that looks has ten seconds to clean up
    /// from then on; one that never looks is stopped at once.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        host::control::is_cancelled()
    }

    /// A secret of the server that this task is granted (`secrets = ["…"]`).
    ///
    /// # Errors
    /// When the server has none of that name, or the task does not ask for it.
    pub fn secret(&self, name: &str) -> TaskResult<String> {
        host::control::secret(name).ok_or_else(|| {
            let message = format!(
                "there is no secret `{name}`: give it to the server (`--secret {name}=@FILE`) and list \
                 it on the task (`secrets = [\"{name}\"]`)"
            );
            crate::Failure::new("secret.missing", message).not_retryable()
        })
    }
}

/// What the manifest says of a task beside its name and its types.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TaskSettings {
    /// For people; empty for none.
    pub description: &'static str,
    /// How it is executed unless the workflow says otherwise.
    pub options: TaskOptions,
    /// The hosts that it may reach by HTTP: `name`, `name:port` or `name:*`.
    pub hosts: Vec<String>,
    /// The secrets of the server that it may ask for.
    pub secrets: Vec<String>,
    /// The longest an attempt may be without a heartbeat.
    pub heartbeat_timeout: Option<Duration>,
    /// How many attempts a host executes at once.
    pub concurrency: Option<u32>,
    /// How many attempts a host begins in a time.
    pub rate: Option<Rate>,
}

/// At most so many in a time, evenly spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub tasks: u32,
    /// In how long.
    pub per: Duration,
}
