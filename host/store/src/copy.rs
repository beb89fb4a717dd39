//! Moves everything from one store to another, whatever the two are: for going from a data directory
//! to Redis, and back. Nobody may work on either of them meanwhile.
//!
//! A run is written by ordinary commits, so that the other store needs to know nothing of this. Leases
//! are not moved: tokens begin anew. A run that needs a host goes to where its last change puts it in the
//! line of those. Snapshots are not moved either: they are a cache, which the servers on the new store fill
//! again. At the end both stores are read and compared, run by run.

use crate::codec::encode;
use crate::{
    MAX_PAGE, ModuleRecord, NewModule, PublicationChange, RunPage, RunQuery, Store, StoreError,
};
use everstep_core::{Commit, Entry, InputHash, JournalEvent, OpId, Record, Schedule, Timestamp};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Runs that are under way at a time.
const AT_ONCE: usize = 16;

/// Entries, log lines or references of one commit, at most.
const PIECE: usize = 1_000;

/// What has been done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// Modules written.
    pub modules: u64,
    /// Schedules written.
    pub schedules: u64,
    /// Runs written.
    pub runs: u64,
    /// Their journal entries.
    pub entries: u64,
    /// Their log lines.
    pub log_lines: u64,
    /// Runs that were found to be the same on both sides.
    pub compared: u64,
}

/// Why a store was not copied, or not well.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CopyError {
    /// There is something in the target. Nothing was written.
    #[error("the target is not empty: it has {0}")]
    NotEmpty(&'static str),
    /// What is in the target is not what is in the source.
    #[error("the target differs from the source: {0}")]
    Differs(String),
    /// The source cannot be read.
    #[error("the source: {0}")]
    Source(StoreError),
    /// The target cannot be read or written.
    #[error("the target: {0}")]
    Target(StoreError),
}

impl CopyError {
    /// A stable dotted word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotEmpty(_) => "copy.not_empty",
            Self::Differs(_) => "copy.differs",
            Self::Source(error) | Self::Target(error) => error.code(),
        }
    }
}

/// Copies everything into an empty store, then compares. `progress` hears how far it has come. When
/// it fails or is dropped, the target has a part of the runs and is to be thrown away: it is not empty any
/// more, so nothing is copied on top of it.
///
/// # Errors
/// `NotEmpty` before anything is written; `Differs` when the comparison fails; what the stores say.
pub async fn copy(
    from: &dyn Store,
    to: &dyn Store,
    mut progress: impl FnMut(&Copied),
) -> Result<Copied, CopyError> {
    refuse_unless_empty(to).await?;
    let mut copied = Copied::default();
    for module in from.modules().await.map_err(CopyError::Source)? {
        copy_module(from, to, module).await?;
        copied.modules += 1;
        progress(&copied);
    }
    let publications = from.publications().await.map_err(CopyError::Source)?;
    let changes = publications.into_iter();
    let changes = changes.map(|publication| PublicationChange { publication, expected: 0 });
    to.publish(None, changes.collect()).await.map_err(CopyError::Target)?;

    let mut pages = Pages::of(from);
    while let Some(page) = pages.next().await.map_err(CopyError::Source)? {
        let runs = page.runs.into_iter().map(|record| copy_run(from, to, record));
        let mut runs = stream::iter(runs).buffer_unordered(AT_ONCE);
        while let Some((entries, log_lines)) = runs.try_next().await? {
            copied.runs += 1;
            copied.entries += entries;
            copied.log_lines += log_lines;
            progress(&copied);
        }
    }
    for schedule in all_schedules(from).await.map_err(CopyError::Source)? {
        to.put_schedule(schedule, None).await.map_err(CopyError::Target)?;
        copied.schedules += 1;
        progress(&copied);
    }
    compare(from, to, |compared| {
        copied.compared = compared;
        progress(&copied);
    })
    .await?;
    Ok(copied)
}

