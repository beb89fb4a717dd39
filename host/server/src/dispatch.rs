//! Who works on what: the queue of runs that need a host, and the leases of runs that have one.
//!
//! All of this is memory. It can be rebuilt from the store at any time (`refill`), and it is at
//! every start. A lease carries a token that is larger than any before it; the store refuses
//! commits with an older one, so a host that lost its lease can write nothing. Invariant: a run is
//! leased to at most one host at a time.

use crate::link::{HandBack, HostId, Work};
use everstep_core::{Record, RunId, Token};
use everstep_store::{Ready, Shards, Store, StoreError};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The most runs in the queue. What does not fit is found again in the store.
const QUEUE_MAX: usize = 100_000;
/// Queued runs whose records are kept at hand, so that a run that has just been committed is not
/// read again.
const RECORDS_MAX: usize = 10_000;
/// How many runs one look into the store brings.
const REFILL_PAGE: usize = 10_000;

/// A lease, as the server knows it.
#[derive(Debug)]
struct Held {
    token: Token,
    host: HostId,
    expires: Instant,
    /// Something happened to the run since it was leased. Who hands it back may not know of that,
    /// so the run is then queued again.
    moved: bool,
    /// The host is about to be told.
    told: bool,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<RunId>,
    queued: HashSet<RunId>,
    records: HashMap<RunId, Record>,
    leases: HashMap<RunId, Held>,
    /// Per host: leased runs that something happened to.
    moved: HashMap<HostId, VecDeque<RunId>>,
    /// The queue was full; there is more in the store.
    overflow: bool,
    draining: bool,
    last_token: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Dispatch {
    state: Mutex<State>,
    work: Notify,
    moves: Notify,
    lease_time: Duration,
}

impl Dispatch {
    /// A dispatcher whose leases last this long unless renewed, with tokens above `first_token`.
    #[must_use]
    pub fn new(lease_time: Duration, first_token: u64) -> Self {
        let state = State { last_token: first_token, overflow: true, ..State::default() };
        Self { state: Mutex::new(state), work: Notify::new(), moves: Notify::new(), lease_time }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How long a lease lasts unless renewed.
    #[must_use]
    pub fn lease_time(&self) -> Duration {
        self.lease_time
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

    /// Takes note of a durable commit.
    pub fn changed(&self, record: &Record, by_host: bool) {
        if by_host {
            return;
        }
        let mut state = self.state();
        let run = record.id();
        if state.leases.contains_key(&run) {
            state.tell_holder(run);
            drop(state);
            self.moves.notify_waiters();
            return;
        }
        if record.ready {
            if state.enqueue(run) && state.records.len() < RECORDS_MAX {
                state.records.insert(run, record.clone());
            } else if let Some(known) = state.records.get_mut(&run) {
                *known = record.clone();
            }
        } else {
            state.records.remove(&run);
            return;
        }
        drop(state);
        self.work.notify_one();
    }

    /// Says that a run needs a host now: a timer of it is due. False when the queue is full; then
    /// say it again later.
    pub fn wake(&self, run: RunId) -> bool {
        let mut state = self.state();
        // Whoever has the run keeps an eye on its timers, so a mark is enough.
        let known = if let Some(held) = state.leases.get_mut(&run) {
            held.moved = true;
            true
        } else {
            state.enqueue(run) || state.queued.contains(&run)
        };
        drop(state);
        self.work.notify_one();
        known
    }

    /// The next piece of work for a host; waits until there is some. None when there will be no
    /// more because the server is draining.
    pub async fn next(&self, host: HostId) -> Option<Work<Option<Record>>> {
        loop {
            let notified = self.work.notified();
            {
                let mut state = self.state();
                if state.draining {
                    self.work.notify_one();
                    return None;
                }
                if let Some(work) = state.take(host, self.lease_time) {
                    if !state.queue.is_empty() {
                        self.work.notify_one();
                    }
                    return Some(work);
                }
            }
            notified.await;
        }
    }

    /// Waits until something happened to a run that this host has, and says to which.
    pub async fn next_moved(&self, host: HostId) -> RunId {
        loop {
            let notified = self.moves.notified();
            tokio::pin!(notified);
            // From here on no notification is missed.
            notified.as_mut().enable();
            if let Some(run) = self.state().take_moved(host) {
                return run;
            }
            notified.await;
        }
    }

    /// Whether this token is that of the run's current lease.
    #[must_use]
    pub fn holds(&self, run: RunId, token: Token) -> bool {
        self.state().leases.get(&run).is_some_and(|held| held.token == token)
    }

    /// Prolongs leases; returns those that are lost.
    pub fn renew(&self, leases: &[(RunId, Token)]) -> Vec<RunId> {
        let expires = Instant::now() + self.lease_time;
        let mut state = self.state();
        let mut lost = Vec::new();
        for (run, token) in leases {
            match state.leases.get_mut(run) {
                Some(held) if held.token == *token => held.expires = expires,
                _ => lost.push(*run),
            }
        }
        lost
    }

    /// Ends a lease. Returns whether the run is queued again.
    pub fn hand_back(&self, run: RunId, token: Token, how: &HandBack) -> bool {
        let mut state = self.state();
        match state.leases.get(&run) {
            Some(held) if held.token == token => {}
            _ => return false,
        }
        let moved = state.leases.remove(&run).is_some_and(|held| held.moved);
        let again = moved || matches!(how, HandBack::Now);
        if again {
            state.requeue(run);
            drop(state);
            self.work.notify_one();
        }
        again
    }

    /// Takes leases away from hosts that did not renew them, and queues their runs.
    pub fn expire_leases(&self) {
        let now = Instant::now();
        let mut state = self.state();
        let expired: Vec<RunId> = state
            .leases
            .iter()
            .filter(|(_, held)| held.expires <= now)
            .map(|(run, _)| *run)
            .collect();
        for run in &expired {
            state.leases.remove(run);
            state.requeue(*run);
            tracing::warn!(%run, "the lease expired; the run is queued again");
        }
        drop(state);
        if !expired.is_empty() {
            self.work.notify_one();
        }
    }

    /// Lets every host go home: `next` answers none from now on.
    pub fn drain(&self) {
        self.state().draining = true;
        self.work.notify_waiters();
        self.work.notify_one();
    }

    /// Fills the queue from the store if something was left there. Called at the start and, as long
    /// as that is so, now and then.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn refill(&self, store: &Arc<dyn Store>) -> Result<(), StoreError> {
        {
            let mut state = self.state();
            if !state.overflow || state.queue.len() > QUEUE_MAX / 2 {
                return Ok(());
            }
            state.overflow = false;
        }
        let mut after: Option<Ready> = None;
        loop {
            let page = store.ready(&Shards::all(), after, REFILL_PAGE).await?;
            let Some(last) = page.last().copied() else { return Ok(()) };
            after = Some(last);
            let mut state = self.state();
            for ready in &page {
                if !state.leases.contains_key(&ready.run) {
                    state.enqueue(ready.run);
                }
            }
            let full = state.overflow;
            drop(state);
            self.work.notify_one();
            if full {
                return Ok(());
            }
        }
    }
}

impl State {
    /// Queues a run. False when it is queued already, or when there is no room; then the store has
    /// to be asked again.
    fn enqueue(&mut self, run: RunId) -> bool {
        if self.queued.contains(&run) {
            return false;
        }
        if self.queue.len() >= QUEUE_MAX {
            self.overflow = true;
            return false;
        }
        self.requeue(run);
        true
    }

