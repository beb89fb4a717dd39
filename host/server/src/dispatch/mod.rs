//! Who works on what: the queue of runs that need a host, the hosts, and the leases of runs that
//! have one.
//!
//! All of this is memory. It can be rebuilt from the store at any time (`refill`), and it is at
//! every start. A lease carries a token that is larger than any before it; the store refuses
//! commits with an older one, so a host that lost its lease can write nothing. Invariant: a run is
//! leased to at most one host at a time. The rules are in `state`, this file has the waits.

mod hosts;
mod owned;
mod queue;
mod state;
mod taken;
#[cfg(test)]
mod tests;

pub(crate) use hosts::check_name;
pub use hosts::{HostId, Introduction, Joined, Seat, check_pool};
pub use taken::{Committing, Taken};

use crate::link::{HandBack, News, Report, Work};
use everstep_core::api::HostView;
use everstep_core::{Record, RunId, Token};
use everstep_store::{Ready, Shards, Store, StoreError};
use owned::Owned;
use queue::Pool;
use state::{Next, State};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The most runs of a pool in the queue. What does not fit is found again in the store.
const QUEUE_MAX: usize = 100_000;
/// Queued runs whose records are kept at hand, so that a run that has just been committed is not
/// read again.
const RECORDS_MAX: usize = 10_000;
/// Runs of which it is remembered which host had them last.
const HOMES_MAX: usize = 100_000;
/// How many runs one look into the store brings.
const REFILL_PAGE: usize = 10_000;
/// How long a run waits for the host that had it last before another one may have it.
const STICKY: Duration = Duration::from_millis(100);

/// How long leases last and how often they are renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// A lease lasts so long unless it is renewed.
    pub lease: Duration,
    /// Hosts renew, and hosts and server let each other hear of themselves, so often.
    pub heartbeat: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { lease: Duration::from_secs(15), heartbeat: Duration::from_secs(5) }
    }
}

impl Timing {
    /// Three heartbeats: who was not heard for so long is gone.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.heartbeat * 3
    }

    /// A server's claim on a shard lasts so long. It believes in it for the length of a lease since it was
    /// renewed, so that a host that hears nothing of it any more has given up its runs before another server
    /// can hand them out.
    #[must_use]
    pub fn claim(&self) -> Duration {
        self.lease * 2
    }

    /// Who was not heard by the other side for so long has no leases any more, whatever they last.
    #[must_use]
    pub fn parting(&self) -> Duration {
        self.lease.min(self.heartbeat * 4)
    }
}

/// See the module.
pub struct Dispatch {
    state: Mutex<State>,
    owned: Arc<Owned>,
    homing: Arc<Notify>,
    timing: Timing,
}

impl std::fmt::Debug for Dispatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatch").finish_non_exhaustive()
    }
}

/// A host that waits for work. When it stops waiting, what was on the way to it goes back.
struct Waiting<'a> {
    dispatch: &'a Dispatch,
    seat: Seat,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.dispatch.state();
        if state.is_current(self.seat) {
            state.stop_waiting(self.seat.host);
        }
    }
}

impl Dispatch {
    /// A dispatcher whose leases have this timing. It owns nothing yet.
    #[must_use]
    pub fn new(timing: Timing, shard_of: impl Fn(RunId) -> u16 + Send + Sync + 'static) -> Self {
        let owned = Arc::new(Owned::new(shard_of));
        let state = State::new(timing.lease, Arc::clone(&owned));
        let homing = Arc::clone(&state.homing);
        Self { state: Mutex::new(state), owned, homing, timing }
    }

    /// One that owns everything: of a store that nobody else has open.
    #[must_use]
    pub fn alone(timing: Timing, epoch: u64) -> Self {
        let dispatch = Self::new(timing, |_| 0);
        dispatch.gain(0, epoch);
        dispatch
    }

    /// Takes care of a shard from now on, under a claim of this epoch. What there is to do in it is read
    /// by the next [`Dispatch::refill`].
    pub fn gain(&self, shard: u16, epoch: u64) {
        let mut state = self.state();
        self.owned.gain(shard, epoch);
        state.overflow.insert(Pool::Unknown);
    }

    /// Takes no care of these shards any more. Hosts lose their runs.
    pub fn lose(&self, shards: &BTreeSet<u16>) {
        let mut state = self.state();
        self.owned.lose(shards);
        state.forget_foreign();
    }

