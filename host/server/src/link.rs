//! Where server and host meet. In one process the link is a direct call ([`LocalLink`]); across
//! machines it will be a network protocol with the same meaning. Nothing in the host knows which.

use crate::committer::Committer;
use crate::dispatch::Dispatch;
use crate::service::Service;
use crate::timers::Timers;
use async_trait::async_trait;
use everstep_core::api::ResumeView;
use everstep_core::{
    Commit, Digest, Entry, Message, OpId, Payload, Record, Reply, RunId, Timestamp, Token,
};
use everstep_store::{Store, StoreError};
use std::sync::Arc;
use std::time::Duration;

/// Names a host for as long as it is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct HostId(pub u64);

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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HandBack {
    /// Nothing is to be done before this time, which is the record's `wake_at`.
    Idle(Option<Timestamp>),
    /// There is more to do, for whoever takes it.
    Now,
    /// Something outside the run is in the way; try again after this time.
    Later(Duration),
}

/// What a host tells of its work.
#[derive(Debug, Clone, PartialEq)]
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
    /// Waits for work. None when there will be no more.
    async fn next_work(&self, host: HostId) -> Option<Work>;

    /// Waits until something happened to a run that the host has: the end of its journal is to be
    /// read.
    async fn next_moved(&self, host: HostId) -> RunId;

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

    /// Prolongs leases; returns those that are lost.
    async fn renew(&self, leases: &[(RunId, Token)]) -> Result<Vec<RunId>, LinkError>;

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

    /// How long a lease lasts unless renewed.
    fn lease_time(&self) -> Duration;
}

/// How many entries one read of a journal asks for.
const JOURNAL_PAGE: usize = 1_000;

/// The link within one process.
pub struct LocalLink {
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

#[async_trait]
impl HostLink for LocalLink {
    async fn next_work(&self, host: HostId) -> Option<Work> {
        loop {
            let Work { run, token, record } = self.dispatch.next(host).await?;
            let record = match record {
                Some(record) => Ok(Some(record)),
                None => self.store.record(run).await,
            };
            match record {
                Ok(Some(record)) if record.ready || !record.is_terminal() => {
                    return Some(Work { run, token, record });
                }
                Ok(_) => self.hand_back(run, token, HandBack::Idle(None)).await,
                Err(error) => {
                    tracing::error!(%run, %error, "the record of a run cannot be read");
                    self.hand_back(run, token, HandBack::Later(Duration::from_secs(10))).await;
                }
            }
        }
    }

    async fn next_moved(&self, host: HostId) -> RunId {
        self.dispatch.next_moved(host).await
    }

    async fn module(&self, digest: Digest) -> Result<Vec<u8>, LinkError> {
        let bytes = self.store.module_bytes(digest).await?;
        bytes.ok_or_else(|| LinkError::Corrupt(format!("module {digest} is not in the store")))
    }

    async fn record(&self, run: RunId) -> Result<Option<Record>, LinkError> {
        Ok(self.store.record(run).await?)
    }

    async fn journal(&self, run: RunId, from: u64) -> Result<Vec<Entry>, LinkError> {
        Ok(self.store.journal(run, from, JOURNAL_PAGE).await?)
    }

    async fn commit(&self, commit: Commit) -> Result<(), LinkError> {
        let held = commit.token.is_some_and(|token| self.dispatch.holds(commit.run_id(), token));
        if !held {
            return Err(LinkError::LeaseLost);
        }
        Ok(self.committer.commit(commit).await?)
    }

    async fn send(&self, from: RunId, message: Message) -> Result<Reply, LinkError> {
        self.service.deliver(from, message).await
    }

    async fn progress(&self, run: RunId, op: OpId, progress: Option<Payload>) {
        self.service.task_progress(run, op, progress);
    }

    async fn renew(&self, leases: &[(RunId, Token)]) -> Result<Vec<RunId>, LinkError> {
        Ok(self.dispatch.renew(leases))
    }

    async fn hand_back(&self, run: RunId, token: Token, how: HandBack) {
        let queued = self.dispatch.hand_back(run, token, &how);
        if queued {
            return;
        }
        match how {
            HandBack::Later(pause) => {
                let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                self.timers.wake_later(run, crate::clock::now().plus(pause_ms));
            }
            // Commits of host and API may have reached the timers out of order, or a wake-up of
            // ours taken the place of this one: whoever had the run last knows best.
            HandBack::Idle(Some(at)) => self.timers.remind(run, at),
            HandBack::Idle(None) | HandBack::Now => {}
        }
    }

    async fn snapshot(&self, run: RunId) -> Option<Vec<u8>> {
        let found = self.store.snapshot(run).await;
        found.unwrap_or_else(|error| {
            tracing::warn!(%run, %error, "a snapshot cannot be read");
            None
        })
    }

    async fn put_snapshot(&self, run: RunId, snapshot: Option<Vec<u8>>) {
        if let Err(error) = self.store.put_snapshot(run, snapshot).await {
            tracing::debug!(%run, %error, "a snapshot cannot be kept");
        }
    }

    fn note(&self, note: Note) {
        self.service.note(note);
    }

    fn lease_time(&self) -> Duration {
        self.dispatch.lease_time()
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