    /// Queues a run that was leased, also when the queue is full: nobody else may know that it has
    /// work. There are never more of these than leases.
    fn requeue(&mut self, run: RunId) {
        if self.queued.insert(run) {
            self.queue.push_back(run);
        }
    }

    fn tell_holder(&mut self, run: RunId) {
        let Some(held) = self.leases.get_mut(&run) else { return };
        held.moved = true;
        if !held.told {
            held.told = true;
            self.moved.entry(held.host).or_default().push_back(run);
        }
    }

    fn take_moved(&mut self, host: HostId) -> Option<RunId> {
        while let Some(run) = self.moved.get_mut(&host).and_then(VecDeque::pop_front) {
            if let Some(held) = self.leases.get_mut(&run)
                && held.host == host
            {
                held.told = false;
                return Some(run);
            }
        }
        None
    }

    fn take(&mut self, host: HostId, lease_time: Duration) -> Option<Work<Option<Record>>> {
        let run = self.queue.pop_front()?;
        self.queued.remove(&run);
        self.last_token += 1;
        let token = Token(self.last_token);
        let expires = Instant::now() + lease_time;
        self.leases.insert(run, Held { token, host, expires, moved: false, told: false });
        Some(Work { run, token, record: self.records.remove(&run) })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn run(n: u8) -> RunId {
        RunId::from_bytes([n; 16])
    }

    fn dispatch() -> Dispatch {
        Dispatch::new(Duration::from_secs(60), 100)
    }

    async fn leased(dispatch: &Dispatch) -> (RunId, Token) {
        let Work { run, token, .. } = dispatch.next(HostId(1)).await.unwrap();
        (run, token)
    }

    #[tokio::test]
    async fn a_run_is_queued_once_and_leased_to_one_host() {
        let d = dispatch();
        assert!(d.wake(run(1)) && d.wake(run(1)));
        assert_eq!(d.counts(), (1, 0));
        let (id, token) = leased(&d).await;
        assert!(d.is_leased(id) && d.holds(id, token) && token > Token(100));
        assert_eq!(d.counts(), (0, 1));
    }

    #[tokio::test]
    async fn what_happens_to_a_leased_run_is_told_to_its_holder_and_never_lost() {
        let d = dispatch();
        d.wake(run(1));
        let (id, token) = leased(&d).await;
        for _ in 0..2 {
            d.state().tell_holder(id);
            assert_eq!(d.next_moved(HostId(1)).await, id);
        }
        assert!(
            d.hand_back(id, token, &HandBack::Idle(None)),
            "it moved before it was handed back"
        );
        let (again, newer) = leased(&d).await;
        assert!(again == id && newer > token);
        d.wake(id);
        assert!(d.hand_back(id, newer, &HandBack::Idle(None)), "a timer came due meanwhile");
        let (_, newer) = leased(&d).await;
        assert!(!d.hand_back(id, token, &HandBack::Now), "an old token ends nothing");
        assert!(d.holds(id, newer));
    }

    #[tokio::test]
    async fn an_expired_lease_goes_to_somebody_else() {
        let d = Dispatch::new(Duration::from_millis(0), 0);
        d.wake(run(1));
        let (id, token) = leased(&d).await;
        d.expire_leases();
        assert!(!d.holds(id, token));
        assert_eq!(d.renew(&[(id, token)]), [id]);
        assert!(leased(&d).await.1 > token);
    }

    #[tokio::test]
    async fn draining_ends_the_wait_for_work() {
        let d = Arc::new(dispatch());
        let waiting = tokio::spawn({
            let d = Arc::clone(&d);
            async move { d.next(HostId(1)).await.is_none() }
        });
        tokio::task::yield_now().await;
        d.drain();
        assert!(waiting.await.unwrap());
    }
}
