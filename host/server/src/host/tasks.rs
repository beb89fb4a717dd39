//! Executing task attempts: each in a fresh instance, within its time limits, a bounded number at
//! once. What comes out is data for the run: a value or a failure.

use super::gates::Gates;
use crate::link::HostLink;
use everstep_core::{Failure, Limits, LogLine, OpId, Payload, RunId, TaskCall};
use everstep_engine::{Module, TaskControl, TaskOutcome, TaskRun};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// How often an attempt is made again when the host, not the task, got in its way.
const HOST_TRIES: u32 = 5;
/// The pause before the first of those, doubled for each further one.
const HOST_PAUSE: Duration = Duration::from_millis(50);

/// How often the progress of a task is passed on.
const PROGRESS: Duration = Duration::from_millis(500);

/// A task attempt that ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) op: OpId,
    /// From 1.
    pub(super) attempt: u32,
    pub(super) result: Result<Payload, Failure>,
    pub(super) logs: Vec<LogLine>,
    /// What the last heartbeat said.
    pub(super) progress: Option<Payload>,
}

impl Ended {
    /// About how much it adds to a commit.
    pub(super) fn bytes(&self) -> usize {
        let line =
            |line: &LogLine| line.message.len() + line.fields.as_ref().map_or(0, Payload::len);
        self.result.as_ref().map_or(0, Payload::len) + self.logs.iter().map(line).sum::<usize>()
    }

    /// An attempt that the host could not make.
    pub(super) fn host_failed(op: OpId, attempt: u32, why: &str) -> Self {
        let failure = Failure::new("task.host", format!("the host could not run the task: {why}"));
        Self { op, attempt, result: Err(failure), logs: Vec::new(), progress: None }
    }
}

/// Passes on what the task says of itself.
async fn tell_progress(
    link: &dyn HostLink,
    run: RunId,
    op: OpId,
    control: &TaskControl,
) -> Infallible {
    let mut told = None;
    loop {
        tokio::time::sleep(PROGRESS).await;
        let last = control.last_beat();
        if last != told {
            told = last;
            link.progress(run, op, control.progress()).await;
        }
    }
}

/// What a task said of itself is forgotten when it is over, however it ends.
struct Silence {
    link: Arc<dyn HostLink>,
    run: RunId,
    op: OpId,
    control: TaskControl,
}

impl Drop for Silence {
    fn drop(&mut self) {
        if self.control.last_beat().is_none() {
            return;
        }
        let (link, run, op) = (Arc::clone(&self.link), self.run, self.op);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { link.progress(run, op, None).await });
        }
    }
}

/// Everything that executing an attempt takes.
pub(super) struct Execution {
    pub(super) module: Arc<Module>,
    pub(super) run: RunId,
    pub(super) limits: Limits,
    pub(super) call: TaskCall,
    pub(super) control: TaskControl,
    pub(super) permits: Arc<Semaphore>,
    pub(super) gates: Arc<Gates>,
    pub(super) link: Arc<dyn HostLink>,
}

/// Executes one attempt. The time that it waits for a permit counts towards the limit for all
/// attempts, but not towards its own.
pub(super) async fn execute(execution: Execution) -> Ended {
    let Execution { module, run, limits, call, control, permits, gates, link } = execution;
    let (op, attempt) = (call.op, call.attempt);
    let deadline = call.remaining_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
    let _silence = Silence { link: Arc::clone(&link), run, op, control: control.clone() };
    let definition = module.manifest().task(&call.name).cloned();
    let longest = call.remaining_ms.map_or(Duration::MAX, Duration::from_millis);
    let _place = match &definition {
        // Whoever waits longer than it may runs into its time limit below.
        Some(task) => tokio::time::timeout(longest, gates.pass(task)).await.unwrap_or_default(),
        None => None,
    };
    let Ok(_permit) = permits.acquire().await else {
        return Ended::host_failed(op, attempt, "it is shutting down");
    };
    let mut pause = HOST_PAUSE;
    let mut tries = 1;
    loop {
        let left = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let own = call.attempt_timeout_ms.map(Duration::from_millis);
        let task = TaskRun {
            name: call.name.clone(),
            input: call.input.clone(),
            run_id: run,
            op,
            attempt: call.attempt,
            idempotency_token: call.idempotency_token.clone(),
            limits,
            timeout: [left, own].into_iter().flatten().min(),
            progress: call.progress.clone(),
            control: control.clone(),
        };
        let ended = tokio::select! {
            ended = module.run_task(task) => ended,
            never = tell_progress(&*link, run, op, &control) => match never {},
        };
        match ended {
            Ok(TaskOutcome { result, logs }) => {
                let progress = control.progress();
                return Ended { op, attempt, result, logs, progress };
            }
            Err(error) if tries >= HOST_TRIES => {
                return Ended::host_failed(op, attempt, &error.to_string());
            }
            Err(error) => tracing::warn!(%run, %op, %error, "a task did not start"),
        }
        tries += 1;
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}
