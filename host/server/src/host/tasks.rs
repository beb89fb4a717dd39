//! Executing task attempts: each in a fresh instance, within its time limits, a bounded number at
//! once. What comes out is data for the run: a value or a failure.

use everstep_core::{Failure, Limits, LogLine, OpId, Payload, RunId, TaskCall};
use everstep_engine::{Module, TaskOutcome, TaskRun};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How often an attempt is made again when the host, not the task, got in its way.
const HOST_TRIES: u32 = 5;
/// The pause before the first of those, doubled for each further one.
const HOST_PAUSE: Duration = Duration::from_millis(50);

/// A task attempt that ended.
#[derive(Debug, Clone)]
pub(super) struct Ended {
    pub(super) op: OpId,
    pub(super) result: Result<Payload, Failure>,
    pub(super) logs: Vec<LogLine>,
}

impl Ended {
    /// About how much it adds to a commit.
    pub(super) fn bytes(&self) -> usize {
        let line =
            |line: &LogLine| line.message.len() + line.fields.as_ref().map_or(0, Payload::len);
        self.result.as_ref().map_or(0, Payload::len) + self.logs.iter().map(line).sum::<usize>()
    }

    /// An attempt that the host could not make.
    pub(super) fn host_failed(op: OpId, why: &str) -> Self {
        let failure = Failure::new("task.host", format!("the host could not run the task: {why}"));
        Self { op, result: Err(failure), logs: Vec::new() }
    }
}

/// Executes one attempt. The time that it waits for a permit counts towards the limit for all
/// attempts, but not towards its own.
pub(super) async fn execute(
    module: Arc<Module>,
    run: RunId,
    limits: Limits,
    call: TaskCall,
    permits: Arc<Semaphore>,
) -> Ended {
    let op = call.op;
    let deadline = call.remaining_ms.map(|ms| Instant::now() + Duration::from_millis(ms));
    let Ok(_permit) = permits.acquire().await else {
        return Ended::host_failed(op, "it is shutting down");
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
        };
        match module.run_task(task).await {
            Ok(TaskOutcome { result, logs }) => return Ended { op, result, logs },
            Err(error) if tries >= HOST_TRIES => return Ended::host_failed(op, &error.to_string()),
            Err(error) => tracing::warn!(%run, %op, %error, "a task did not start"),
        }
        tries += 1;
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
}
