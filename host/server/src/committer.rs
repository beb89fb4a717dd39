//! The only door through which the server changes a run. A commit is made durable first; then, and
//! only then, everybody who may want to know is told: waiting clients, the dispatcher, the timers.
//! What they are told are hints, the store is the truth.
//!
//! Invariants: what has become durable is told to them sooner or later, also when the store could not say
//! whether it has (`serve` looks then); and what is told last is what is newest, whichever of two commits of
//! a run was answered first.

use crate::dispatch::Dispatch;
use crate::hub::Hub;
use crate::timers::Timers;
use everstep_core::{Commit, Record, RunId, Token};
use everstep_store::{Store, StoreError};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// How many locks what is under way is spread over.
const PARTS: usize = 16;
/// The most runs that are remembered to be looked at; others are found when the store is opened again.
const DOUBTFUL_MAX: usize = 100_000;
/// How long after a commit with an unknown outcome it is looked, and how often while that fails.
const LOOK: Duration = Duration::from_secs(1);

/// Orders the commits of a run: the length that they lead to, the length that they were decided for (one
/// that changes the record alone comes behind the one that made the length), their token.
type Version = (u64, u64, Option<Token>);

/// What is under way for a run, and the newest that was told meanwhile.
#[derive(Debug, Default)]
struct UnderWay {
    count: usize,
    told: Option<Version>,
}

/// Something is under way for a run that will be told.
struct Telling<'a> {
    committer: &'a Committer,
    run: RunId,
}

/// See the module.
pub struct Committer {
    store: Arc<dyn Store>,
    hub: Arc<Hub>,
    dispatch: Arc<Dispatch>,
    timers: Arc<Timers>,
    /// By the last byte of the id, so that runs seldom wait for each other.
    under_way: [Mutex<HashMap<RunId, UnderWay>>; PARTS],
    /// Runs of which nobody knows whether a commit has come about.
    doubtful: Mutex<BTreeSet<RunId>>,
    doubt: Notify,
}