/// Compares two stores that nobody works on. `progress` hears how many runs are the same.
///
/// # Errors
/// `Differs` names the first difference; what the stores say.
pub async fn compare(
    from: &dyn Store,
    to: &dyn Store,
    mut progress: impl FnMut(u64),
) -> Result<(), CopyError> {
    use CopyError::{Source, Target};
    let modules = from.modules().await.map_err(Source)?;
    same("modules", &modules, &to.modules().await.map_err(Target)?)?;
    for module in &modules {
        // Stores check bytes against their digest when they are read.
        let bytes = to.module_bytes(module.digest).await.map_err(Target)?;
        same(&format!("module {}", module.digest), true, bytes.is_some())?;
    }
    let publications =
        (from.publications().await.map_err(Source)?, to.publications().await.map_err(Target)?);
    same("what is published", publications.0, publications.1)?;
    let schedules = (all_schedules(from).await, all_schedules(to).await);
    same("schedules", schedules.0.map_err(Source)?, schedules.1.map_err(Target)?)?;
    let mut compared = 0;
    let mut pages = Pages::of(from);
    while let Some(page) = pages.next().await.map_err(Source)? {
        let runs = page.runs.into_iter().map(|record| async move {
            let run = record.id();
            let ours = Some(sum(from, record).await.map_err(Source)?);
            let theirs = match to.record(run).await.map_err(Target)? {
                Some(record) => Some(sum(to, record).await.map_err(Target)?),
                None => None,
            };
            same(&format!("run {run}"), ours, theirs)
        });
        let mut runs = stream::iter(runs).buffer_unordered(AT_ONCE);
        while runs.try_next().await?.is_some() {
            compared += 1;
            progress(compared);
        }
    }
    let mut there = 0;
    let mut pages = Pages::of(to);
    while let Some(page) = pages.next().await.map_err(Target)? {
        there += page.runs.len() as u64;
    }
    same("the number of runs", compared, there)
}

fn same<T: PartialEq>(what: &str, ours: T, theirs: T) -> Result<(), CopyError> {
    if ours == theirs { Ok(()) } else { Err(CopyError::Differs(what.to_owned())) }
}

async fn refuse_unless_empty(to: &dyn Store) -> Result<(), CopyError> {
    let target = CopyError::Target;
    let first = RunQuery { limit: 1, ..RunQuery::default() };
    let runs = to.runs(&first).await.map_err(target)?;
    let found = [
        (!runs.runs.is_empty() || !runs.damaged.is_empty(), "runs"),
        (!to.modules().await.map_err(target)?.is_empty(), "modules"),
        (!to.publications().await.map_err(target)?.is_empty(), "published workflows"),
        (!all_schedules(to).await.map_err(target)?.is_empty(), "schedules"),
    ];
    match found.into_iter().find(|(is_there, _)| *is_there) {
        Some((_, what)) => Err(CopyError::NotEmpty(what)),
        None => Ok(()),
    }
}

async fn copy_module(
    from: &dyn Store,
    to: &dyn Store,
    module: ModuleRecord,
) -> Result<(), CopyError> {
    let ModuleRecord { digest, uploaded_at, engine, manifest, .. } = module;
    let bytes = from.module_bytes(digest).await.map_err(CopyError::Source)?;
    let Some(bytes) = bytes else {
        let gone = StoreError::corrupt(format!("module {digest}: it has no bytes"));
        return Err(CopyError::Source(gone));
    };
    let module = NewModule { bytes, uploaded_at, engine, manifest };
    to.publish(Some(module), Vec::new()).await.map_err(CopyError::Target).map(drop)
}

