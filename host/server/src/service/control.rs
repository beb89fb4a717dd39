//! What operators ask of a run: cancel it, continue it. The state machine decides from the record;
//! when the run moved on meanwhile, the decision is made again.

use super::{Service, ServiceError};
use everstep_core::api::{CancelBody, RunView};
use everstep_core::{External, Record, Refusal, RunId, StateKind};
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

impl Service {
    /// Asks a run to stop. Asking again changes nothing and succeeds.
    ///
    /// # Errors
    /// When there is no such run or it has ended otherwise.
    pub async fn cancel(&self, run: RunId, body: CancelBody) -> Result<RunView, ServiceError> {
        self.ask(run, &cancellation(body)?).await
    }

    /// Continues a run that is stuck, after what stopped it was mended.
    ///
    /// # Errors
    /// When there is no such run or it is not stuck.
    pub async fn retry(&self, run: RunId) -> Result<RunView, ServiceError> {
        self.ask(run, &External::Retry).await
    }

    /// Decides about a wish, and makes the decision durable.
    pub(super) async fn ask(&self, run: RunId, wish: &External) -> Result<RunView, ServiceError> {
        for tries in 0..MAX_TRIES {
            let record = self.record(run).await?;
            if is_so(&record, wish) {
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
    let reason = body.reason.unwrap_or_default();
    if reason.len() > LONGEST_REASON {
        let problem = format!("at most {LONGEST_REASON} bytes are allowed");
        return Err(ServiceError::InvalidOption { field: "reason", problem });
    }
    let grace_ms = body.grace_ms.unwrap_or(GRACE_MS);
    if grace_ms > LONGEST_GRACE_MS {
        let problem = format!("at most {LONGEST_GRACE_MS} ms (one day) are allowed");
        return Err(ServiceError::InvalidOption { field: "grace_ms", problem });
    }
    Ok(External::Cancel { reason, grace_ms })
}

/// Whether the run has ended just as it is asked to.
pub(super) fn is_so(record: &Record, wish: &External) -> bool {
    matches!(wish, External::Cancel { .. }) && record.state.kind() == StateKind::Cancelled
}