impl Committer {
    /// A committer that tells these.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        hub: Arc<Hub>,
        dispatch: Arc<Dispatch>,
        timers: Arc<Timers>,
    ) -> Self {
        let (under_way, doubtful, doubt) = Default::default();
        Self { store, hub, dispatch, timers, under_way, doubtful, doubt }
    }

    /// Makes a commit durable.
    ///
    /// # Errors
    /// As the store says; nothing has happened then (or, when the store is unavailable, nobody
    /// knows).
    pub async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        let record = commit.record.clone();
        let by_host = commit.token.is_some();
        let version = (record.length, commit.expected_length, commit.token);
        let telling = self.begin(record.id());
        match self.store.commit(commit).await {
            Ok(()) => {
                telling.tell(&record, version, by_host);
                Ok(())
            }
            Err(error) => {
                if matches!(error, StoreError::Unavailable(_)) {
                    self.be_doubtful(record.id());
                }
                Err(error)
            }
        }
    }

    fn under_way(&self, run: RunId) -> MutexGuard<'_, HashMap<RunId, UnderWay>> {
        let part = usize::from(run.as_bytes()[15]) % PARTS;
        self.under_way[part].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, run: RunId) -> Telling<'_> {
        self.under_way(run).entry(run).or_default().count += 1;
        Telling { committer: self, run }
    }

    fn doubtful(&self) -> MutexGuard<'_, BTreeSet<RunId>> {
        self.doubtful.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn be_doubtful(&self, run: RunId) {
        let mut doubtful = self.doubtful();
        if doubtful.len() < DOUBTFUL_MAX {
            doubtful.insert(run);
            self.doubt.notify_one();
        }
    }

    /// Tells everybody what another server has committed. A run that cannot be read is looked at again.
    pub async fn heard(&self, run: RunId) {
        if let Err(error) = self.look(run).await {
            tracing::warn!(%run, %error, "a run that has changed cannot be read");
            self.be_doubtful(run);
        }
    }

    /// Tells what the store has.
    async fn look(&self, run: RunId) -> Result<(), StoreError> {
        let telling = self.begin(run);
        match self.store.record(run).await {
            // Any commit that was answered meanwhile is newer than what was read.
            Ok(Some(record)) => telling.tell(&record, (record.length, 0, None), false),
            Ok(None) | Err(StoreError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Looks at runs of which nobody knows whether a commit has come about, and tells what is there.
    /// Serves until the future is dropped.
    pub async fn serve(&self) {
        loop {
            self.doubt.notified().await;
            tokio::time::sleep(LOOK).await;
            loop {
                let Some(run) = self.doubtful().pop_first() else { break };
                if let Err(error) = self.look(run).await {
                    tracing::warn!(%run, %error, "what became of a commit is not known yet");
                    self.be_doubtful(run);
                    tokio::time::sleep(LOOK).await;
                }
            }
        }
    }
}

impl Telling<'_> {
    /// Tells everybody, unless they know of something newer.
    fn tell(&self, record: &Record, version: Version, by_host: bool) {
        let Committer { timers, dispatch, hub, .. } = self.committer;
        // Held while they are told, so that nothing older is told behind it.
        let mut under_way = self.committer.under_way(self.run);
        let Some(run) = under_way.get_mut(&self.run) else { return };
        if run.told.is_some_and(|told| told > version) {
            if !by_host {
                dispatch.moved(self.run);
            }
            return;
        }
        run.told = Some(version);
        if dispatch.owns(self.run) {
            timers.changed(record);
            dispatch.changed(record, by_host);
        }
        hub.publish(record);
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        let mut under_way = self.committer.under_way(self.run);
        if let Some(run) = under_way.get_mut(&self.run) {
            run.count -= 1;
            if run.count == 0 {
                under_way.remove(&self.run);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::dispatch::{Introduction, Timing};
    use crate::link::News;
    use everstep_core::{Digest, Limits, Payload, Run, StartOptions, StartRequest, Timestamp};
    use everstep_store::Memory;
    use futures::FutureExt;

    fn start() -> Commit {
        let request = StartRequest {
            id: RunId::from_bytes([1; 16]),
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
        Run::start(request, Timestamp::default())
    }

    fn committer() -> (Arc<dyn Store>, Arc<Dispatch>, Committer) {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let dispatch = Arc::new(Dispatch::alone(Timing::default(), 0));
        let (hub, timers) = (Hub::new(), Arc::new(Timers::default()));
        let committer = Committer::new(Arc::clone(&store), hub, Arc::clone(&dispatch), timers);
        (store, dispatch, committer)
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_have_come_about_is_looked_at() {
        let (store, dispatch, committer) = committer();
        // It came about, and nobody was told.
        store.commit(start()).await.unwrap();
        committer.be_doubtful(start().run_id());
        committer.be_doubtful(RunId::from_bytes([2; 16]));
        assert_eq!(dispatch.counts(), (0, 0));
        assert!(tokio::time::timeout(LOOK * 2, committer.serve()).await.is_err());
        assert_eq!(dispatch.counts(), (1, 0), "the run needs a host");
    }

    #[tokio::test]
    async fn what_is_older_is_not_told_behind_what_is_newer() {
        let (_store, dispatch, committer) = committer();
        let seat =
            dispatch.join(Introduction { concurrency: 1, ..Introduction::default() }, &[]).seat;
        let (run, older) = (start().run_id(), start().record);
        let mut newer = older.clone();
        (newer.ready, newer.length) = (false, 2);
        let (first, second) = (committer.begin(run), committer.begin(run));
        second.tell(&newer, (2, 1, None), false);
        first.tell(&older, (1, 0, None), false);
        assert_eq!(dispatch.counts(), (0, 0), "the run needs no host any more");
        drop((first, second));
        assert!(committer.under_way(run).is_empty());
        committer.begin(run).tell(&older, (1, 0, None), false);
        dispatch.next(seat).now_or_never().unwrap().unwrap().keep();
        let (first, second) = (committer.begin(run), committer.begin(run));
        second.tell(&newer, (2, 1, Some(Token(101))), true);
        first.tell(&older, (1, 0, None), false);
        let news = dispatch.next_news(seat).now_or_never();
        assert_eq!(news, Some(News::Moved(run)), "whoever has it looks at its journal");
    }
}