/// Writes a run piece by piece; returns its entries and log lines.
async fn copy_run(
    from: &dyn Store,
    to: &dyn Store,
    record: Record,
) -> Result<(u64, u64), CopyError> {
    let run = record.id();
    let source = CopyError::Source;
    let (mut length, mut lines, mut begins) = (0, 0, None);
    let mut reference = None;
    let mut more_references = true;
    while begins != Some(record.first)
        || (length, lines) != (record.length, record.log_lines)
        || more_references
    {
        let entries = entries(from, &record, length).await.map_err(source)?;
        let logs = from.logs(run, lines, PIECE).await.map_err(source)?;
        let references = from.references(run, reference, PIECE).await.map_err(source)?;
        more_references = !references.is_empty();
        reference = references.last().copied().or(reference);
        // The first commit makes the run, and a journal that is made begins at 0.
        let first = record.first.min(length);
        let mut commit = Commit {
            expected_length: length,
            token: None,
            record: record.clone(),
            entries,
            logs,
            references,
        };
        length += commit.entries.len() as u64;
        lines += commit.logs.len() as u64;
        begins = Some(first);
        (commit.record.length, commit.record.log_lines) = (length, lines);
        commit.record.first = first;
        to.commit(commit).await.map_err(CopyError::Target)?;
    }
    Ok((record.length - record.first, record.log_lines))
}

/// Entries for these positions. In front of where the journal begins there are none; something has
/// to stand there until the commit behind it, which forgets it.
async fn entries(from: &dyn Store, record: &Record, at: u64) -> Result<Vec<Entry>, StoreError> {
    if at >= record.first {
        return from.journal(record.id(), at, PIECE).await;
    }
    let missing = usize::try_from(record.first - at).unwrap_or(usize::MAX);
    let event = JournalEvent::TimerFired { op: OpId(0) };
    Ok(vec![Entry { at: Timestamp::from_millis(0), event }; missing.min(10 * PIECE)])
}

/// A checksum of all of a run: record, journal, log lines, references.
async fn sum(store: &dyn Store, record: Record) -> Result<[u8; 32], StoreError> {
    let run = record.id();
    let mut hash = Sha256::new();
    add(&mut hash, &record)?;
    let mut at = record.first;
    while at < record.length {
        let entries = store.journal(run, at, PIECE).await?;
        at += entries.len() as u64;
        if entries.is_empty() {
            return Err(StoreError::corrupt(format!("run {run}: its journal ends at {at}")));
        }
        entries.iter().try_for_each(|entry| add(&mut hash, entry))?;
    }
    let mut at = 0;
    while at < record.log_lines {
        let lines = store.logs(run, at, PIECE).await?;
        at += lines.len() as u64;
        if lines.is_empty() {
            return Err(StoreError::corrupt(format!("run {run}: its log ends at {at}")));
        }
        lines.iter().try_for_each(|line| add(&mut hash, line))?;
    }
    let mut after: Option<InputHash> = None;
    loop {
        let references = store.references(run, after, PIECE).await?;
        let Some(last) = references.last() else { return Ok(hash.finalize().into()) };
        after = Some(*last);
        references.iter().for_each(|reference| hash.update(reference.as_bytes()));
    }
}

fn add<T: Serialize>(hash: &mut Sha256, value: &T) -> Result<(), StoreError> {
    let data = encode(value)?;
    hash.update((data.len() as u64).to_le_bytes());
    hash.update(&data);
    Ok(())
}

/// All runs, page by page.
struct Pages<'s> {
    store: &'s dyn Store,
    query: RunQuery,
    ended: bool,
}

impl<'s> Pages<'s> {
    fn of(store: &'s dyn Store) -> Self {
        Self { store, query: RunQuery { limit: MAX_PAGE, ..RunQuery::default() }, ended: false }
    }

    async fn next(&mut self) -> Result<Option<RunPage>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        let page = self.store.runs(&self.query).await?;
        if let Some(run) = page.damaged.first() {
            return Err(StoreError::corrupt(format!("run {run}: its record is damaged")));
        }
        self.query.cursor.clone_from(&page.cursor);
        self.ended = page.cursor.is_none();
        Ok(Some(page))
    }
}

/// In the order in which they were made.
async fn all_schedules(store: &dyn Store) -> Result<Vec<Schedule>, StoreError> {
    let mut schedules = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.schedules(after.as_deref(), MAX_PAGE).await?;
        if let Some(id) = page.damaged.first() {
            return Err(StoreError::corrupt(format!("schedule {id}: it is damaged")));
        }
        schedules.extend(page.schedules);
        after = page.cursor;
        if after.is_none() {
            return Ok(schedules);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
