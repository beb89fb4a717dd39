//! The store for several servers: Redis, or a Redis Cluster.
//!
//! One commit is one script on one hash slot. A run belongs to a shard, which is a hash of its id, and
//! all keys of the run and of its shard's indexes carry the shard as hash tag. Lists go through all
//! shards and merge. `keys` says what stands where; `docs/redis.md` says it for people.
//!
//! Invariants: nothing is written by a refused commit. Every value carries a checksum over its data
//! and its place, verified when it is read. What a commit of unknown outcome has done is found out by
//! sending it again, which does no harm: it has an id, which its run remembers; when that fails, it is
//! answered `Unavailable`. Unlike the embedded store this one goes on when its Redis is back.

mod commit;
mod ear;
mod health;
mod keys;
mod keyspace;
mod link;
mod list;
mod modules;
mod options;
mod ownership;
mod password;
mod read;
mod remove;
mod schedules;
mod scripts;
mod snapshots;
#[cfg(test)]
pub(crate) mod tests;
mod walk;

pub use health::StoreWarning;
pub use options::{PASSWORD_VARIABLE, RedisOptions};
pub use password::Password;

use crate::codec::Kind;
use crate::{
    Due, Ended, ModuleRecord, NewModule, Ownership, PublicationChange, Ready, RunPage, RunQuery,
    SchedulePage, Shards, Store, StoreError, StoreStats,
};
use async_trait::async_trait;
use commit::Packed;
use ear::Ear;
use everstep_core::{
    Commit, Digest, Entry, InputHash, LogLine, Publication, Record, RunId, Schedule, ScheduleId,
    Timestamp,
};
use keys::Keys;
use link::{Link, unavailable};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use tokio::sync::{RwLock, RwLockReadGuard};

/// A store in Redis.
#[derive(Debug)]
pub struct Redis {
    link: Link,
    keys: Keys,
    namespace: String,
    epoch: u64,
    warnings: Vec<StoreWarning>,
    /// Drawn at random when the store is opened: the first half of the ids of its commits, and
    /// what its hints are known by.
    mark: u64,
    sent: AtomicU64,
    commits: AtomicU64,
    bytes: AtomicU64,
    waiting: AtomicU64,
    /// Whether it is closed. Every request holds it for as long as it takes.
    closed: RwLock<bool>,
    ear: Ear,
}

impl Redis {
    /// Connects, looks at what the server promises, and enters the namespace, which is made when
    /// there is none.
    ///
    /// # Errors
    /// `Unavailable` when it cannot be reached, `Unfit` when it is too old, a replica, or throws data
    /// away, `Format` and `Foreign` when the namespace is not one that this version reads.
    pub async fn open(options: &RedisOptions) -> Result<Self, StoreError> {
        let link = Link::open(options).await?;
        let warnings = health::check(&link, options.cluster).await?;
        let keys = keyspace::enter(&link, options).await?;
        let epoch = keyspace::epoch(&link, &keys, 0).await?;
        let mark = RandomState::new().hash_one(epoch);
        let ear = Ear::new(options, keys.hints(), mark)?;
        Ok(Self {
            link,
            keys,
            namespace: options.namespace.clone(),
            epoch,
            warnings,
            mark,
            sent: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            closed: RwLock::new(false),
            ear,
        })
    }

    /// What whoever runs the server should know of this Redis.
    #[must_use]
    pub fn warnings(&self) -> &[StoreWarning] {
        &self.warnings
    }

    async fn gate(&self) -> Result<RwLockReadGuard<'_, bool>, StoreError> {
        let closed = self.closed.read().await;
        if *closed {
            return Err(StoreError::Unavailable("it is closed".into()));
        }
        Ok(closed)
    }

    fn commit_id(&self) -> [u8; 16] {
        let number = self.sent.fetch_add(1, Relaxed);
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.mark.to_be_bytes());
        id[8..].copy_from_slice(&number.to_be_bytes());
        id
    }
}

/// Counts a commit as waiting, also when whoever waits for it goes away.
struct Waiting<'r>(&'r AtomicU64);

