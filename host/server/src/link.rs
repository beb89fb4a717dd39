//! Where server and host meet. In one process the link is a direct call ([`LocalLink`]); across
//! machines it is a network protocol with the same meaning (`remote`). Nothing in the host knows
//! which. A link is that of one host.

use crate::committer::Committer;
use crate::dispatch::{Dispatch, Seat, Taken};
use crate::finishing::Finishing;
use crate::service::Service;
use crate::timers::Timers;
use async_trait::async_trait;
use everstep_core::api::ResumeView;
use everstep_core::{
    Commit, Digest, Entry, Message, OpId, Payload, Record, Reply, RunId, Timestamp, Token,
};
use everstep_store::{Store, StoreError};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;

/// What a server has for a host: a run to advance, leased under a token.
#[derive(Debug, Clone, PartialEq)]
pub struct Work<R = Record> {
    /// The run to advance.
    pub run: RunId,
    /// The fencing token of the lease.
    pub token: Token,
    /// The run's record.
    pub record: R,
}

/// Why a host gives a run back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HandBack {
    /// Nothing is to be done before this time, which is the record's `wake_at`.
    Idle(Option<Timestamp>),
    /// There is more to do, for whoever takes it.
    Now,
    /// Something outside the run is in the way; try again after this time.
    Later(Duration),
}

/// What a host hears of runs that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Something happened to it: the end of its journal is to be read.
    Moved(RunId),
    /// Its lease is lost: everything about it is to be dropped.
    Lost(RunId, Token),
}

/// What a host tells of its work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Note {
    /// A run that was not in memory was brought back.
    Resumed(RunId, ResumeView),
    /// A snapshot was taken.
    SnapshotTaken {
        /// Its size.
        bytes: u64,
    },
    /// A snapshot was there and not what it should be.
    SnapshotRefused,
}

/// What a host says of itself now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// Runs that it has rebuilt, from a snapshot or by a replay, since it was started.
    pub replays: u64,
}

/// Why a link did not do what it was asked. Never the fault of the run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The journal moved on: read its end and decide anew.
    #[error("the journal moved on")]
    Conflict,
    /// Somebody else has the run now.
    #[error("the lease is lost")]
    LeaseLost,
    /// What is stored is damaged.
    #[error("{0}")]
    Corrupt(String),
    /// More than the store takes in one piece.
    #[error("{0}")]
    TooLarge(String),
    /// The server or its store does not answer.
    #[error("{0}")]
    Unavailable(String),
}

/// What a host needs from a server.
#[async_trait]
pub trait HostLink: Send + Sync + 'static {
    /// The time by which its runs are decided: that of their server.
    fn now(&self) -> Timestamp;

    /// Waits for work. `free` says how many runs the host could take now, this one included, so
    /// that a link may ask ahead; with 0 only what comes unasked is returned. None when there will be no more. May be dropped at any time.
    async fn next_work(&self, free: usize) -> Option<Work>;

    /// Waits for news of the runs that the host has. May be dropped at any time.
    async fn next_news(&self) -> News;

    /// The bytes of a module.
    async fn module(&self, digest: Digest) -> Result<Vec<u8>, LinkError>;

    /// The record of a run as of now; none when there is no such run any more.
    async fn record(&self, run: RunId) -> Result<Option<Record>, LinkError>;

    /// Journal entries from this position on; empty at the end.
    async fn journal(&self, run: RunId, from: u64) -> Result<Vec<Entry>, LinkError>;

    /// Makes a commit durable. Its token says under which lease it was decided.
    async fn commit(&self, commit: Commit) -> Result<(), LinkError>;

    /// Brings a message of a run to another one. An error means that nobody knows whether it came
    /// through: send it again.
    async fn send(&self, from: RunId, message: Message) -> Result<Reply, LinkError>;

    /// Tells what a running task said of itself last; none when it is over.
    async fn progress(&self, run: RunId, op: OpId, progress: Option<Payload>);

    /// Prolongs leases and says how the host is; returns those that are lost.
    async fn renew(
        &self,
        leases: &[(RunId, Token)],
        report: Report,
    ) -> Result<Vec<RunId>, LinkError>;

    /// The snapshot that was put for a run last, if there is one at hand.
    async fn snapshot(&self, _run: RunId) -> Option<Vec<u8>> {
        None
    }

    /// Puts a snapshot in the place of the one before; none takes it away. It may be lost.
    async fn put_snapshot(&self, _run: RunId, _snapshot: Option<Vec<u8>>) {}

    /// Tells of something that people want to know.
    fn note(&self, _note: Note) {}

    /// Ends a lease.
    async fn hand_back(&self, run: RunId, token: Token, how: HandBack);

    /// Says that the host takes no more work.
    async fn stop_work(&self);

    /// Says that the host goes, with every lease that it has left.
    async fn leave(&self);

    /// How often leases are to be renewed.
    fn heartbeat(&self) -> Duration;
}

/// How many entries one read of a journal asks for.
const JOURNAL_PAGE: usize = 1_000;
/// How long a run rests whose record cannot be read.
const DAMAGED: Duration = Duration::from_secs(10);

/// What the links of all hosts share.
#[derive(Clone)]
pub struct LinkParts {
    /// The truth.
    pub store: Arc<dyn Store>,
    /// The door to it.
    pub committer: Arc<Committer>,
    /// The leases.
    pub dispatch: Arc<Dispatch>,
    /// Takes runs that are to be tried later.
    pub timers: Arc<Timers>,
    /// Takes messages to other runs.
    pub service: Arc<Service>,
}

