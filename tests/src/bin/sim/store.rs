//! The store as one opening of it sees it: memory that outlives every crash, behind an access that fails.
//! A commit may fail before or after it has become durable. When the server that opened it has crashed,
//! nothing that it still asks for has an effect, and nothing is answered.

use crate::world::{Defect, World};
use async_trait::async_trait;
use everstep_core::{
    Commit, Digest, Entry, InputHash, JournalEvent, LogLine, Payload, Publication, Record, RunId,
    Schedule, ScheduleId, Timestamp,
};
use everstep_store::{
    Due, Ended, Memory, ModuleRecord, NewModule, Ownership, PublicationChange, Ready, RunPage,
    RunQuery, SchedulePage, Shards, Store, StoreError, StoreStats,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// See the module.
pub(crate) struct Opened {
    world: Arc<World>,
    memory: Arc<Memory>,
    epoch: u64,
    crashed: AtomicBool,
}

impl Opened {
    pub(crate) fn new(world: &Arc<World>, epoch: u64) -> Arc<Self> {
        let (world, memory) = (Arc::clone(world), Arc::clone(&world.memory));
        Arc::new(Self { world, memory, epoch, crashed: AtomicBool::new(false) })
    }

    /// The server that opened it is gone.
    pub(crate) fn crash(&self) {
        self.crashed.store(true, Ordering::Relaxed);
    }

    pub(crate) fn has_crashed(&self) -> bool {
        self.crashed.load(Ordering::Relaxed)
    }

    /// Whoever has crashed waits for ever.
    async fn unless_crashed(&self) {
        if self.crashed.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    async fn read(&self) -> Result<&Memory, StoreError> {
        self.unless_crashed().await;
        self.world.moment().await;
        self.unless_crashed().await;
        if self.world.fault("a read fails", self.world.plan.read_failed) {
            return Err(StoreError::Unavailable("a read failed".into()));
        }
        Ok(&self.memory)
    }

    /// The server falls over, just here.
    async fn fall(&self) {
        self.crash();
        self.world.crash.notify_one();
        std::future::pending::<()>().await;
    }

    async fn apply(&self, mut commit: Commit) -> Result<(), StoreError> {
        let told = commit.clone();
        if self.world.defect == Some(Defect::ChecksNoTokens) {
            commit.token = self.world.witness.newest_token(commit.run_id()).max(commit.token);
        }
        let applied = self.memory.commit(commit).await;
        match &applied {
            Ok(()) => self.world.witness.committed(&told),
            Err(error) => self.world.witness.refused(&told, error),
        }
        applied
    }

    /// Defects of a store that answers what is not true.
    fn pretends(&self, commit: &Commit) -> bool {
        let has_event = |entry: &Entry| matches!(entry.event, JournalEvent::EventReceived { .. });
        let outside = commit.token.is_none();
        (commit.expected_length == 0 && self.world.has(Defect::LosesStarts, 1_000))
            || (outside
                && commit.entries.iter().any(has_event)
                && self.world.has(Defect::LosesEvents, 1_000))
            || (!outside && self.world.has(Defect::AnswersFirst, 300))
    }
}

#[async_trait]
impl Store for Opened {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        let world = &self.world;
        self.unless_crashed().await;
        world.moment().await;
        self.unless_crashed().await;
        if self.pretends(&commit) {
            return Ok(());
        }
        if world.fault("a commit fails", world.plan.refused) {
            return Err(StoreError::Unavailable("the commit failed".into()));
        }
        if world.fault("a crash before a commit", world.plan.crash_at_commit) {
            self.fall().await;
        }
        self.apply(commit).await?;
        if world.fault("a crash behind a commit", world.plan.crash_at_commit) {
            self.fall().await;
        }
        world.moment().await;
        self.unless_crashed().await;
        if world.fault("a commit's answer is lost", world.plan.answer_lost) {
            return Err(StoreError::Unavailable("the answer was lost".into()));
        }
        Ok(())
    }

    async fn record(&self, id: RunId) -> Result<Option<Record>, StoreError> {
        self.read().await?.record(id).await
    }

    async fn has_reference(&self, id: RunId, reference: InputHash) -> Result<bool, StoreError> {
        self.read().await?.has_reference(id, reference).await
    }

    async fn references(
        &self,
        id: RunId,
        after: Option<InputHash>,
        limit: usize,
    ) -> Result<Vec<InputHash>, StoreError> {
        self.read().await?.references(id, after, limit).await
    }

    async fn journal(&self, id: RunId, from: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        // Small pages, so that journals grow while they are read.
        let limit = limit.min(usize::try_from(self.world.dice.between(1, 20)).unwrap());
        let mut page = self.read().await?.journal(id, from, limit).await?;
        for entry in &mut page {
            if let JournalEvent::TaskCompleted { output, .. } = &mut entry.event
                && self.world.has(Defect::ChangesResults, 500)
            {
                *output = Payload::from_value("another").unwrap();
                self.world.witness.note(format_args!("a result of {id} is read as another"));
            }
        }
        Ok(page)
    }

    async fn logs(&self, id: RunId, from: u64, limit: usize) -> Result<Vec<LogLine>, StoreError> {
        self.read().await?.logs(id, from, limit).await
    }

    async fn runs(&self, query: &RunQuery) -> Result<RunPage, StoreError> {
        self.read().await?.runs(query).await
    }

    async fn due(
        &self,
        shards: &Shards,
        until: Timestamp,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        self.read().await?.due(shards, until, after, limit).await
    }

    async fn ready(
        &self,
        shards: &Shards,
        after: Option<Ready>,
        limit: usize,
    ) -> Result<Vec<Ready>, StoreError> {
        self.read().await?.ready(shards, after, limit).await
    }

    async fn ended(&self, after: Option<&Ended>, limit: usize) -> Result<Vec<Ended>, StoreError> {
        self.read().await?.ended(after, limit).await
    }

    async fn remove(&self, id: RunId) -> Result<bool, StoreError> {
        self.read().await?.remove(id).await
    }

    async fn publish(
        &self,
        module: Option<NewModule>,
        changes: Vec<PublicationChange>,
    ) -> Result<bool, StoreError> {
        self.read().await?.publish(module, changes).await
    }

    async fn publications(&self) -> Result<Vec<Publication>, StoreError> {
        self.read().await?.publications().await
    }

    async fn open_runs(&self) -> Result<BTreeMap<Digest, u64>, StoreError> {
        self.read().await?.open_runs().await
    }

    async fn module(&self, digest: Digest) -> Result<Option<ModuleRecord>, StoreError> {
        self.read().await?.module(digest).await
    }

    async fn module_bytes(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.read().await?.module_bytes(digest).await
    }

    async fn modules(&self) -> Result<Vec<ModuleRecord>, StoreError> {
        self.read().await?.modules().await
    }

    async fn put_schedule(&self, new: Schedule, expected: Option<u64>) -> Result<(), StoreError> {
        self.read().await?.put_schedule(new, expected).await
    }

    async fn schedule(&self, id: ScheduleId) -> Result<Option<Schedule>, StoreError> {
        self.read().await?.schedule(id).await
    }

    async fn schedules(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<SchedulePage, StoreError> {
        self.read().await?.schedules(after, limit).await
    }

    async fn delete_schedule(&self, id: ScheduleId) -> Result<bool, StoreError> {
        self.read().await?.delete_schedule(id).await
    }

    async fn snapshot(&self, run: RunId) -> Result<Option<Vec<u8>>, StoreError> {
        self.read().await?.snapshot(run).await
    }

    async fn put_snapshot(&self, run: RunId, snapshot: Option<Vec<u8>>) -> Result<(), StoreError> {
        self.read().await?.put_snapshot(run, snapshot).await
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn ownership(&self) -> &dyn Ownership {
        self.memory.ownership()
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        self.read().await?.stats().await
    }

    async fn close(&self) {}
}
