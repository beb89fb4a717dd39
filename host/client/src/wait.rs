//! Waiting for a run. The server holds each request until the run is there or a while has passed
//! (long poll); this side asks again until its own time is up, across restarts of the server.

use crate::connection::Outage;
use crate::runs::state_list;
use crate::{Client, ClientError};
use everstep_core::api::{RunView, WaitOutcome, Waited};
use everstep_core::{RunId, StateKind};
use std::time::{Duration, Instant};

/// How much longer than the server was asked to hold a request its answer may take.
const GRACE: Duration = Duration::from_secs(20);
const EARLY: Duration = Duration::from_millis(100);

/// What to wait for, and for how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitOptions {
    /// One of these states; any end of the run when empty.
    pub states: Vec<StateKind>,
    /// For at most this long; for ever when absent.
    pub timeout: Option<Duration>,
    /// How long the server holds one request. Longer ones cost less, shorter ones report the
    /// state of the run more often.
    pub poll: Duration,
}

impl Default for WaitOptions {
    fn default() -> Self {
        Self { states: Vec::new(), timeout: None, poll: Duration::from_secs(20) }
    }
}

impl Client {
    /// Waits until a run is in a state, or the time is up: the outcome says which.
    ///
    /// # Errors
    /// When there is no such run, or the server is away for too long.
    pub async fn wait(&self, id: RunId, options: &WaitOptions) -> Result<Waited, ClientError> {
        self.wait_observed(id, options, |_| {}).await
    }

    /// The same, and shows the run as it is in between.
    ///
    /// # Errors
    /// As [`Client::wait`].
    pub async fn wait_observed(
        &self,
        id: RunId,
        options: &WaitOptions,
        mut observe: impl FnMut(&RunView),
    ) -> Result<Waited, ClientError> {
        let begun = Instant::now();
        let left = || options.timeout.map(|timeout| timeout.saturating_sub(begun.elapsed()));
        let mut outage = Outage::default();
        loop {
            let hold = left().map_or(options.poll, |left| left.min(options.poll));
            let asked = Instant::now();
            match self.wait_once(id, &options.states, hold).await {
                Ok(waited) => {
                    self.recovered(&mut outage);
                    observe(&waited.run);
                    let over = left().is_some_and(|left| left.is_zero());
                    if waited.outcome != WaitOutcome::Timeout || over {
                        return Ok(waited);
                    }
                    // A server that is about to stop answers early; it must not be asked in a rush.
                    if asked.elapsed() < EARLY {
                        tokio::time::sleep(EARLY.min(hold)).await;
                    }
                }
                Err(error) if left().is_some_and(|left| left.is_zero()) => return Err(error),
                Err(error) => self.ride_out(&mut outage, error).await?,
            }
        }
    }

    async fn wait_once(
        &self,
        id: RunId,
        states: &[StateKind],
        hold: Duration,
    ) -> Result<Waited, ClientError> {
        let mut query = vec![("timeout_ms", hold.as_millis().to_string())];
        if !states.is_empty() {
            query.push(("status", state_list(states)));
        }
        let request = self.get(&format!("/v1/runs/{id}/wait")).query(&query);
        self.json_within(request, hold + GRACE).await
    }
}
