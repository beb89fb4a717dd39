//! The host's side: a [`HostLink`] over a connection that breaks and comes back.
//!
//! A task keeps the connection (`keep`); this file is what the host asks of it. Invariant: work that the host has not asked for is never taken, and what is handed out by
//! `next_work` is leased as far as the host knows.

use super::address::ServerAddress;
use super::keep::keep;
use super::pending::Pending;
use super::protocol::{
    Answer, Bytes, Grant, HandBackFrame, JournalFrom, Lease, ModuleFrom, ModulePiece, OfRun,
    ProgressFrame, Renew, SendFrame, SnapshotFrame, kind,
};
use super::server_clock::ServerClock;
use crate::dispatch::Timing;
use crate::link::{HandBack, HostLink, LinkError, News, Note, Report, Work};
use async_trait::async_trait;
use everstep_core::{
    Commit, Digest, Entry, Message, OpId, Payload, Record, Reply, RunId, Timestamp, Token,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;

/// Reads of journals and modules at once: their answers are large.
const READS_MAX: usize = 16;
/// The largest module that is fetched, in bytes.
const MODULE_MAX: u64 = 256 << 20;
/// How long a host that leaves waits for the server to hear of it.
const FAREWELL: Duration = Duration::from_secs(5);

/// What happens to the connection.
#[derive(Debug, Clone, Copy)]
pub enum Happening<'a> {
    /// The server has taken the host in, under this number.
    Connected(&'a ServerAddress, u64),
    /// There is no connection, for this reason. It is tried again.
    Lost(&'a ServerAddress, &'a str),
}

/// How a host introduces itself to a server.
#[derive(Clone)]
pub struct RemoteOptions {
    /// The server.
    pub server: ServerAddress,
    /// The host's name, for people.
    pub name: String,
    /// How many runs it drives at once.
    pub concurrency: usize,
    /// The pool that it serves; none for runs without one.
    pub pool: Option<String>,
    /// The workflows that it serves; empty for all.
    pub workflows: Vec<String>,
    /// Is told what happens to the connection.
    pub observer: Arc<dyn Fn(Happening<'_>) + Send + Sync>,
}

pub(super) struct State {
    /// Work that came and was not handed out.
    pub(super) work: VecDeque<Work>,
    pub(super) news: VecDeque<News>,
    /// What the host has, as far as it knows.
    pub(super) leases: HashMap<RunId, Token>,
    /// How many runs the host could take.
    pub(super) wanted: usize,
    /// How many more the server may send.
    pub(super) granted: usize,
    pub(super) stopped: bool,
    pub(super) report: Report,
    pub(super) timing: Timing,
    /// When the server was heard last.
    pub(super) heard: Instant,
}

pub(super) struct Shared {
    pub(super) options: RemoteOptions,
    pub(super) identity: String,
    pub(super) pending: Pending,
    pub(super) clock: ServerClock,
    pub(super) state: Mutex<State>,
    pub(super) work_bell: Notify,
    pub(super) news_bell: Notify,
    pub(super) reads: Semaphore,
}

/// See the module.
pub struct RemoteLink {
    shared: Arc<Shared>,
    keeping: AbortHandle,
}

impl Drop for RemoteLink {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

impl RemoteLink {
    /// A link that connects, and stays connected as well as it can, on this runtime.
    #[must_use]
    pub fn start(options: RemoteOptions, runtime: &Handle) -> Self {
        let state = State {
            work: VecDeque::new(),
            news: VecDeque::new(),
            leases: HashMap::new(),
            wanted: 0,
            granted: 0,
            stopped: false,
            report: Report::default(),
            timing: Timing::default(),
            heard: Instant::now(),
        };
        let shared = Arc::new(Shared {
            options,
            identity: format!("{:032x}", rand::random::<u128>()),
            pending: Pending::new(),
            clock: ServerClock::new(),
            state: Mutex::new(state),
            work_bell: Notify::new(),
            news_bell: Notify::new(),
            reads: Semaphore::new(READS_MAX),
        });
        let keeping = runtime.spawn(keep(Arc::clone(&shared))).abort_handle();
        Self { shared, keeping }
    }
}

impl Shared {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets the server send as much as the host could take and has not been sent.
    pub(super) fn ask_for_work(&self, state: &mut State) {
        if state.stopped || !self.pending.is_connected() {
            return;
        }
        let missing = state.wanted.saturating_sub(state.granted + state.work.len());
        if missing > 0 {
            state.granted += missing;
            let slots = u32::try_from(missing).unwrap_or(u32::MAX);
            self.pending.tell(kind::GRANT, &Grant { slots });
        }
    }

    async fn ask<A: DeserializeOwned>(
        &self,
        kind: &str,
        question: &(impl Serialize + ?Sized),
    ) -> Result<A, LinkError> {
        let patience = self.state().timing.lease;
        let frame = self.pending.ask(kind, question, patience).await?;
        let answer = frame.body::<Answer<A>>();
        answer.map_err(|error| LinkError::Unavailable(error.to_string()))?.into()
    }

    pub(super) async fn hand_back(&self, run: RunId, token: Token, how: HandBack) {
        let frame = HandBackFrame { lease: Lease { run, token }, how };
        if let Err(error) = self.ask::<()>(kind::HAND_BACK, &frame).await {
            tracing::warn!(%run, %error, "a run could not be handed back");
        }
        // Not earlier: were the connection lost meanwhile, the lease would be ended before the
        // server hears why.
        let mut state = self.state();
        if state.leases.get(&run) == Some(&token) {
            state.leases.remove(&run);
        }
    }
}

#[async_trait]
impl HostLink for RemoteLink {
    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    async fn next_work(&self, free: usize) -> Option<Work> {
        loop {
            {
                let mut state = self.shared.state();
                if state.stopped {
                    return None;
                }
                if let Some(work) = state.work.pop_front() {
                    state.wanted = state.wanted.saturating_sub(1);
                    return Some(work);
                }
                state.wanted = free;
                self.shared.ask_for_work(&mut state);
            }
            self.shared.work_bell.notified().await;
        }
    }

    async fn next_news(&self) -> News {
        loop {
            if let Some(news) = self.shared.state().news.pop_front() {
                return news;
            }
            self.shared.news_bell.notified().await;
        }
    }

    async fn module(&self, digest: Digest) -> Result<Vec<u8>, LinkError> {
        let _turn = self.shared.reads.acquire().await;
        let mut bytes = Vec::new();
        loop {
            let from = ModuleFrom { digest, offset: bytes.len() as u64 };
            let piece: ModulePiece = self.shared.ask(kind::MODULE, &from).await?;
            bytes.extend_from_slice(&piece.bytes.0);
            let (length, total) = (bytes.len() as u64, piece.total.min(MODULE_MAX));
            if length >= total {
                break;
            }
            if piece.bytes.0.is_empty() {
                return Err(LinkError::Unavailable(format!("module {digest} came cut short")));
            }
        }
        // Not the fault of the run: what is stored may be well.
        if Digest::of(&bytes) != digest {
            let what = format!("what came for module {digest} is something else");
            return Err(LinkError::Unavailable(what));
        }
        Ok(bytes)
    }

    async fn record(&self, run: RunId) -> Result<Option<Record>, LinkError> {
        self.shared.ask(kind::RECORD, &OfRun { run }).await
    }

    async fn journal(&self, run: RunId, from: u64) -> Result<Vec<Entry>, LinkError> {
        let _turn = self.shared.reads.acquire().await;
        self.shared.ask(kind::JOURNAL, &JournalFrom { run, from }).await
    }

    async fn commit(&self, commit: Commit) -> Result<(), LinkError> {
        self.shared.ask(kind::COMMIT, &commit).await
    }

    async fn send(&self, from: RunId, message: Message) -> Result<Reply, LinkError> {
        self.shared.ask(kind::SEND, &SendFrame { from, message }).await
    }

    async fn progress(&self, run: RunId, op: OpId, progress: Option<Payload>) {
        self.shared.pending.tell(kind::PROGRESS, &ProgressFrame { run, op, progress });
    }

    async fn renew(
        &self,
        leases: &[(RunId, Token)],
        report: Report,
    ) -> Result<Vec<RunId>, LinkError> {
        self.shared.state().report = report;
        let named = leases.iter().map(|&(run, token)| Lease { run, token }).collect();
        let renew = Renew { leases: named, report };
        let lost: Vec<RunId> = self.shared.ask(kind::RENEW, &renew).await?;
        let mut state = self.shared.state();
        for (run, token) in leases.iter().filter(|(run, _)| lost.contains(run)) {
            self.shared.lose(&mut state, *run, *token);
        }
        drop(state);
        Ok(lost)
    }

    async fn snapshot(&self, run: RunId) -> Option<Vec<u8>> {
        let _turn = self.shared.reads.acquire().await;
        let found: Result<Option<Bytes>, _> = self.shared.ask(kind::SNAPSHOT, &OfRun { run }).await;
        found.ok().flatten().map(|bytes| bytes.0)
    }

    async fn put_snapshot(&self, run: RunId, snapshot: Option<Vec<u8>>) {
        let frame = SnapshotFrame { run, snapshot: snapshot.map(Bytes) };
        if let Err(error) = self.shared.ask::<()>(kind::PUT_SNAPSHOT, &frame).await {
            tracing::debug!(%run, %error, "a snapshot cannot be kept");
        }
    }

    fn note(&self, note: Note) {
        self.shared.pending.tell(kind::NOTE, &note);
    }

    async fn hand_back(&self, run: RunId, token: Token, how: HandBack) {
        self.shared.hand_back(run, token, how).await;
    }

    async fn stop_work(&self) {
        let work = {
            let mut state = self.shared.state();
            state.stopped = true;
            std::mem::take(&mut state.work)
        };
        self.shared.work_bell.notify_one();
        self.shared.pending.tell(kind::STOP, &());
        let back = work
            .into_iter()
            .map(|Work { run, token, .. }| self.shared.hand_back(run, token, HandBack::Now));
        // Without a connection the server hears of it when it finds out that the host has gone.
        let _ = tokio::time::timeout(FAREWELL, futures::future::join_all(back)).await;
    }

    async fn leave(&self) {
        if self.shared.pending.is_connected() {
            let said = self.shared.pending.ask(kind::GOODBYE, &(), FAREWELL).await;
            if let Err(error) = said {
                tracing::warn!(%error, "the server may not know that the host has gone");
            }
        }
        self.keeping.abort();
    }

    fn heartbeat(&self) -> Duration {
        self.shared.state().timing.heartbeat
    }
}
