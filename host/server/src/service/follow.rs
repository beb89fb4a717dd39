//! Following the logs of a run while it goes on: every line exactly once, in order, then the end.

use super::{Service, ServiceError};
use crate::hub::Subscription;
use everstep_core::RunId;
use everstep_core::api::{LogLineView, RunView};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

/// Lines that are read ahead of a slow client.
const AHEAD: usize = 100;
/// How often a follower looks without having heard of a commit, in case another server made it.
const LOOK: Duration = Duration::from_secs(5);

/// What a follower hears.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// The next line.
    Line(LogLineView),
    /// The run has ended and all lines were told. The last thing.
    End(Box<RunView>),
}

/// Follows the logs of one run. It reads only when asked for the next line, so a slow client costs
/// a bounded amount of memory.
pub struct LogFollower {
    service: Arc<Service>,
    run: RunId,
    /// The position of the next line to read.
    next: u64,
    ahead: VecDeque<LogLineView>,
    ended: bool,
    subscription: Subscription,
    _permit: OwnedSemaphorePermit,
}

impl Service {
    /// Follows the logs of a run from a position on.
    ///
    /// # Errors
    /// When there is no such run, too many clients wait, or the store cannot be read.
    pub async fn follow(
        self: &Arc<Self>,
        run: RunId,
        from: u64,
    ) -> Result<LogFollower, ServiceError> {
        let permit = self.waiting_permit()?;
        let subscription = self.parts.hub.subscribe(run);
        self.record(run).await?;
        Ok(LogFollower {
            service: Arc::clone(self),
            run,
            next: from,
            ahead: VecDeque::new(),
            ended: false,
            subscription,
            _permit: permit,
        })
    }
}

impl LogFollower {
    /// The next line, as soon as there is one; none behind the end.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn next(&mut self) -> Result<Option<Followed>, ServiceError> {
        loop {
            if let Some(line) = self.ahead.pop_front() {
                return Ok(Some(Followed::Line(line)));
            }
            if self.ended {
                return Ok(None);
            }
            // The record first: when it says that the run has ended, all its lines are there.
            let record = self.service.record(self.run).await?;
            if record.log_lines > self.next && self.read_ahead().await? {
                continue;
            }
            if record.is_terminal() {
                self.ended = true;
                return Ok(Some(Followed::End(Box::new(self.service.view(&record)))));
            }
            let _ = tokio::time::timeout(LOOK, self.subscription.changed()).await;
        }
    }

    /// Reads more lines; says whether there were any.
    async fn read_ahead(&mut self) -> Result<bool, ServiceError> {
        let lines = self.service.parts.store.logs(self.run, self.next, AHEAD).await?;
        for line in lines {
            self.ahead.push_back(LogLineView { seq: self.next, line });
            self.next += 1;
        }
        Ok(!self.ahead.is_empty())
    }
}
