//! The default store: one SQLite file in a data directory, written by one thread.
//!
//! Callers encode their commits themselves and put them into a bounded queue; the writer thread
//! takes all that wait, applies them in one transaction, waits for the one fsync of its COMMIT and
//! then answers them all. Reads go through connections of their own and see the last transaction,
//! so they never wait behind the writer. A background thread moves the write-ahead log into the
//! database file.
//!
//! Invariants: an answer is given after the fsync that covers it, never before. After an I/O error
//! nothing is written any more: what a failed fsync left on the disk is unknown, and a second one
//! may report success without having written it. Every row carries a checksum that is verified when
//! it is read, because SQLite has none.

mod apply;
mod checkpoint;
mod directory;
mod list;
mod modules;
mod queue;
mod read;
mod readers;
mod remove;
mod rows;
mod schedules;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

use crate::{
    Due, Ended, ModuleRecord, NewModule, PublicationChange, Ready, RunPage, RunQuery, SchedulePage,
    Store, StoreError, StoreStats,
};
use async_trait::async_trait;
use directory::Directory;
use everstep_core::{
    Commit, Digest, Entry, InputHash, LogLine, Publication, Record, RunId, Schedule, ScheduleId,
    Timestamp,
};
use queue::{Queue, Work, Written};
use readers::Readers;
use remove::{Removal, Removed};
use rows::{Kind, Packed};
use rusqlite::Connection;
use schedules::ScheduleWork;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use writer::Writer;

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
    queue: Arc<Queue>,
    readers: Arc<Readers>,
    // Taken when the store is closed. The directory stays locked until everything else is gone.
    running: Mutex<Option<(Writer, Directory)>>,
}

impl Embedded {
    /// Opens the store, or creates it. Takes a few milliseconds, also after a crash.
    ///
    /// # Errors
    /// `InUse` when the directory is open elsewhere, `Format` and `Foreign` when the file is not
    /// one that this version reads, `Unavailable` when the file system refuses.
    pub fn open(options: EmbeddedOptions) -> Result<Self, StoreError> {
        let directory = Directory::open(&options.path)?;
        let connection = schema::open_writer(&directory.database())?;
        Self::start(directory, connection)
    }

    fn start(directory: Directory, connection: Connection) -> Result<Self, StoreError> {
        remove::finish(&connection)?;
        let epoch = schema::next_epoch(&connection)?;
        let queue = Arc::new(Queue::new());
        let readers = Arc::new(Readers::new(directory.database(), Arc::clone(&queue)));
        let checkpoints = schema::open_checkpoints(&directory.database())?;
        let writer = Writer::start(connection, checkpoints, Arc::clone(&queue))?;
        Ok(Self { epoch, queue, readers, running: Mutex::new(Some((writer, directory))) })
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

    fn take_running(&self) -> Option<(Writer, Directory)> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.queue.close();
        if let Some((writer, directory)) = self.take_running() {
            self.readers.clear();
            writer.join();
            drop(directory);
        }
    }
}

#[async_trait]
impl Store for Embedded {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        let packed = Packed::new(&commit)?;
        drop(commit);
        self.write(Work::Commit(Box::new(packed))).await.map(drop)
    }

    async fn record(&self, id: RunId) -> Result<Option<Record>, StoreError> {
        self.readers.read(move |connection| read::record(connection, id)).await
    }

    async fn has_reference(&self, id: RunId, reference: InputHash) -> Result<bool, StoreError> {
        self.readers.read(move |connection| read::has_reference(connection, id, reference)).await
    }

    async fn journal(&self, id: RunId, from: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.readers.read(move |c| read::items(c, Kind::Journal, id, from, limit)).await
    }

    async fn logs(&self, id: RunId, from: u64, limit: usize) -> Result<Vec<LogLine>, StoreError> {
        self.readers.read(move |c| read::items(c, Kind::Logs, id, from, limit)).await
    }

    async fn runs(&self, query: &RunQuery) -> Result<RunPage, StoreError> {
        let query = query.clone();
        self.readers.read(move |connection| list::page(connection, &query)).await
    }

    async fn due(
        &self,
        until: Timestamp,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        self.readers.read(move |connection| read::due(connection, until, after, limit)).await
    }

    async fn ready(&self, after: Option<Ready>, limit: usize) -> Result<Vec<Ready>, StoreError> {
        self.readers.read(move |connection| read::ready(connection, after, limit)).await
    }

    async fn ended(&self, after: Option<&Ended>, limit: usize) -> Result<Vec<Ended>, StoreError> {
        let after = after.cloned();
        self.readers.read(move |connection| remove::ended(connection, after.as_ref(), limit)).await
    }

    async fn remove(&self, id: RunId) -> Result<bool, StoreError> {
        let Some(record) = self.record(id).await? else { return Ok(false) };
        let removal = Work::Removal(Box::new(Removal::of(&record)));
        let mut removed = self.write_removal(removal).await?;
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
        self.readers.read(modules::open_runs).await
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

    fn epoch(&self) -> u64 {
        self.epoch
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        self.queue.stats()
    }

    async fn close(&self) {
        self.queue.close();
        let Some((writer, directory)) = self.take_running() else { return };
        self.readers.close().await;
        // The last connection to close moves the rest of the log into the database file.
        let closing = tokio::task::spawn_blocking(move || {
            writer.join();
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
