//! What is durable in the log and waits for the applier, in order, together with the other work of the
//! database; and how far the applier has come. The writer appends, the applier takes all at once, and
//! readers of lists wait here until the database has what they may expect to see.
//!
//! Invariant: it is bounded. A writer that is too far ahead waits.

use crate::embedded::queue::Job;
use crate::embedded::rows::Packed;
use crate::embedded::settings::Settings;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A batch of the log that the database does not have.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) number: u64,
    pub(super) commits: Vec<Arc<Packed>>,
    pub(super) bytes: usize,
}

/// Something for the applier to do.
#[derive(Debug)]
pub(super) enum Step {
    Batch(Batch),
    /// Anything but a commit.
    Work(Job),
}

#[derive(Debug)]
pub(super) struct Backlog {
    state: Mutex<State>,
    /// There is something to take.
    more: Condvar,
    /// The applier has come further.
    further: Condvar,
    /// The last batch that is in the database.
    applied: watch::Sender<u64>,
    lag: Duration,
    most_commits: usize,
    most_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    steps: VecDeque<Step>,
    /// When the oldest of the steps came.
    since: Option<Instant>,
    /// What is not in the database: in `steps`, and taken.
    waiting: Amount,
    taken: Amount,
    /// Somebody waits for what is here.
    hurry: bool,
    /// The last batch that is durable in the log, in the database, and durable in the database.
    last: u64,
    applied: u64,
    durable: u64,
    /// The last batch of the segment that the writer has left.
    left: u64,
    /// Other work that came, and that was done.
    works: u64,
    works_done: u64,
    closed: bool,
    stopped: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct Amount {
    commits: usize,
    bytes: usize,
}

/// The applier, or the store, has stopped; why is known to the queue.
#[derive(Debug)]
pub(super) struct Stopped;

impl Backlog {
    /// All batches up to `last` are durable in the database.
    pub(super) fn new(last: u64, settings: &Settings) -> Self {
        let state = State { last, applied: last, durable: last, left: last, ..State::default() };
        Self {
            state: Mutex::new(state),
            more: Condvar::new(),
            further: Condvar::new(),
            applied: watch::Sender::new(last),
            lag: settings.lag,
            most_commits: settings.most_commits,
            most_bytes: settings.most_bytes,
        }
    }

    /// Waits until there is room for a batch. One that is larger than all the room has it alone.
    pub(super) fn wait_for_room(&self, commits: usize, bytes: usize) -> Result<(), Stopped> {
        self.wait(|state| {
            let (waiting, taken) = (state.waiting, state.taken);
            let before = waiting.commits + taken.commits;
            before == 0
                || before + commits <= self.most_commits
                    && waiting.bytes + taken.bytes + bytes <= self.most_bytes
        })
    }

    /// Waits until all up to this batch is in the database, durably. Only for a batch in a segment
    /// that was left: the next transaction after that is made durable.
    pub(super) fn wait_until_durable(&self, batch: u64) -> Result<(), Stopped> {
        self.wait(|state| state.durable >= batch)
    }

    /// Waits until so much of the other work is done.
    pub(super) fn wait_for_work(&self, ticket: u64) -> Result<(), Stopped> {
        self.wait(|state| state.works_done >= ticket)
    }

    pub(super) fn works_done(&self) -> u64 {
        self.state().works_done
    }

    fn wait(&self, is_so: impl Fn(&State) -> bool) -> Result<(), Stopped> {
        let mut state = self.state();
        loop {
            if state.stopped {
                return Err(Stopped);
            }
            if is_so(&state) {
                return Ok(());
            }
            state.hurry |= !state.steps.is_empty();
            self.more.notify_one();
            state = self.further.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A batch is durable and can be read.
    pub(super) fn push(&self, batch: Batch) {
        let mut state = self.state();
        state.last = batch.number;
        state.waiting.commits += batch.commits.len();
        state.waiting.bytes += batch.bytes;
        // The applier sleeps until its time has come; it need not be woken for each batch.
        let wake = state.steps.is_empty() || self.is_much(&state);
        state.since.get_or_insert_with(Instant::now);
        state.steps.push_back(Step::Batch(batch));
        drop(state);
        if wake {
            self.more.notify_one();
        }
    }

    /// Other work, behind all batches so far. Returns its ticket.
    pub(super) fn push_work(&self, job: Job) -> u64 {
        let mut state = self.state();
        state.works += 1;
        state.hurry = true;
        state.steps.push_back(Step::Work(job));
        self.more.notify_one();
        state.works
    }

    /// The writer has left a segment whose last batch this is.
    pub(super) fn leave(&self, batch: u64) {
        self.state().left = batch;
    }

    /// Half of the room is taken.
    fn is_much(&self, state: &State) -> bool {
        let Amount { commits, bytes } = state.waiting;
        commits >= self.most_commits / 2 || bytes >= self.most_bytes / 2
    }

    /// Swaps all that waits into the empty `steps`, when it is time. False when the store was closed
    /// and nothing is left, or has stopped.
    pub(super) fn take(&self, steps: &mut VecDeque<Step>) -> bool {
        let mut state = self.state();
        loop {
            if state.stopped {
                return false;
            }
            if state.steps.is_empty() {
                if state.closed {
                    return false;
                }
                state = self.more.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            let waited = state.since.map_or(self.lag, |since| since.elapsed());
            let left = self.lag.saturating_sub(waited);
            if left.is_zero() || state.hurry || state.closed || self.is_much(&state) {
                break;
            }
            let woken = self.more.wait_timeout(state, left);
            state = woken.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.hurry = false;
        state.since = None;
        state.taken = std::mem::take(&mut state.waiting);
        std::mem::swap(&mut state.steps, steps);
        true
    }

    /// Whether the transaction that comes next must be durable, because a segment is to be used
    /// again.
    pub(super) fn wants_durable(&self) -> bool {
        let state = self.state();
        state.durable < state.left
    }

    /// These commits, up to this batch, are in the database now.
    pub(super) fn note_applied(&self, batch: u64, commits: usize, bytes: usize, durable: bool) {
        let mut state = self.state();
        state.applied = batch;
        if durable {
            state.durable = batch;
        }
        state.taken.commits -= commits;
        state.taken.bytes -= bytes;
        drop(state);
        self.applied.send_replace(batch);
        self.further.notify_all();
    }

    /// So much of the other work was done.
    pub(super) fn note_worked(&self, works: u64) {
        self.state().works_done += works;
        self.further.notify_all();
    }

    /// Waits until the database has all that is durable now, or the store stops.
    pub(super) async fn settled(&self) {
        let wanted = {
            let mut state = self.state();
            if state.applied >= state.last {
                return;
            }
            state.hurry |= !state.steps.is_empty();
            self.more.notify_one();
            state.last
        };
        // The sender lives as long as this, so there is no other end than one of these.
        let _ = self.applied.subscribe().wait_for(|applied| *applied >= wanted).await;
    }

    /// Nothing will come any more; what is here is still applied.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.more.notify_one();
    }

    /// Gives everything up. Why has been told to the queue.
    pub(super) fn stop(&self) {
        let steps = {
            let mut state = self.state();
            state.stopped = true;
            std::mem::take(&mut state.steps)
        };
        drop(steps);
        self.applied.send_replace(u64::MAX);
        self.more.notify_all();
        self.further.notify_all();
    }

    /// The last batch that the database has durably.
    #[cfg(test)]
    pub(super) fn durable(&self) -> u64 {
        self.state().durable
    }

    /// The last batch that was acknowledged.
    #[cfg(test)]
    pub(super) fn last(&self) -> u64 {
        self.state().last
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
