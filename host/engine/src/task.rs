//! Running tasks: each attempt in a fresh instance with the real WASI, outbound HTTP to granted
//! hosts, no files, no environment, no sockets. It yields to other work with every tick of the
//! epoch, so a task that computes does not keep a thread to itself.

mod http;
mod stdio;

use self::http::Gate;
use self::stdio::Printer;
use crate::bindings::everstep::workflow::types;
use crate::bindings::exports::task::AttemptInfo;
use crate::budget::MemoryBudget;
use crate::component::hostcall_bytes;
use crate::config::Secrets;
use crate::control::TaskControl;
use crate::error::{ActivationError, TaskError};
use crate::fault::{cut, describe, host_error};
use crate::logs::{Clock, LogBuffer};
use crate::module::{Code, Module};
use everstep_core::manifest::TaskDefinition;
use everstep_core::{Failure, Limits, LogLine, OpId, Payload, RunId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use wasmtime::Store;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// Open resources of one task: streams, requests, bodies.
const RESOURCES: usize = 10_000;

/// One attempt of a task.
#[derive(Debug, Clone)]
pub struct TaskRun {
    /// The task's name.
    pub name: String,
    /// Its input.
    pub input: Payload,
    /// The run that asked.
    pub run_id: RunId,
    /// The operation that it is.
    pub op: OpId,
    /// From 1.
    pub attempt: u32,
    /// The same for every attempt of this execution (`run-id/op`).
    pub idempotency_token: String,
    /// The bounds of the run.
    pub limits: Limits,
    /// The longest the attempt may take; none for the engine's maximum.
    pub timeout: Option<Duration>,
    /// The last progress of the attempt before this one.
    pub progress: Option<Payload>,
    /// The line to whoever executes it.
    pub control: TaskControl,
}

/// What became of an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskOutcome {
    /// The task's output, or why there is none.
    pub result: Result<Payload, Failure>,
    /// What it wrote.
    pub logs: Vec<LogLine>,
}

/// The log of an attempt, which outlives its instance: an attempt that runs into its time limit
/// still tells what it did.
#[derive(Clone)]
pub(crate) struct SharedLogs(Arc<Mutex<LogBuffer>>);

impl SharedLogs {
    pub(crate) fn with<T>(&self, use_logs: impl FnOnce(&mut LogBuffer) -> T) -> T {
        use_logs(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The data of a task instance's store.
pub(crate) struct TaskState {
    wasi: WasiCtx,
    http: WasiHttpCtx,
    gate: Gate,
    table: ResourceTable,
    pub(crate) logs: SharedLogs,
    budget: MemoryBudget,
    pub(crate) control: TaskControl,
    pub(crate) progress: Option<Payload>,
    /// Those that it is granted.
    pub(crate) secrets: BTreeMap<String, String>,
}

impl TaskState {
    fn new(task: &TaskDefinition, run: &TaskRun, logs: &SharedLogs, secrets: &Secrets) -> Self {
        let granted = |name: &String| Some((name.clone(), secrets.get(name)?.clone()));
        let mut table = ResourceTable::new();
        table.set_max_capacity(RESOURCES);
        Self {
            wasi: WasiCtx::builder()
                .stdout(Printer::stdout(logs))
                .stderr(Printer::stderr(logs))
                .allow_tcp(false)
                .allow_udp(false)
                .build(),
            http: WasiHttpCtx::new(),
            gate: Gate::new(&task.name, task.grants.hosts.clone(), logs),
            table,
            logs: logs.clone(),
            budget: MemoryBudget::new(run.limits.memory_bytes),
            control: run.control.clone(),
            progress: run.progress.clone(),
            secrets: task.grants.secrets.iter().filter_map(granted).collect(),
        }
    }
}

impl WasiView for TaskState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for TaskState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.gate }
    }
}

impl Module {
    /// Runs one attempt of a task to its end. Needs a tokio runtime. Dropping the future stops it.
    ///
    /// # Errors
    /// When the host has no room for it. What the task does wrong is part of the outcome.
    pub async fn run_task(&self, run: TaskRun) -> Result<TaskOutcome, TaskError> {
        let logs = LogBuffer::new(Clock::Real, Some(run.op), run.attempt, &run.limits);
        let logs = SharedLogs(Arc::new(Mutex::new(logs)));
        let result = match self.manifest().task(&run.name) {
            Some(task) => self.attempt(task, &run, &logs).await?,
            None => Err(self.unknown_task(&run.name)),
        };
        Ok(TaskOutcome { result, logs: logs.with(LogBuffer::take) })
    }

