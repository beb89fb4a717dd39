//! Notifications: who waits for a run hears when something was committed for it.
//!
//! The committer publishes, long polls and log streams subscribe. A notification is a hint: whoever
//! hears it reads the store, which is the truth. Only an end comes with its record, because little
//! follows it. Who waits for certain states is not woken by commits that lead to others. Invariant: the
//! hub holds an entry for a run only while somebody subscribes to it, so its memory is bounded by the
//! number of waiting clients, and publishing for a run that nobody watches costs one atomic load.

use everstep_core::{OpId, Payload, Record, RunId, StateKind};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How many locks the subscriptions are spread over.
const SHARDS: usize = 16;

type Shard = HashMap<RunId, Entry>;

/// Who listens for the commits of a run.
#[derive(Debug)]
struct Entry {
    sender: watch::Sender<Option<Heard>>,
    /// The states that somebody waits for, or has waited for since the run is listened for: a bit each.
    awaited: u16,
}

/// The bits of these states.
fn bits(matters: impl Fn(StateKind) -> bool) -> u16 {
    let wanted = StateKind::ALL.into_iter().filter(|state| matters(*state));
    wanted.fold(0, |bits, state| bits | bit(state))
}

fn bit(state: StateKind) -> u16 {
    1 << (state as u16)
}

/// What was committed last.
#[derive(Debug, Clone)]
struct Heard {
    /// The length of the journal.
    length: u64,
    state: StateKind,
    /// The record of a run that has ended.
    end: Option<Box<Record>>,
}

/// The meeting point of commits and waiting clients.
#[derive(Debug, Default)]
pub struct Hub {
    shards: [Mutex<Shard>; SHARDS],
    subscriptions: AtomicUsize,
    /// What running tasks said of themselves last.
    progress: Mutex<HashMap<(RunId, OpId), Payload>>,
}

/// The most running tasks whose progress is remembered.
const PROGRESS_MAX: usize = 100_000;

impl Hub {
    /// A hub without subscribers.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Says that a commit with this record is durable.
    pub fn publish(&self, record: &Record) {
        if self.subscriptions.load(Ordering::SeqCst) == 0 {
            return;
        }
        let run = record.id();
        if let Some(entry) = self.shard(run).get(&run) {
            let state = record.state.kind();
            entry.sender.send_if_modified(|heard| {
                // Commits may be told out of order.
                if heard.as_ref().is_none_or(|heard| heard.length <= record.length) {
                    *heard = Some(Heard {
                        length: record.length,
                        state,
                        end: record.is_terminal().then(|| Box::new(record.clone())),
                    });
                }
                record.is_terminal() || entry.awaited & bit(state) != 0
            });
        }
    }

    /// Whether somebody waits for commits of a run.
    #[must_use]
    pub fn is_watched(&self, run: RunId) -> bool {
        self.subscriptions.load(Ordering::SeqCst) > 0 && self.shard(run).contains_key(&run)
    }

    /// Takes note of what a running task says of itself; none when it is over.
    pub fn progress(&self, run: RunId, op: OpId, progress: Option<Payload>) {
        let mut known = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        match progress {
            Some(progress) if known.len() < PROGRESS_MAX || known.contains_key(&(run, op)) => {
                known.insert((run, op), progress);
            }
            Some(_) => {}
            None => {
                known.remove(&(run, op));
            }
        }
    }

    /// What a running task said of itself last.
    #[must_use]
    pub fn last_progress(&self, run: RunId, op: OpId) -> Option<Payload> {
        let known = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(run, op)).cloned()
    }

    /// Starts to listen for commits of a run. Subscribe first, read the store then: a commit that
    /// the read misses is heard.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>, run: RunId) -> Subscription {
        self.subscribe_to(run, |_| true)
    }

    /// Starts to listen for commits that end the run or leave it in a state that `matters`. Others may
    /// be heard, too.
    #[must_use]
    pub fn subscribe_to(
        self: &Arc<Self>,
        run: RunId,
        matters: impl Fn(StateKind) -> bool,
    ) -> Subscription {
        let matters = bits(matters);
        self.subscriptions.fetch_add(1, Ordering::SeqCst);
        let mut shard = self.shard(run);
        let nobody = || Entry { sender: watch::Sender::new(None), awaited: 0 };
        let entry = shard.entry(run).or_insert_with(nobody);
        entry.awaited |= matters;
        let receiver = Some(entry.sender.subscribe());
        drop(shard);
        Subscription { hub: Arc::clone(self), run, matters, receiver }
    }

    /// How many subscriptions there are now.
    #[must_use]
    pub fn subscriptions(&self) -> usize {
        self.subscriptions.load(Ordering::Relaxed)
    }

    /// A shard is never left half-changed, so a poisoned lock is as good as any.
    fn shard(&self, run: RunId) -> MutexGuard<'_, Shard> {
        // The last byte is random in every kind of run id.
        let index = usize::from(run.as_bytes()[15]) % SHARDS;
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A listener for the commits of one run. Dropping it ends the subscription.
#[derive(Debug)]
pub struct Subscription {
    hub: Arc<Hub>,
    run: RunId,
    /// The states that matter: a bit each.
    matters: u16,
    /// Always there until the drop, which has to give it back before it counts who is left.
    receiver: Option<watch::Receiver<Option<Heard>>>,
}