impl<'r> Waiting<'r> {
    fn new(count: &'r AtomicU64) -> Self {
        count.fetch_add(1, Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[async_trait]
impl Store for Redis {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        let _open = self.gate().await?;
        let _waiting = Waiting::new(&self.waiting);
        let packed = Packed::new(&commit, self.commit_id(), &self.keys)?;
        drop(commit);
        self.send_commit(&packed).await?;
        self.commits.fetch_add(1, Relaxed);
        self.bytes.fetch_add(packed.bytes as u64, Relaxed);
        Ok(())
    }

    async fn record(&self, id: RunId) -> Result<Option<Record>, StoreError> {
        let _open = self.gate().await?;
        self.read_record(id).await
    }

    async fn has_reference(&self, id: RunId, reference: InputHash) -> Result<bool, StoreError> {
        let _open = self.gate().await?;
        self.read_reference(id, reference).await
    }

    async fn references(
        &self,
        id: RunId,
        after: Option<InputHash>,
        limit: usize,
    ) -> Result<Vec<InputHash>, StoreError> {
        let _open = self.gate().await?;
        self.read_references(id, after, limit).await
    }

    async fn journal(&self, id: RunId, from: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let _open = self.gate().await?;
        self.read_items(Kind::Journal, id, from, limit).await
    }

    async fn logs(&self, id: RunId, from: u64, limit: usize) -> Result<Vec<LogLine>, StoreError> {
        let _open = self.gate().await?;
        self.read_items(Kind::Logs, id, from, limit).await
    }

    async fn runs(&self, query: &RunQuery) -> Result<RunPage, StoreError> {
        let _open = self.gate().await?;
        self.list_runs(query).await
    }

    async fn due(
        &self,
        shards: &Shards,
        until: Timestamp,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        let _open = self.gate().await?;
        self.list_due(shards, until, after, limit).await
    }

    async fn ready(
        &self,
        shards: &Shards,
        after: Option<Ready>,
        limit: usize,
    ) -> Result<Vec<Ready>, StoreError> {
        let _open = self.gate().await?;
        self.list_ready(shards, after, limit).await
    }

    async fn ended(&self, after: Option<&Ended>, limit: usize) -> Result<Vec<Ended>, StoreError> {
        let _open = self.gate().await?;
        self.list_ended(after, limit).await
    }

    async fn remove(&self, id: RunId) -> Result<bool, StoreError> {
        let _open = self.gate().await?;
        self.remove_run(id).await
    }

    async fn publish(
        &self,
        module: Option<NewModule>,
        changes: Vec<PublicationChange>,
    ) -> Result<bool, StoreError> {
        let _open = self.gate().await?;
        self.write_publish(module, &changes).await
    }

    async fn publications(&self) -> Result<Vec<Publication>, StoreError> {
        let _open = self.gate().await?;
        self.read_publications().await
    }

    async fn open_runs(&self) -> Result<BTreeMap<Digest, u64>, StoreError> {
        let _open = self.gate().await?;
        self.count_open().await
    }

    async fn module(&self, digest: Digest) -> Result<Option<ModuleRecord>, StoreError> {
        let _open = self.gate().await?;
        self.read_module(digest).await
    }

    async fn module_bytes(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let _open = self.gate().await?;
        self.read_module_bytes(digest).await
    }

    async fn modules(&self) -> Result<Vec<ModuleRecord>, StoreError> {
        let _open = self.gate().await?;
        self.read_modules().await
    }

    async fn put_schedule(
        &self,
        schedule: Schedule,
        expected: Option<u64>,
    ) -> Result<(), StoreError> {
        let _open = self.gate().await?;
        self.write_schedule(&schedule, expected).await
    }

    async fn schedule(&self, id: ScheduleId) -> Result<Option<Schedule>, StoreError> {
        let _open = self.gate().await?;
        self.read_schedule(id).await
    }

    async fn schedules(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<SchedulePage, StoreError> {
        let _open = self.gate().await?;
        self.list_schedules(after, limit).await
    }

    async fn delete_schedule(&self, id: ScheduleId) -> Result<bool, StoreError> {
        let _open = self.gate().await?;
        self.remove_schedule(id).await
    }

    async fn snapshot(&self, run: RunId) -> Result<Option<Vec<u8>>, StoreError> {
        let _open = self.gate().await?;
        self.read_snapshot(run).await
    }

    async fn put_snapshot(&self, run: RunId, snapshot: Option<Vec<u8>>) -> Result<(), StoreError> {
        let _open = self.gate().await?;
        self.write_snapshot(run, snapshot).await
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn shards(&self) -> u16 {
        self.keys.shards
    }

    fn shard_of(&self, run: RunId) -> u16 {
        self.keys.shard_of(run)
    }

    fn ownership(&self) -> &dyn Ownership {
        self
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        let _open = self.gate().await?;
        let is_there = keyspace::is_there(&self.link, &self.namespace).await;
        if !is_there.map_err(|error| unavailable(&error))? {
            let what = format!("the namespace {} has vanished from Redis", self.namespace);
            return Err(StoreError::Corrupt { what });
        }
        Ok(StoreStats {
            commits: self.commits.load(Relaxed),
            // Redis does not say.
            fsyncs: 0,
            bytes_written: self.bytes.load(Relaxed),
            waiting: self.waiting.load(Relaxed),
        })
    }

    async fn close(&self) {
        // Waits for the requests that are under way.
        *self.closed.write().await = true;
        self.ear.close();
    }
}