/// The link within one process.
pub struct LocalLink {
    parts: LinkParts,
    seat: Seat,
}

impl LocalLink {
    /// The link of a host that has joined.
    #[must_use]
    pub fn new(parts: LinkParts, seat: Seat) -> Self {
        Self { parts, seat }
    }

    /// The work that was taken, if it is for this host.
    async fn check(&self, taken: Taken) -> Option<Work> {
        let (run, token) = (taken.run, taken.token);
        let record = match taken.record.clone() {
            Some(record) => Ok(Some(record)),
            None => self.parts.store.record(run).await,
        };
        let record = match record {
            Ok(Some(record)) if record.ready || !record.is_terminal() => record,
            Ok(_) => {
                taken.keep();
                self.hand_back(run, token, HandBack::Idle(None)).await;
                return None;
            }
            Err(error) => {
                tracing::error!(%run, %error, "the record of a run cannot be read");
                taken.keep();
                self.hand_back(run, token, HandBack::Later(DAMAGED)).await;
                return None;
            }
        };
        if taken.is_for_its_host(&record) {
            taken.keep();
            Some(Work { run, token, record })
        } else {
            taken.pass_on(record);
            None
        }
    }
}

#[async_trait]
impl HostLink for LocalLink {
    fn now(&self) -> Timestamp {
        crate::clock::now()
    }

    async fn next_work(&self, free: usize) -> Option<Work> {
        if free == 0 {
            // Nothing comes that was not taken.
            return std::future::pending().await;
        }
        loop {
            let taken = self.parts.dispatch.next(self.seat).await?;
            if let Some(work) = self.check(taken).await {
                return Some(work);
            }
        }
    }

    async fn next_news(&self) -> News {
        self.parts.dispatch.next_news(self.seat).await
    }

    async fn module(&self, digest: Digest) -> Result<Vec<u8>, LinkError> {
        let bytes = self.parts.store.module_bytes(digest).await?;
        bytes.ok_or_else(|| LinkError::Corrupt(format!("module {digest} is not in the store")))
    }

    async fn record(&self, run: RunId) -> Result<Option<Record>, LinkError> {
        Ok(self.parts.store.record(run).await?)
    }

    async fn journal(&self, run: RunId, from: u64) -> Result<Vec<Entry>, LinkError> {
        Ok(self.parts.store.journal(run, from, JOURNAL_PAGE).await?)
    }

    async fn commit(&self, commit: Commit) -> Result<(), LinkError> {
        let (run, dispatch) = (commit.run_id(), &self.parts.dispatch);
        let committing = commit.token.and_then(|token| dispatch.begin_commit(run, token));
        let Some(committing) = committing else { return Err(LinkError::LeaseLost) };
        let committer = Arc::clone(&self.parts.committer);
        let commit = async move {
            let committed = committer.commit(commit).await;
            drop(committing);
            committed
        };
        Ok(Finishing::new(commit).await?)
    }

    async fn send(&self, from: RunId, message: Message) -> Result<Reply, LinkError> {
        self.parts.service.deliver(from, message).await
    }

    async fn progress(&self, run: RunId, op: OpId, progress: Option<Payload>) {
        self.parts.service.task_progress(run, op, progress);
    }

    async fn renew(
        &self,
        leases: &[(RunId, Token)],
        report: Report,
    ) -> Result<Vec<RunId>, LinkError> {
        Ok(self.parts.dispatch.renew(self.seat.host, leases, report))
    }

    async fn hand_back(&self, run: RunId, token: Token, how: HandBack) {
        let queued = self.parts.dispatch.hand_back(run, token, &how);
        if queued {
            return;
        }
        let timers = &self.parts.timers;
        match how {
            HandBack::Later(pause) => {
                let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                timers.wake_later(run, crate::clock::now().plus(pause_ms));
            }
            // Commits of host and API may have reached the timers out of order, or a wake-up of
            // ours taken the place of this one: whoever had the run last knows best.
            HandBack::Idle(Some(at)) => timers.remind(run, at),
            HandBack::Idle(None) | HandBack::Now => {}
        }
    }

    async fn stop_work(&self) {
        self.parts.dispatch.stop_work(self.seat);
    }

    async fn leave(&self) {
        self.parts.dispatch.leave(self.seat);
    }

    async fn snapshot(&self, run: RunId) -> Option<Vec<u8>> {
        let found = self.parts.store.snapshot(run).await;
        found.unwrap_or_else(|error| {
            tracing::warn!(%run, %error, "a snapshot cannot be read");
            None
        })
    }

    async fn put_snapshot(&self, run: RunId, snapshot: Option<Vec<u8>>) {
        if let Err(error) = self.parts.store.put_snapshot(run, snapshot).await {
            tracing::debug!(%run, %error, "a snapshot cannot be kept");
        }
    }

    fn note(&self, note: Note) {
        self.parts.service.note(note);
    }

    fn heartbeat(&self) -> Duration {
        self.parts.dispatch.timing().heartbeat
    }
}

impl From<StoreError> for LinkError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict { .. } | StoreError::AlreadyExists => Self::Conflict,
            StoreError::LeaseLost => Self::LeaseLost,
            StoreError::Corrupt { what } => Self::Corrupt(what),
            error @ StoreError::TooLarge { .. } => Self::TooLarge(error.to_string()),
            other => Self::Unavailable(other.to_string()),
        }
    }
}