impl Subscription {
    /// Returns after the next commit of the run that matters; at once if there was one since the
    /// subscription or the previous return. Several commits may be reported as one.
    pub async fn changed(&mut self) {
        let heard = match &mut self.receiver {
            Some(receiver) => receiver.changed().await.is_ok(),
            None => false,
        };
        // The sender lives in the hub as long as the receiver does, so something is always heard;
        // were it not, waiting for ever is what "no further commit" means.
        if !heard {
            std::future::pending::<()>().await;
        }
    }

    /// Returns after the next commit that ends the run, with its record, or leaves it in a state
    /// that matters.
    pub async fn reached(&mut self) -> Option<Record> {
        loop {
            self.changed().await;
            match self.receiver.as_ref().and_then(|receiver| receiver.borrow().clone()) {
                Some(Heard { end: Some(record), .. }) => return Some(*record),
                Some(heard) if self.matters & bit(heard.state) != 0 => return None,
                _ => {}
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut shard = self.hub.shard(self.run);
        self.receiver = None;
        if shard.get(&self.run).is_some_and(|entry| entry.sender.receiver_count() == 0) {
            shard.remove(&self.run);
        }
        drop(shard);
        self.hub.subscriptions.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use everstep_core::{Digest, Limits, Run, RunState, StartOptions, StartRequest, Timestamp};
    use futures::FutureExt;

    fn record(key: &str) -> Record {
        let request = StartRequest {
            id: RunId::from_key("w", key),
            workflow: "w".into(),
            version: "1".into(),
            digest: Digest::of(b""),
            engine: 1,
            limits: Limits::default(),
            input: Payload::null(),
            options: StartOptions::default(),
            due: None,
            parent: None,
        };
        Run::start(request, Timestamp::default()).record
    }

    #[test]
    fn a_subscriber_hears_commits_of_its_run_only_and_each_burst_once() {
        let (hub, mine, other) = (Hub::new(), record("mine"), record("other"));
        hub.publish(&mine);
        let mut subscription = hub.subscribe(mine.id());
        assert!(subscription.changed().now_or_never().is_none(), "what was before is not heard");
        hub.publish(&other);
        assert!(subscription.changed().now_or_never().is_none());
        hub.publish(&mine);
        hub.publish(&mine);
        assert!(subscription.changed().now_or_never().is_some());
        assert!(subscription.changed().now_or_never().is_none());
    }

    #[test]
    fn who_waits_for_a_state_is_not_bothered_with_others() {
        let (hub, mut run) = (Hub::new(), record("r"));
        let mut subscription = hub.subscribe_to(run.id(), |state| state == StateKind::Stuck);
        hub.publish(&run);
        assert!(subscription.changed().now_or_never().is_none(), "it is not even woken");
        // Another one's interest wakes it, too.
        let mut all = hub.subscribe(run.id());
        hub.publish(&run);
        assert!(all.reached().now_or_never().is_some());
        assert!(subscription.reached().now_or_never().is_none());
        drop(all);
        run.state = RunState::Cancelled { reason: String::new() };
        hub.publish(&run);
        let end = subscription.reached().now_or_never().unwrap();
        assert!(end.unwrap().is_terminal(), "an end always matters");
    }

    #[test]
    fn nothing_is_kept_when_the_last_subscriber_leaves() {
        let (hub, run) = (Hub::new(), record("r"));
        let (mut first, second) = (hub.subscribe(run.id()), hub.subscribe(run.id()));
        drop(second);
        hub.publish(&run);
        assert!(first.changed().now_or_never().is_some());
        assert_eq!(hub.subscriptions(), 1);
        drop(first);
        assert_eq!(hub.subscriptions(), 0);
        assert!(hub.shards.iter().all(|shard| shard.lock().unwrap().is_empty()));
    }
}
