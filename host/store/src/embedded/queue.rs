//! The bounded queue between those who commit and the writer thread, and the one place that knows
//! whether the store still works.
//!
//! A full queue makes committers wait. The writer takes everything that waits at once: the longer
//! the disk takes, the more commits share the next fsync.

use crate::embedded::modules::PackedPublish;
use crate::embedded::remove::{Removal, Removed};
use crate::embedded::rows::Packed;
use crate::embedded::schedules::ScheduleWork;
use crate::{StoreError, StoreStats};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, oneshot};

/// The most that waits before committers have to.
const CAPACITY: usize = 4_096;

/// How long the writer waits for the committers whom it has just answered to come back. About what a
/// quick disk takes for an fsync, and it spares nearly one.
const LINGER: Duration = Duration::from_micros(150);

/// Something to write.
#[derive(Debug)]
pub(super) enum Work {
    Commit(Arc<Packed>),
    Publish(Box<PackedPublish>),
    /// A run that is to vanish.
    Removal(Box<Removal>),
    /// The rest of the rows of a removed run.
    Rows(i64),
    Schedule(Box<ScheduleWork>),
}

/// What was written.
#[derive(Debug)]
pub(super) enum Written {
    Commit,
    Published { created: bool },
    Removed(Removed),
    Schedule { existed: bool },
}

pub(super) type Answer = Result<Written, StoreError>;

/// Something to write and whom to tell. Whoever drops it unanswered has stopped the store.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) work: Work,
    pub(super) answer: oneshot::Sender<Answer>,
}

#[derive(Debug)]
pub(super) struct Queue {
    line: Mutex<Line>,
    long_enough: Condvar,
    room: Semaphore,
}

#[derive(Debug, Default)]
struct Line {
    jobs: Vec<Job>,
    /// The writer wants to be woken at this length.
    wanted: usize,
    /// Set once: why nothing is taken any more.
    ended: Option<String>,
    stats: StoreStats,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { line: Mutex::default(), long_enough: Condvar::new(), room: Semaphore::new(CAPACITY) }
    }

    /// Joins the line, when there is room. What is returned will hold the answer.
    pub(super) async fn push(&self, work: Work) -> Result<oneshot::Receiver<Answer>, StoreError> {
        // The permit is given back by `take`. After the end nobody needs it.
        self.room.acquire().await.map_err(|_| self.refusal())?.forget();
        let (answer, receiver) = oneshot::channel();
        let mut line = self.line();
        if line.ended.is_some() {
            drop(line);
            return Err(self.refusal());
        }
        line.jobs.push(Job { work, answer });
        if line.jobs.len() == line.wanted {
            self.long_enough.notify_one();
        }
        Ok(receiver)
    }

    /// Swaps all that waits into the empty `batch`; waits for the first one, and then a little for
    /// as many as came last time. False when the store was closed and nothing is left.
    pub(super) fn take(&self, batch: &mut Vec<Job>, last: usize) -> bool {
        let mut line = self.line();
        line.wanted = 1;
        while line.jobs.is_empty() {
            if line.ended.is_some() {
                return false;
            }
            line = self.long_enough.wait(line).unwrap_or_else(PoisonError::into_inner);
        }
        let started = Instant::now();
        line.wanted = last;
        while line.jobs.len() < last && line.ended.is_none() {
            let Some(left) = LINGER.checked_sub(started.elapsed()) else { break };
            let waited = self.long_enough.wait_timeout(line, left);
            line = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        std::mem::swap(&mut line.jobs, batch);
        self.room.add_permits(batch.len());
        true
    }

    /// Takes nothing new; what waits is still written.
    pub(super) fn close(&self) {
        self.end("it is closed".to_owned());
    }

    /// Gives everything up, for a reason that all who come are told.
    pub(super) fn fail(&self, reason: String) {
        tracing::error!(%reason, "the store has stopped");
        let mut line = self.line();
        line.ended = Some(reason);
        line.jobs.clear();
        drop(line);
        self.room.close();
        self.long_enough.notify_one();
    }

    fn end(&self, reason: String) {
        self.line().ended.get_or_insert(reason);
        self.room.close();
        self.long_enough.notify_one();
    }

    /// An error when the store does not work any more.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        match &self.line().ended {
            None => Ok(()),
            Some(reason) => Err(StoreError::Unavailable(reason.clone())),
        }
    }

    /// Why an answer did not come.
    pub(super) fn refusal(&self) -> StoreError {
        let reason = self.line().ended.clone();
        StoreError::Unavailable(reason.unwrap_or_else(|| "its writer has stopped".to_owned()))
    }

    pub(super) fn count(&self, commits: u64, fsyncs: u64, bytes: u64) {
        let stats = &mut self.line().stats;
        stats.commits += commits;
        stats.fsyncs += fsyncs;
        stats.bytes_written += bytes;
    }

    pub(super) fn stats(&self) -> Result<StoreStats, StoreError> {
        self.check()?;
        let line = self.line();
        Ok(StoreStats { waiting: line.jobs.len() as u64, ..line.stats })
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