    async fn attempt(
        &self,
        task: &TaskDefinition,
        run: &TaskRun,
        logs: &SharedLogs,
    ) -> Result<Result<Payload, Failure>, TaskError> {
        let longest = self.shared.options.task_timeout_max;
        let timeout = run.timeout.unwrap_or(longest).min(longest);
        let component = match self.code() {
            Code::Component(component) => component,
            Code::Scripted(script) => {
                return Ok(tokio::time::timeout(timeout, script.run_task(run.clone()))
                    .await
                    .unwrap_or_else(|_| Err(late(timeout))));
            }
        };
        let state = TaskState::new(task, run, logs, &self.shared.options.secrets);
        let mut store = self.task_store(state, &run.limits);
        let info = AttemptInfo {
            run_id: run.run_id.to_string(),
            attempt: run.attempt,
            idempotency_token: run.idempotency_token.clone(),
        };
        let call = async {
            let guest = component.task.instantiate_async(&mut store).await?;
            let input = run.input.as_str().as_bytes().to_vec();
            guest.task().call_run(&mut store, &run.name, &input, &info).await
        };
        let call = async {
            match task.heartbeat_timeout_ms.map(Duration::from_millis) {
                None => Ok(call.await),
                Some(limit) => tokio::select! {
                    ended = call => Ok(ended),
                    () = silence(&run.control, limit) => Err(silent(limit)),
                },
            }
        };
        let called = match tokio::time::timeout(timeout, call).await {
            Ok(Err(failure)) => return Ok(Err(failure)),
            Ok(Ok(called)) => Ok(called),
            Err(elapsed) => Err(elapsed),
        };
        match called {
            Ok(Ok(Ok(output))) => Ok(output_of(&output, &run.limits)),
            Ok(Ok(Err(failure))) => Ok(Err(failure_of(failure, &run.limits))),
            Ok(Err(error)) => trapped(&error, logs).map(Err),
            Err(_) => Ok(Err(late(timeout))),
        }
    }

    fn task_store(&self, state: TaskState, limits: &Limits) -> Store<TaskState> {
        let mut store = Store::new(&self.shared.wasmtime, state);
        store.limiter(|state| &mut state.budget);
        store.set_hostcall_fuel(hostcall_bytes(limits.payload_bytes));
        // A task is bounded by its time limit. Fuel is part of the configuration, so setting it
        // cannot fail.
        let _ = store.set_fuel(u64::MAX);
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store
    }

    fn unknown_task(&self, name: &str) -> Failure {
        let known: Vec<&str> = self.manifest().tasks.iter().map(|it| it.name.as_str()).collect();
        let message = format!("the module has no task `{name}`; it lists {}", known.join(", "));
        Failure::new("task.unknown", message).not_retryable()
    }
}

/// Waits until an attempt has been silent for too long.
async fn silence(control: &TaskControl, limit: Duration) {
    let began = Instant::now();
    loop {
        let last = control.last_beat().unwrap_or(began).max(began);
        let left = limit.saturating_sub(last.elapsed());
        if left.is_zero() {
            return;
        }
        tokio::time::sleep(left).await;
    }
}

fn late(limit: Duration) -> Failure {
    let message = format!("the attempt did not end within {} ms", limit.as_millis());
    Failure::new("task.timeout", message)
}

fn silent(limit: Duration) -> Failure {
    let message = format!("the attempt sent no heartbeat for {} ms", limit.as_millis());
    Failure::new("task.heartbeat", message)
}

fn trapped(error: &wasmtime::Error, logs: &SharedLogs) -> Result<Failure, TaskError> {
    match host_error(error) {
        Some(ActivationError::Capacity) => return Err(TaskError::Capacity),
        Some(ActivationError::OutOfMemory(reason)) => return Err(TaskError::OutOfMemory(reason)),
        _ => {}
    }
    let last_words = logs.with(LogBuffer::last_words);
    let summary = format!("the task trapped: {}", error.root_cause());
    Ok(Failure::new("task.trap", describe(error, &summary, &last_words)))
}

fn output_of(output: &[u8], limits: &Limits) -> Result<Payload, Failure> {
    if output.len() as u64 > limits.payload_bytes {
        let message = format!(
            "the output of the task has {} bytes; the limit is {}",
            output.len(),
            limits.payload_bytes
        );
        return Err(Failure::new("limit.payload_bytes", message).not_retryable());
    }
    Payload::from_bytes(output).map_err(|error| {
        Failure::new("task.output", format!("the output of the task is {error}")).not_retryable()
    })
}

/// The failure that the task returned, within the limits.
fn failure_of(failure: types::Failure, limits: &Limits) -> Failure {
    let limit = usize::try_from(limits.payload_bytes).unwrap_or(usize::MAX);
    let types::Failure { mut code, mut message, details, retryable } = failure;
    cut(&mut code, 256);
    cut(&mut message, limit);
    let details = details
        .filter(|details| details.len() <= limit)
        .and_then(|details| Payload::from_bytes(&details).ok());
    Failure { code, message, details, retryable }
}
