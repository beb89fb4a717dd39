//! The default store: a commit log and one SQLite file in a data directory.
//!
//! Callers encode their commits themselves and put them into a bounded queue. The *writer* thread
//! takes all that wait, judges them, appends them to the log (`log`), waits for the one fsync of that
//! and answers them all. Until they are in the database they stand in the *overlay*, in memory. The
//! *applier* thread brings them into the database some time later, many in one transaction and all
//! commits of a run as one change (`coalesce`), without an fsync; after a crash, opening the store
//! does (`recover`). It does everything else that is written, too: modules, schedules, removals.
//!
//! Reads of one run look into the overlay, and into the database for what is not there; most need no
//! disk and no thread. Lists wait until the database has what was durable when they were asked for.
//! A background thread moves SQLite's own log into the database file.
//!
//! Invariants: an answer is given after the fsync that covers it, never before. After an I/O error
//! nothing is written any more: what a failed fsync left on the disk is unknown, and a second one
//! may report success without having written it. A part of the log is written over only when the
//! database has it durably. Every row carries a checksum that is verified when it is read, because
//! SQLite has none.

mod applier;
mod apply;
mod backlog;
mod checkpoint;
mod coalesce;
mod directory;
mod judge;
mod list;
mod log;
mod modules;
mod overlay;
mod point;
mod queue;
mod read;
mod readers;
mod recover;
mod refusal;
mod remove;
mod rows;
mod schedules;
mod schema;
mod settings;
mod snapshots;
#[cfg(test)]
mod tests;
mod writer;

use crate::alone::Alone;
use crate::{
    Due, Ended, ModuleRecord, NewModule, Ownership, PublicationChange, Ready, RunPage, RunQuery,
    SchedulePage, Shards, Store, StoreError, StoreStats,
};
use async_trait::async_trait;
use backlog::Backlog;
use directory::Directory;
use everstep_core::{
    Commit, Digest, Entry, InputHash, LogLine, Publication, Record, RunId, Schedule, ScheduleId,
    Timestamp,
};
use judge::Judge;
use log::Log;
use overlay::Overlay;
use queue::{Queue, Work, Written};
use readers::Readers;
use recover::Beginning;
use remove::{Removal, Removed};
use rows::{Kind, Packed};
use rusqlite::Connection;
use schedules::ScheduleWork;
use settings::Settings;
use snapshots::Snapshots;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use writer::{Desk, Shared};

/// Where the embedded store keeps its data.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// The data directory; created, closed to other users, when it does not exist.
    pub path: PathBuf,
}

/// The embedded store. Closing it, or dropping it, waits for the commits that are under way.
#[derive(Debug)]
pub struct Embedded {
    epoch: u64,
    alone: Alone,
    queue: Arc<Queue>,
    overlay: Arc<Overlay>,
    backlog: Arc<Backlog>,
    readers: Arc<Readers>,
    snapshots: Snapshots,
    // Taken when the store is closed. The directory stays locked until everything else is gone.
    running: Mutex<Option<(Threads, Directory)>>,
}

/// The threads of an open store.
#[derive(Debug)]
struct Threads {
    writer: JoinHandle<()>,
    applier: JoinHandle<()>,
    shared: Shared,
}

impl Threads {
    /// Waits until everything is written. The queue must have been closed.
    fn join(self) {
        if self.writer.join().is_err() {
            tracing::error!("the writer thread panicked");
        }
        self.shared.backlog.close();
        if self.applier.join().is_err() {
            tracing::error!("the applier thread panicked");
        }
    }
}

impl Embedded {
    /// Whether there is a store in this directory.
    #[must_use]
    pub fn is_in(path: &Path) -> bool {
        directory::database_in(path).exists()
    }

    /// Opens the store, or creates it. Takes a few milliseconds; after a crash as long as it takes to
    /// apply what the database did not have, which is bounded.
    ///
    /// # Errors
    /// `InUse` when the directory is open elsewhere, `Format` and `Foreign` when the file is not
    /// one that this version reads, `Corrupt` when the log is damaged in front of its end,
    /// `Unavailable` when the file system refuses.
    pub fn open(options: EmbeddedOptions) -> Result<Self, StoreError> {
        let directory = Directory::open(&options.path)?;
        let connection = schema::open_writer(&directory.database())?;
        Self::start(directory, connection, &Settings::default())
    }

