//! What operators ask of a run: cancel, terminate, pause, resume, wake, retry. The state machine decides from the record;
//! when the run moved on meanwhile, the decision is made again.

use super::{Service, ServiceError};
use everstep_core::api::{CancelBody, ReasonBody, RetryBody, RunView, TaskOutcomeBody};
use everstep_core::event::SetOutcome;
use everstep_core::{External, Payload, Record, Refusal, RunId, StateKind};
use everstep_store::StoreError;
use std::time::Duration;

/// How long a cancelled run may clean up unless told otherwise, in milliseconds.
const GRACE_MS: u64 = 30_000;
/// The longest it may be told, in milliseconds.
const LONGEST_GRACE_MS: u64 = 24 * 60 * 60 * 1_000;
/// The longest reason of a cancellation, in bytes.
const LONGEST_REASON: usize = 4_096;
/// How often a decision is made again because the run moved on.
const MAX_TRIES: u32 = 32;

/// What somebody wants of a run.
#[derive(Clone, Copy)]
enum Wish<'a> {
    This(&'a External),
    /// To try it again with these outcomes. They are for operations of the very attempt that failed,
    /// so those are found in the record that is decided on.
    RetryWith(&'a [TaskOutcomeBody]),
}

impl Service {
    /// Asks a run to stop. Asking again changes nothing and succeeds.
    ///
    /// # Errors
    /// When there is no such run or it has ended otherwise.
    pub async fn cancel(&self, run: RunId, body: CancelBody) -> Result<RunView, ServiceError> {
        self.ask(run, &cancellation(body)?).await
    }

    /// Ends a run at once, without telling its workflow.
    ///
    /// # Errors
    /// When there is no such run or it has ended otherwise.
    pub async fn terminate(&self, run: RunId, body: ReasonBody) -> Result<RunView, ServiceError> {
        let reason = reason(body)?;
        self.ask(run, &External::Terminate { reason }).await
    }

    /// Lets a run stand still: what is under way ends, nothing new begins. Asking again changes
    /// nothing.
    ///
    /// # Errors
    /// When there is no such run, it has ended or is stuck.
    pub async fn pause(&self, run: RunId, body: ReasonBody) -> Result<RunView, ServiceError> {
        let reason = reason(body)?;
        self.ask(run, &External::Pause { reason }).await
    }

    /// Lets a paused run go on.
    ///
    /// # Errors
    /// When there is no such run or it is not paused.
    pub async fn resume(&self, run: RunId) -> Result<RunView, ServiceError> {
        self.ask(run, &External::Resume).await
    }

    /// Ends the sleep of a sleeping run that would end first.
    ///
    /// # Errors
    /// When there is no such run or it does not sleep.
    pub async fn wake(&self, run: RunId) -> Result<RunView, ServiceError> {
        self.ask(run, &External::Wake).await
    }

    /// Continues a run that is stuck, after what stopped it was mended, or tries a failed one
    /// again. Outcomes can be given to tasks that failed.
    ///
    /// # Errors
    /// When there is no such run, it is neither stuck nor failed, or a task that is given an
    /// outcome has not failed.
    pub async fn retry(&self, run: RunId, body: RetryBody) -> Result<RunView, ServiceError> {
        if body.outcomes.is_empty() {
            return self.ask(run, &External::Retry { outcomes: Vec::new() }).await;
        }
        self.decide(run, Wish::RetryWith(&body.outcomes)).await
    }

    /// Finds the operations that are meant.
    async fn outcomes(
        &self,
        record: &Record,
        wanted: &[TaskOutcomeBody],
    ) -> Result<Vec<SetOutcome>, ServiceError> {
        let mut failed = match self.folded(record).await? {
            Some(run) if record.state.kind() == StateKind::Failed => run.failed_tasks(),
            _ => Vec::new(),
        };
        let mut outcomes = Vec::with_capacity(wanted.len());
        for TaskOutcomeBody { task, output } in wanted {
            let Some(index) = failed.iter().position(|(_, name)| name == task) else {
                let task = task.chars().take(80).collect();
                let failed = failed.into_iter().map(|(_, name)| name).collect();
                return Err(ServiceError::TaskNotFailed { task, failed });
            };
            let (op, _) = failed.remove(index);
            let output = output.clone().unwrap_or_else(Payload::null);
            outcomes.push(SetOutcome { op, output });
        }
        Ok(outcomes)
    }

    /// Has the state machine decide something from outside, and makes that true.
    pub(super) async fn ask(&self, run: RunId, wish: &External) -> Result<RunView, ServiceError> {
        self.decide(run, Wish::This(wish)).await
    }

    /// When the run moved on meanwhile, it is decided again.
    async fn decide(&self, run: RunId, wish: Wish<'_>) -> Result<RunView, ServiceError> {
        for tries in 0..MAX_TRIES {
            let record = self.record(run).await?;
            let wish = match wish {
                Wish::This(wish) => wish.clone(),
                Wish::RetryWith(wanted) => {
                    External::Retry { outcomes: self.outcomes(&record, wanted).await? }
                }
            };
            if is_so(&record, &wish) {
                return Ok(self.view(&record));
            }
            let commit = match everstep_core::external(&record, wish.clone(), crate::clock::now()) {
                Ok(commit) => commit,
                Err(Refusal::AlreadySo(_)) => return Ok(self.view(&record)),
                Err(refusal) => return Err(refusal.into()),
            };
            let after = commit.record.clone();
            match self.commit(commit).await {
                Ok(()) => {
                    tracing::debug!(%run, ?wish, "asked");
                    return Ok(self.view(&after));
                }
                Err(StoreError::Conflict { .. }) => {
                    // A run under way commits all the time; a short random pause finds a gap.
                    let pause = rand::random_range(0..=u64::from(tries));
                    tokio::time::sleep(Duration::from_millis(pause)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(ServiceError::Busy("the run changes too quickly to be asked"))
    }
}

/// The wish that a checked request to cancel stands for.
pub(super) fn cancellation(body: CancelBody) -> Result<External, ServiceError> {
    let reason = reason(ReasonBody { reason: body.reason })?;
    let grace_ms = body.grace_ms.unwrap_or(GRACE_MS);
    if grace_ms > LONGEST_GRACE_MS {
        let problem = format!("at most {LONGEST_GRACE_MS} ms (one day) are allowed");
        return Err(ServiceError::InvalidOption { field: "grace_ms", problem });
    }
    Ok(External::Cancel { reason, grace_ms })
}

/// The words of whoever asks, if they are not too many.
pub(super) fn reason(body: ReasonBody) -> Result<String, ServiceError> {
    let reason = body.reason.unwrap_or_default();
    if reason.len() > LONGEST_REASON {
        let problem = format!("at most {LONGEST_REASON} bytes are allowed");
        return Err(ServiceError::InvalidOption { field: "reason", problem });
    }
    Ok(reason)
}

/// Whether the run is already as it is asked to be.
pub(super) fn is_so(record: &Record, wish: &External) -> bool {
    match wish {
        External::Cancel { .. } | External::Terminate { .. } => {
            record.state.kind() == StateKind::Cancelled
        }
        External::Pause { .. } => record.state.kind() == StateKind::Paused,
        _ => false,
    }
}
