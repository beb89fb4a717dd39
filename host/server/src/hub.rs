//! Notifications: who waits for a run hears when something was committed for it.
//!
//! The committer publishes, long polls and log streams subscribe. A notification is a hint, and
//! carries no more than the state, for those who wait for a certain one: whoever hears it reads the
//! store, which is the truth. Invariant: the hub holds
//! an entry for a run only while somebody subscribes to it, so its memory is bounded by the number
//! of waiting clients, and publishing for a run that nobody watches costs one atomic load.

use everstep_core::{Record, RunId, StateKind};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::watch;

/// How many locks the subscriptions are spread over.
const SHARDS: usize = 16;

type Shard = HashMap<RunId, watch::Sender<Option<StateKind>>>;

/// The meeting point of commits and waiting clients.
#[derive(Debug, Default)]
pub struct Hub {
    shards: [Mutex<Shard>; SHARDS],
    subscriptions: AtomicUsize,
}

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
        if let Some(sender) = self.shard(run).get(&run) {
            // Commits may be told out of order; nothing comes after an end.
            sender.send_modify(|state| {
                if !state.is_some_and(StateKind::is_terminal) {
                    *state = Some(record.state.kind());
                }
            });
        }
    }

    /// Starts to listen for commits of a run. Subscribe first, read the store then: a commit that
    /// the read misses is heard.
    #[must_use]
    pub fn subscribe(self: &Arc<Self>, run: RunId) -> Subscription {
        self.subscriptions.fetch_add(1, Ordering::SeqCst);
        let receiver =
            self.shard(run).entry(run).or_insert_with(|| watch::Sender::new(None)).subscribe();
        Subscription { hub: Arc::clone(self), run, receiver: Some(receiver) }
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
    /// Always there until the drop, which has to give it back before it counts who is left.
    receiver: Option<watch::Receiver<Option<StateKind>>>,
}

impl Subscription {
    /// Returns after the next commit of the run; at once if there was one since the subscription
    /// or the previous return. Several commits may be reported as one.
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

    /// Returns after the next commit that leaves the run in a state that `matters`.
    pub async fn changed_to(&mut self, matters: impl Fn(StateKind) -> bool) {
        loop {
            self.changed().await;
            let state = self.receiver.as_ref().and_then(|receiver| *receiver.borrow());
            if state.is_some_and(&matters) {
                return;
            }
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let mut shard = self.hub.shard(self.run);
        self.receiver = None;
        if shard.get(&self.run).is_some_and(|sender| sender.receiver_count() == 0) {
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
    use everstep_core::record::{Origin, QueueReason};
    use everstep_core::{Digest, InputHash, Limits, OpId, RunState, StartOptions, Timestamp};
    use futures::FutureExt;

    fn record(key: &str) -> Record {
        let origin = Origin {
            id: RunId::from_key("w", key),
            workflow: "w".into(),
            version: "1".into(),
            digest: Digest::of(b""),
            engine: 1,
            limits: Limits::default(),
            input_hash: InputHash::of(b"null"),
            options: StartOptions::default(),
            started_at: Timestamp::default(),
            due: None,
        };
        Record {
            origin: Arc::new(origin),
            state: RunState::Queued { reason: QueueReason::New },
            attempt: 0,
            length: 1,
            log_lines: 0,
            next_op: OpId(1),
            pending: 0,
            undelivered: 0,
            wake_at: None,
            ready: true,
            cancel: None,
            updated_at: Timestamp::default(),
        }
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
        let mut subscription = hub.subscribe(run.id());
        hub.publish(&run);
        assert!(subscription.changed_to(StateKind::is_terminal).now_or_never().is_none());
        run.state = RunState::Cancelled { reason: String::new() };
        hub.publish(&run);
        assert!(subscription.changed_to(StateKind::is_terminal).now_or_never().is_some());
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
