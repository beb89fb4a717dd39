//! Waiting for a run to reach a state, without polling: the waiter sleeps until something was
//! committed for the run.

use super::{Service, ServiceError};
use everstep_core::api::{WaitOutcome, Waited};
use everstep_core::{RunId, StateKind};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// The longest that one request waits. Clients that want to wait longer ask again.
const LONGEST: Duration = Duration::from_secs(60);
/// How often a waiter looks without having heard of a commit, in case another server made it.
const LOOK: Duration = Duration::from_secs(5);
/// How often it looks when it waits for a state that a host's lease decides, for which there is no
/// commit to hear of.
const LOOK_FOR_LEASE: Duration = Duration::from_millis(100);

/// What to wait for.
#[derive(Debug, Clone, Default)]
pub struct WaitFor {
    /// Any of these states; any end when empty.
    pub states: Vec<StateKind>,
    /// How long; at most, and when absent, 60 s.
    pub timeout: Option<Duration>,
}

impl Service {
    /// Waits until a run is in a state, cannot reach it any more, or the time is up.
    ///
    /// # Errors
    /// When there is no such run, too many clients wait, or the store cannot be read.
    pub async fn wait(&self, run: RunId, wanted: &WaitFor) -> Result<Waited, ServiceError> {
        let _permit = self.waiting_permit()?;
        let deadline = Instant::now() + wanted.timeout.unwrap_or(LONGEST).min(LONGEST);
        let leased = [StateKind::Queued, StateKind::Running];
        let by_lease = wanted.states.iter().any(|state| leased.contains(state));
        let look = if by_lease { LOOK_FOR_LEASE } else { LOOK };
        let matters = |state| by_lease || ending(state, &wanted.states).is_some();
        let mut subscription = self.parts.hub.subscribe_to(run, matters);
        let mut heard = None;
        loop {
            let record = match heard.take() {
                Some(record) => record,
                None => self.record(run).await?,
            };
            let view = self.view(&record);
            if let Some(outcome) = ending(view.state, &wanted.states) {
                return Ok(Waited { outcome, run: view });
            }
            if Instant::now() >= deadline {
                return Ok(Waited { outcome: WaitOutcome::Timeout, run: view });
            }
            let until = deadline.min(Instant::now() + look);
            let changed = tokio::time::timeout_at(until, subscription.reached()).await;
            heard = changed.unwrap_or_default();
        }
    }

    /// A place among the clients that wait.
    pub(super) fn waiting_permit(&self) -> Result<OwnedSemaphorePermit, ServiceError> {
        let waiting = std::sync::Arc::clone(&self.waiting);
        waiting
            .try_acquire_owned()
            .map_err(|_| ServiceError::Busy("too many clients wait for runs at once"))
    }
}

/// How a wait for these states ends when the run is in this one; none while it goes on.
fn ending(state: StateKind, wanted: &[StateKind]) -> Option<WaitOutcome> {
    let reached = match wanted {
        [] => state.is_terminal(),
        wanted => wanted.contains(&state),
    };
    if reached {
        return Some(WaitOutcome::Reached);
    }
    let over = state.is_terminal() || state == StateKind::Stuck;
    over.then_some(WaitOutcome::Missed)
}