    fn start(
        directory: Directory,
        connection: Connection,
        settings: &Settings,
    ) -> Result<Self, StoreError> {
        let (log, database) = (directory.log()?, directory.database());
        let snapshots = Snapshots::new(directory.snapshots());
        let Beginning { epoch, mark, last } = recover::recover(&connection, &log)?;
        remove::finish(&connection)?;
        let log = Log::begin(&log, mark, last, settings.segment, Arc::clone(&settings.sync))?;
        let queue = Arc::new(Queue::new());
        let overlay = Arc::new(Overlay::default());
        let backlog = Arc::new(Backlog::new(last, settings));
        let readers = Arc::new(Readers::new(database.clone(), Arc::clone(&queue)));
        let judge = Judge::new(schema::open_reader(&database)?, Arc::clone(&overlay));
        let checkpoints = schema::open_checkpoints(&database)?;
        let shared = Shared {
            queue: Arc::clone(&queue),
            overlay: Arc::clone(&overlay),
            backlog: Arc::clone(&backlog),
        };
        let applier = shared.spawn("everstep-applier", move |shared| {
            applier::run(connection, checkpoints, shared);
        })?;
        let desk = Desk::new(judge, log);
        let writer = match shared.spawn("everstep-store", move |shared| desk.work(shared)) {
            Ok(writer) => writer,
            Err(error) => {
                shared.fail(error.to_string());
                let _ = applier.join();
                return Err(error);
            }
        };
        let running = Mutex::new(Some((Threads { writer, applier, shared }, directory)));
        let alone = Alone::new(epoch);
        Ok(Self { epoch, alone, queue, overlay, backlog, readers, snapshots, running })
    }

    async fn write(&self, work: Work) -> Result<Written, StoreError> {
        let answer = self.queue.push(work).await?;
        answer.await.unwrap_or_else(|_| Err(self.queue.refusal()))
    }

    async fn write_removal(&self, work: Work) -> Result<Removed, StoreError> {
        match self.write(work).await? {
            Written::Removed(removed) => Ok(removed),
            _ => Err(mixed_up()),
        }
    }

    fn take_running(&self) -> Option<(Threads, Directory)> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.queue.close();
        if let Some((threads, directory)) = self.take_running() {
            self.readers.clear();
            threads.join();
            drop(directory);
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        let packed = Packed::new(&commit)?;
        drop(commit);
        self.write(Work::Commit(Arc::new(packed))).await?;
        Ok(())
    }

    async fn record(&self, id: RunId) -> Result<Option<Record>, StoreError> {
        self.read_record(id).await
    }

    async fn has_reference(&self, id: RunId, reference: InputHash) -> Result<bool, StoreError> {
        self.read_reference(id, reference).await
    }

    async fn references(
        &self,
        id: RunId,
        after: Option<InputHash>,
        limit: usize,
    ) -> Result<Vec<InputHash>, StoreError> {
        self.list(move |connection| read::references(connection, id, after, limit)).await
    }

    async fn journal(&self, id: RunId, from: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.read_items(Kind::Journal, id, from, limit).await
    }

    async fn logs(&self, id: RunId, from: u64, limit: usize) -> Result<Vec<LogLine>, StoreError> {
        self.read_items(Kind::Logs, id, from, limit).await
    }

    async fn runs(&self, query: &RunQuery) -> Result<RunPage, StoreError> {
        let query = query.clone();
        self.list(move |connection| list::page(connection, &query)).await
    }

    async fn due(
        &self,
        shards: &Shards,
        until: Timestamp,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        if !shards.contains(0) {
            return Ok(Vec::new());
        }
        self.list(move |connection| read::due(connection, until, after, limit)).await
    }

    async fn ready(
        &self,
        shards: &Shards,
        after: Option<Ready>,
        limit: usize,
    ) -> Result<Vec<Ready>, StoreError> {
        if !shards.contains(0) {
            return Ok(Vec::new());
        }
        self.list(move |connection| read::ready(connection, after, limit)).await
    }

    async fn ended(&self, after: Option<&Ended>, limit: usize) -> Result<Vec<Ended>, StoreError> {
        let after = after.cloned();
        self.list(move |connection| remove::ended(connection, after.as_ref(), limit)).await
    }

