//! The trait that every backend implements and that the server knows nothing beyond.

use crate::{
    Due, Ended, ModuleRecord, NewModule, Ownership, PublicationChange, Ready, RunPage, RunQuery,
    SchedulePage, Shards, StoreError,
};
use async_trait::async_trait;
use everstep_core::{
    Commit, Digest, Entry, InputHash, LogLine, Publication, Record, RunId, Schedule, ScheduleId,
    Timestamp,
};
use std::collections::BTreeMap;

/// Keeps runs, journals, log lines, modules and schedules.
///
/// A commit is admitted when the run's journal has the expected length (0 for a run that does not
/// exist yet) and its token, if it has one, is not older than the newest token seen for the run.
/// The token is checked first: who lost the lease should hear that, not of a conflict. Commits of
/// one run that were admitted follow each other; commits of different runs are independent. Last, none
/// of its references may have been in an earlier commit of the run.
///
/// When a record says that the journal begins later than before, the entries in front of that are
/// removed.
///
/// Reads show only what is durable, and all that was answered before. Those of one run never wait behind
/// commits; lists may wait until what they search has the commits in front of them.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Makes all of the commit true, durably, or nothing. Waits while the store is busy. When the
    /// returned future is dropped early, the commit may still happen.
    ///
    /// # Errors
    /// `AlreadyExists`, `Conflict`, `LeaseLost`, `Duplicate`: refused. `Unavailable`: the outcome is
    /// unknown.
    async fn commit(&self, commit: Commit) -> Result<(), StoreError>;

    /// The record of a run; none when there is no such run.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`.
    async fn record(&self, id: RunId) -> Result<Option<Record>, StoreError>;

    /// Whether a commit of this run had this reference.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn has_reference(&self, id: RunId, reference: InputHash) -> Result<bool, StoreError>;

    /// The references of this run behind `after`, in order, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn references(
        &self,
        id: RunId,
        after: Option<InputHash>,
        limit: usize,
    ) -> Result<Vec<InputHash>, StoreError>;

    /// Journal entries from position `from` on; empty at the end, for an unknown run, and in front
    /// of where the journal begins (see [`Record::first`]). About
    /// `limit` of them: entries that were committed together come together (so there may be
    /// more), and what would not fit in memory well is left for the next call (so there may be
    /// fewer, but at least one when there are any).
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`.
    async fn journal(&self, id: RunId, from: u64, limit: usize) -> Result<Vec<Entry>, StoreError>;

    /// Log lines from position `from` on, cut like [`Store::journal`].
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`.
    async fn logs(&self, id: RunId, from: u64, limit: usize) -> Result<Vec<LogLine>, StoreError>;

    /// A page of runs, newest first. Following the cursors shows every run that matches all along
    /// exactly once, whatever is started or changed in between.
    ///
    /// # Errors
    /// `BadCursor`, `Unavailable`. A damaged record is reported in the page.
    async fn runs(&self, query: &RunQuery) -> Result<RunPage, StoreError>;

    /// Runs of these shards with `wake_at` at or before `until`, in order, behind `after`, at most
    /// `limit`.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn due(
        &self,
        shards: &Shards,
        until: Timestamp,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError>;

    /// Runs of these shards whose record says that they need a host, longest waiting first, behind
    /// `after`, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn ready(
        &self,
        shards: &Shards,
        after: Option<Ready>,
        limit: usize,
    ) -> Result<Vec<Ready>, StoreError>;

    /// Runs that have ended and need no host, by workflow, then by the time of their end, behind
    /// `after`, at most `limit`.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn ended(&self, after: Option<&Ended>, limit: usize) -> Result<Vec<Ended>, StoreError>;

    /// Removes a run with everything that belongs to it, durably: record, journal, log lines and
    /// tags. Its id may be used again. False when there is no such run.
    ///
    /// # Errors
    /// `NotEnded` when it has not ended or still needs a host. `Corrupt`, `Unavailable`.
    async fn remove(&self, id: RunId) -> Result<bool, StoreError>;

    /// Keeps a module, if one is given, and writes what is published of some workflows: all of it,
    /// durably, or nothing. The bytes of a module that is there change nothing. Says whether the
    /// module is new.
    ///
    /// # Errors
    /// `PublicationChanged` when another revision is there than the one a change was decided on.
    async fn publish(
        &self,
        module: Option<NewModule>,
        changes: Vec<PublicationChange>,
    ) -> Result<bool, StoreError>;

    /// What is published of all workflows, by name.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`.
    async fn publications(&self) -> Result<Vec<Publication>, StoreError>;

    /// How many runs that have not ended execute each module; modules without such runs are left
    /// out.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn open_runs(&self) -> Result<BTreeMap<Digest, u64>, StoreError>;

    /// What is known of a module.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`.
    async fn module(&self, digest: Digest) -> Result<Option<ModuleRecord>, StoreError>;

    /// The bytes of a module, checked against its digest.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`.
    async fn module_bytes(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError>;

    /// All modules, in the order of their upload.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`.
    async fn modules(&self) -> Result<Vec<ModuleRecord>, StoreError>;

    /// Writes a schedule, durably, when the one that is there has the revision `expected`; none for
    /// one that is not there yet.
    ///
    /// # Errors
    /// `ScheduleChanged` when something else is there; `Unavailable`.
    async fn put_schedule(
        &self,
        schedule: Schedule,
        expected: Option<u64>,
    ) -> Result<(), StoreError>;

    /// A schedule; none when there is no such one.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`.
    async fn schedule(&self, id: ScheduleId) -> Result<Option<Schedule>, StoreError>;

    /// A page of schedules in the order in which they were made, behind the page with this cursor.
    ///
    /// # Errors
    /// `BadCursor`, `Unavailable`. A damaged schedule is reported in the page.
    async fn schedules(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<SchedulePage, StoreError>;

    /// Deletes a schedule, durably. Says whether there was one.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn delete_schedule(&self, id: ScheduleId) -> Result<bool, StoreError>;

    /// The snapshot that was put for a run last; none when there is none, or it was lost. Whoever gets it
    /// checks that it is what was written.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn snapshot(&self, run: RunId) -> Result<Option<Vec<u8>>, StoreError>;

    /// Puts a snapshot of a run in the place of the one before; none takes it away. It is a cache: it
    /// need not be durable, may be lost at any time, and goes with its run at the latest.
    ///
    /// # Errors
    /// `TooLarge` when there is no room for it; `Unavailable`. There may be none afterwards, or still the
    /// one before.
    async fn put_snapshot(&self, run: RunId, snapshot: Option<Vec<u8>>) -> Result<(), StoreError>;

    /// A number that is larger, durably, each time the data is opened. Tokens of leases begin with
    /// it, so that none from before a restart can pass for a newer one.
    fn epoch(&self) -> u64;

    /// The number of shards. Each run belongs to one of them, for ever; servers share the runs of a
    /// store by shards.
    fn shards(&self) -> u16 {
        1
    }

    /// The shard of a run, below [`Store::shards`]; also of one that does not exist.
    fn shard_of(&self, run: RunId) -> u16 {
        let _ = run;
        0
    }

    /// The servers on this store, and who of them owns which shard.
    fn ownership(&self) -> &dyn Ownership;

    /// Counters since the store was opened. An error says that the store does not work and why.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn stats(&self) -> Result<StoreStats, StoreError>;

    /// Finishes the commits that are waiting, then releases everything. Whatever is asked
    /// afterwards is answered `Unavailable`. Closing twice is fine.
    async fn close(&self);
}

/// What a store has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// Commits made durable (refused ones not counted).
    pub commits: u64,
    /// How often commits had to wait for the disk to confirm: one for each group of commits.
    pub fsyncs: u64,
    /// Bytes written for commits to become durable.
    pub bytes_written: u64,
    /// Commits that wait at this moment.
    pub waiting: u64,
}