    /// Whether this server takes care of a run. Of others it only reads what the store says.
    #[must_use]
    pub fn owns(&self, run: RunId) -> bool {
        self.owned.owns(run)
    }

    /// Whether this server does what is to be done once on a store.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.owned.leads()
    }

    /// The shards that this server takes care of.
    #[must_use]
    pub fn owned(&self) -> Shards {
        self.owned.shards()
    }

    /// How many they are.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.owned.len()
    }

    /// Takes note of where the servers are that own the other shards.
    pub fn know_elsewhere(&self, owners: BTreeMap<u16, Arc<str>>) {
        self.owned.know_elsewhere(owners);
    }

    /// Where the server is that takes care of a run, when that is another one.
    #[must_use]
    pub fn elsewhere(&self, run: RunId) -> Option<Arc<str>> {
        self.owned.elsewhere(run)
    }

    /// The other servers that own something.
    #[must_use]
    pub fn other_servers(&self) -> BTreeSet<Arc<str>> {
        self.owned.other_servers()
    }

    /// Lets the next [`Dispatch::refill`] look for runs that nobody has told of.
    pub fn look_again(&self) {
        self.state().overflow.insert(Pool::Unknown);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long leases last and how often they are renewed.
    #[must_use]
    pub fn timing(&self) -> Timing {
        self.timing
    }

    /// Whether a host has this run.
    #[must_use]
    pub fn is_leased(&self, run: RunId) -> bool {
        self.state().leases.contains_key(&run)
    }

    /// How many runs are queued and how many are leased.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let state = self.state();
        (state.queue.len(), state.leases.len())
    }

    /// The hosts there are, in the order in which they came.
    #[must_use]
    pub fn hosts(&self) -> Vec<HostView> {
        self.state().hosts.iter().map(|(id, host)| host.view(*id)).collect()
    }

    /// Takes note of a durable commit.
    pub fn changed(&self, record: &Record, by_host: bool) {
        if by_host {
            return;
        }
        let mut state = self.state();
        let run = record.id();
        if state.leases.contains_key(&run) {
            state.tell_holder(run);
        } else if !record.ready {
            state.records.remove(&run);
        } else if let Some(known) = state.records.get_mut(&run) {
            *known = record.clone();
        } else {
            state.offer(run, Some(record.clone()), false);
        }
    }

    /// Takes note of a durable commit that is not the newest one: whoever has the run looks at its journal.
    pub fn moved(&self, run: RunId) {
        self.state().tell_holder(run);
    }

    /// Says that a run needs a host now: a timer of it is due. False when the queue is full; then
    /// say it again later.
    pub fn wake(&self, run: RunId) -> bool {
        let mut state = self.state();
        // Whoever has the run keeps an eye on its timers, so a mark is enough.
        if let Some(held) = state.leases.get_mut(&run) {
            held.moved = true;
            return true;
        }
        state.offer(run, None, false) || state.queue.contains(run)
    }

    /// Takes a host in. One that comes again, with the leases that it believes to have, keeps those
    /// that still stand.
    pub fn join(&self, introduction: Introduction, leases: &[(RunId, Token)]) -> Joined {
        self.state().join(introduction, leases)
    }

    /// The next piece of work for a host; waits until there is some. None when there will be no
    /// more because the host or the server is going, or the host has a newer connection. One call at a time for each host.
    pub async fn next(self: &Arc<Self>, seat: Seat) -> Option<Taken> {
        let _waiting = Waiting { dispatch: self, seat };
        loop {
            let next = self.state().next(seat);
            match next {
                Next::Work(work) => {
                    let Work { run, token, record } = *work;
                    let dispatch = Arc::clone(self);
                    return Some(Taken { run, token, record, dispatch, kept: false });
                }
                Next::Wait(bell) => bell.notified().await,
                Next::Over => return None,
            }
        }
    }

    /// Waits for news of the runs that a host has.
    pub async fn next_news(&self, seat: Seat) -> News {
        loop {
            let bell = {
                let mut state = self.state();
                if !state.is_current(seat) {
                    None
                } else if let Some(news) = state.take_news(seat.host) {
                    return news;
                } else {
                    state.hosts.get(&seat.host).map(|host| Arc::clone(&host.news_bell))
                }
            };
            match bell {
                Some(bell) => bell.notified().await,
                None => std::future::pending().await,
            }
        }
    }

    /// Whether this token is that of the run's current lease.
    #[must_use]
    pub fn holds(&self, run: RunId, token: Token) -> bool {
        self.state().leases.get(&run).is_some_and(|held| held.token == token)
    }

    /// Lets a commit under this token begin. None when it is not that of the run's current lease.
    #[must_use]
    pub fn begin_commit(self: &Arc<Self>, run: RunId, token: Token) -> Option<Committing> {
        let begun = self.state().begin_commit(run, token);
        begun.then(|| Committing { dispatch: Arc::clone(self), run })
    }

    /// Prolongs leases; returns those that are lost.
    pub fn renew(&self, host: HostId, leases: &[(RunId, Token)], report: Report) -> Vec<RunId> {
        let expires = Instant::now() + self.timing.lease;
        let mut state = self.state();
        let mut lost = Vec::new();
        for (run, token) in leases {
            match state.leases.get_mut(run) {
                Some(held) if held.token == *token => held.expires = expires,
                _ => lost.push(*run),
            }
        }
        if let Some(host) = state.hosts.get_mut(&host) {
            host.report = report;
            host.heard.store(crate::clock::now().as_millis(), Ordering::Relaxed);
        }
        lost
    }

    /// Ends a lease. Returns whether the run is queued again.
    pub fn hand_back(&self, run: RunId, token: Token, how: &HandBack) -> bool {
        let mut state = self.state();
        let Some(held) = state.end_lease(run, token) else { return false };
        if matches!(how, HandBack::Idle(_)) {
            state.remember_home(run, &held);
        }
        let again = held.moved || matches!(how, HandBack::Now);
        if again {
            state.offer(run, None, true);
        }
        again
    }

    /// A host takes no more work.
    pub fn stop_work(&self, seat: Seat) {
        let (host, mut state) = (seat.host, self.state());
        if !state.is_current(seat) {
            return;
        }
        if let Some(host) = state.hosts.get_mut(&host) {
            host.stopping = true;
            host.work_bell.notify_one();
        }
        state.stop_waiting(host);
        state.queue.abandon(host);
        state.serve_waiting();
    }

    /// A host goes. What it has left goes on elsewhere at once.
    pub fn leave(&self, seat: Seat) {
        let mut state = self.state();
        if state.is_current(seat) {
            state.forget(seat.host);
            state.serve_waiting();
        }
    }

    /// The connection of a host broke off. It has `patience` to come back to its runs.
    pub fn lose_touch(&self, seat: Seat, patience: Duration) {
        let mut state = self.state();
        if state.is_current(seat) {
            state.lose_touch(seat.host, patience);
            state.serve_waiting();
        }
    }

    /// Takes leases away from hosts that did not renew them, and queues their runs.
    pub fn expire_leases(&self) {
        let expired = self.state().expire(Instant::now());
        for run in expired {
            tracing::warn!(%run, "the lease expired; the run goes on elsewhere");
        }
    }

    /// Lets every host go home: `next` answers none from now on.
    pub fn drain(&self) {
        let mut state = self.state();
        state.draining = true;
        state.hosts.values().for_each(|host| host.work_bell.notify_one());
    }

    /// Lets runs that have waited long enough for their last hosts go to others. Until it is
    /// dropped.
    pub async fn serve_homes(&self) {
        loop {
            let next = {
                let mut state = self.state();
                let next = state.queue.give_up(Instant::now());
                state.serve_waiting();
                next
            };
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => self.homing.notified().await,
            }
        }
    }

    /// Fills the queue from the store if something was left there. Called at the start and, as long
    /// as that is so, now and then.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn refill(&self, store: &Arc<dyn Store>) -> Result<(), StoreError> {
        {
            let mut state = self.state();
            let State { overflow, queue, .. } = &mut *state;
            let before = overflow.len();
            overflow.retain(|pool| queue.len_of(pool) > QUEUE_MAX / 2);
            if overflow.len() == before {
                return Ok(());
            }
        }
        let mut after: Option<Ready> = None;
        loop {
            let page = store.ready(&self.owned.shards(), after, REFILL_PAGE).await?;
            let Some(last) = page.last().copied() else { return Ok(()) };
            after = Some(last);
            let mut state = self.state();
            for ready in &page {
                if !state.leases.contains_key(&ready.run) {
                    state.offer(ready.run, None, false);
                }
            }
            if state.overflow.contains(&Pool::Unknown) {
                return Ok(());
            }
        }
    }
}