    async fn remove(&self, id: RunId) -> Result<bool, StoreError> {
        let Some(record) = self.record(id).await? else { return Ok(false) };
        let removal = Work::Removal(Box::new(Removal::of(&record)));
        let mut removed = self.write_removal(removal).await?;
        self.snapshots.put(id, None).await?;
        while let Removed::Rows(no) = removed {
            removed = self.write_removal(Work::Rows(no)).await?;
        }
        Ok(removed == Removed::Whole)
    }

    async fn publish(
        &self,
        module: Option<NewModule>,
        changes: Vec<PublicationChange>,
    ) -> Result<bool, StoreError> {
        let packed = modules::PackedPublish::new(module, &changes)?;
        match self.write(Work::Publish(Box::new(packed))).await? {
            Written::Published { created } => Ok(created),
            _ => Err(mixed_up()),
        }
    }

    async fn publications(&self) -> Result<Vec<Publication>, StoreError> {
        self.readers.read(modules::publications).await
    }

    async fn open_runs(&self) -> Result<BTreeMap<Digest, u64>, StoreError> {
        self.list(modules::open_runs).await
    }

    async fn module(&self, digest: Digest) -> Result<Option<ModuleRecord>, StoreError> {
        self.readers.read(move |connection| modules::find(connection, digest)).await
    }

    async fn module_bytes(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        self.readers.read(move |connection| modules::bytes(connection, digest)).await
    }

    async fn modules(&self) -> Result<Vec<ModuleRecord>, StoreError> {
        self.readers.read(modules::all).await
    }

    async fn put_schedule(
        &self,
        schedule: Schedule,
        expected: Option<u64>,
    ) -> Result<(), StoreError> {
        let work = ScheduleWork::put(&schedule, expected)?;
        self.write(Work::Schedule(Box::new(work))).await.map(drop)
    }

    async fn schedule(&self, id: ScheduleId) -> Result<Option<Schedule>, StoreError> {
        self.readers.read(move |connection| schedules::find(connection, id)).await
    }

    async fn schedules(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<SchedulePage, StoreError> {
        let after = after.map(str::to_owned);
        self.readers.read(move |c| schedules::page(c, after.as_deref(), limit)).await
    }

    async fn delete_schedule(&self, id: ScheduleId) -> Result<bool, StoreError> {
        let written = self.write(Work::Schedule(Box::new(ScheduleWork::Delete { id }))).await?;
        Ok(matches!(written, Written::Schedule { existed: true }))
    }

    async fn snapshot(&self, run: RunId) -> Result<Option<Vec<u8>>, StoreError> {
        self.queue.check()?;
        self.snapshots.get(run).await
    }

    async fn put_snapshot(&self, run: RunId, snapshot: Option<Vec<u8>>) -> Result<(), StoreError> {
        self.queue.check()?;
        self.snapshots.put(run, snapshot).await
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn ownership(&self) -> &dyn Ownership {
        &self.alone
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        self.queue.stats()
    }

    async fn close(&self) {
        self.queue.close();
        let Some((threads, directory)) = self.take_running() else { return };
        self.readers.close().await;
        // The last connection to close moves the rest of SQLite's log into the database file.
        let closing = tokio::task::spawn_blocking(move || {
            threads.join();
            drop(directory);
        });
        if let Err(error) = closing.await {
            tracing::error!(%error, "the store did not close in good order");
        }
    }
}

fn mixed_up() -> StoreError {
    StoreError::corrupt("the writer mixed up its answers")
}

/// What an error of SQLite means when it is not one of the everyday refusals: either the file is
/// damaged or it cannot be used.
impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        let damaged = match &error {
            rusqlite::Error::SqliteFailure(failure, _) => {
                matches!(failure.code, DatabaseCorrupt | NotADatabase)
            }
            rusqlite::Error::FromSqlConversionFailure(..)
            | rusqlite::Error::IntegralValueOutOfRange(..)
            | rusqlite::Error::InvalidColumnType(..) => true,
            _ => false,
        };
        if damaged {
            Self::corrupt(error.to_string())
        } else {
            Self::Unavailable(error.to_string())
        }
    }
}
