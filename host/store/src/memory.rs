//! The store that forgets: for tests, and as the plainest statement of what a store does. It honours
//! everything that a durable one does, including tokens.

use crate::admission::{Claim, Head};
use crate::alone::Alone;
use crate::cursor::Place;
use crate::schedule::{cursor, place};
use crate::{
    Due, Ended, MAX_PAGE, ModuleRecord, NewModule, Ownership, PublicationChange, Ready, RunPage,
    RunQuery, SchedulePage, Shards, Store, StoreError, StoreStats,
};
use async_trait::async_trait;
use everstep_core::{
    Commit, Digest, Entry, InputHash, LogLine, Publication, Record, RunId, Schedule, ScheduleId,
    Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// It forgets everything, so every opening is the first.
const EPOCH: u64 = 1;

/// A store in memory.
#[derive(Debug)]
pub struct Memory {
    shelves: Mutex<Shelves>,
    alone: Alone,
}

impl Default for Memory {
    fn default() -> Self {
        Self { shelves: Mutex::default(), alone: Alone::new(EPOCH) }
    }
}

#[derive(Debug, Default)]
struct Shelves {
    closed: bool,
    runs: BTreeMap<RunId, Kept>,
    by_start: BTreeMap<Place, RunId>,
    due: BTreeSet<Due>,
    ready: BTreeSet<Ready>,
    ended: BTreeSet<Ended>,
    /// Runs that there have ever been; numbers are never used again.
    numbered: u64,
    snapshots: BTreeMap<RunId, Vec<u8>>,
    modules: Vec<(ModuleRecord, Vec<u8>)>,
    publications: BTreeMap<String, Publication>,
    /// By number, in the order in which they were made.
    schedules: BTreeMap<u64, Schedule>,
    last_schedule: u64,
    stats: StoreStats,
}

#[derive(Debug)]
struct Kept {
    head: Head,
    record: Record,
    ready_since: Option<Timestamp>,
    place: Place,
    ended: Option<Ended>,
    /// The entries from the record's `first` on.
    journal: Vec<Entry>,
    /// The lengths that the journal has had: what was committed together comes together.
    ends: BTreeSet<u64>,
    logs: Vec<LogLine>,
    references: BTreeSet<InputHash>,
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn open(&self) -> Result<MutexGuard<'_, Shelves>, StoreError> {
        let shelves = self.shelves.lock().unwrap_or_else(PoisonError::into_inner);
        if shelves.closed {
            return Err(StoreError::Unavailable("it is closed".into()));
        }
        Ok(shelves)
    }
}

impl Shelves {
    fn commit(&mut self, commit: Commit) -> Result<(), StoreError> {
        let claim = Claim::of(&commit)?;
        let id = commit.run_id();
        let kept = self.runs.get(&id);
        let head = claim.admit(kept.map(|kept| &kept.head))?;
        if kept.is_some_and(|kept| commit.references.iter().any(|it| kept.references.contains(it)))
        {
            return Err(StoreError::Duplicate);
        }
        let record = commit.record;
        let before = self.runs.get(&id).map(|kept| (kept.record.wake_at, kept.ready_since));
        let (old_wake, old_ready) = before.unwrap_or_default();
        if let Some(at) = old_wake {
            self.due.remove(&Due { at, run: id });
        }
        if let Some(at) = record.wake_at {
            self.due.insert(Due { at, run: id });
        }
        let ready_since = record.ready.then(|| old_ready.unwrap_or(record.updated_at));
        if let Some(since) = old_ready {
            self.ready.remove(&Ready { since, run: id });
        }
        if let Some(since) = ready_since {
            self.ready.insert(Ready { since, run: id });
        }
        let place = Place { started_at: record.origin.started_at.as_millis(), no: self.numbered };
        if before.is_none() {
            self.numbered += 1;
            self.by_start.insert(place, id);
        }
        let kept = self.runs.entry(id).or_insert_with(|| Kept {
            head,
            record: record.clone(),
            ready_since,
            place,
            ended: None,
            journal: Vec::new(),
            ends: BTreeSet::new(),
            logs: Vec::new(),
            references: BTreeSet::new(),
        });
        let begins_later = usize::try_from(record.first - kept.record.first).unwrap_or(usize::MAX);
        kept.head = head;
        kept.record = record;
        kept.ready_since = ready_since;
        if !kept.record.is_terminal()
            && let Some(ended) = kept.ended.take()
        {
            // A failed run can be tried again.
            self.ended.remove(&ended);
        }
        if kept.ended.is_none() && kept.record.is_terminal() && !kept.record.ready {
            let workflow = kept.record.origin.workflow.clone();
            let ended = Ended { workflow, at: kept.record.updated_at, run: id };
            self.ended.insert(ended.clone());
            kept.ended = Some(ended);
        }
        kept.journal.extend(commit.entries);
        kept.journal.drain(..begins_later.min(kept.journal.len()));
        kept.ends = kept.ends.split_off(&kept.record.first);
        kept.ends.insert(kept.record.length);
        kept.references.extend(commit.references);
        kept.logs.extend(commit.logs);
        self.stats.commits += 1;
        Ok(())
    }

    fn remove(&mut self, id: RunId) -> Result<bool, StoreError> {
        let Some(kept) = self.runs.get(&id) else { return Ok(false) };
        let Some(ended) = &kept.ended else { return Err(StoreError::NotEnded) };
        self.ended.remove(ended);
        self.by_start.remove(&kept.place);
        self.snapshots.remove(&id);
        self.runs.remove(&id);
        Ok(true)
    }

    fn publish(
        &mut self,
        module: Option<NewModule>,
        changes: Vec<PublicationChange>,
    ) -> Result<bool, StoreError> {
        for PublicationChange { publication, expected } in &changes {
            let workflow = &publication.workflow;
            let revision = self.publications.get(workflow).map_or(0, |there| there.revision);
            if revision != *expected {
                return Err(StoreError::PublicationChanged { workflow: workflow.clone() });
            }
        }
        for PublicationChange { publication, .. } in changes {
            self.publications.insert(publication.workflow.clone(), publication);
        }
        let Some(new) = module else { return Ok(false) };
        let digest = Digest::of(&new.bytes);
        if self.modules.iter().any(|(module, _)| module.digest == digest) {
            return Ok(false);
        }
        self.modules.push((new.record(digest), new.bytes));
        Ok(true)
    }

    fn schedule_no(&self, id: ScheduleId) -> Option<u64> {
        self.schedules.iter().find(|(_, schedule)| schedule.id == id).map(|(no, _)| *no)
    }

    fn put_schedule(&mut self, new: Schedule, expected: Option<u64>) -> Result<(), StoreError> {
        let no = self.schedule_no(new.id);
        let revision = no.and_then(|no| Some(self.schedules.get(&no)?.revision));
        if revision != expected {
            return Err(StoreError::ScheduleChanged { revision });
        }
        let no = no.unwrap_or_else(|| {
            self.last_schedule += 1;
            self.last_schedule
        });
        self.schedules.insert(no, new);
        Ok(())
    }

    fn schedules(&self, after: Option<&str>, limit: usize) -> Result<SchedulePage, StoreError> {
        let limit = limit.clamp(1, MAX_PAGE);
        let behind = self.schedules.range(place(after)? + 1..);
        let rows: Vec<_> = behind.take(limit + 1).collect();
        let last = rows.get(limit - 1).filter(|_| rows.len() > limit);
        Ok(SchedulePage {
            cursor: last.map(|(no, _)| cursor(**no)),
            schedules: rows.iter().take(limit).map(|(_, schedule)| (*schedule).clone()).collect(),
            damaged: Vec::new(),
        })
    }

    fn list(&self, query: &RunQuery) -> Result<RunPage, StoreError> {
        let behind = query.cursor.as_deref().map(Place::from_cursor).transpose()?;
        let matching: Vec<_> = self
            .by_start
            .iter()
            .rev()
            .filter(|(place, _)| behind.is_none_or(|behind| **place < behind))
            .filter_map(|(place, id)| Some((place, &self.runs.get(id)?.record)))
            .filter(|(_, record)| query.matches(record))
            .take(query.page_size() + 1)
            .collect();
        let shown = matching.len().min(query.page_size());
        let more = matching.len() > shown;
        Ok(RunPage {
            cursor: more.then(|| matching[shown - 1].0.to_cursor()),
            runs: matching[..shown].iter().map(|(_, record)| (*record).clone()).collect(),
            damaged: Vec::new(),
        })
    }
}

fn slice<T: Clone>(items: &[T], from: u64, limit: usize) -> Vec<T> {
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    items.iter().skip(from).take(limit.max(1)).cloned().collect()
}

#[async_trait]
impl Store for Memory {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        self.open()?.commit(commit)?;
        Ok(())
    }

    async fn record(&self, id: RunId) -> Result<Option<Record>, StoreError> {
        Ok(self.open()?.runs.get(&id).map(|kept| kept.record.clone()))
    }

    async fn has_reference(&self, id: RunId, reference: InputHash) -> Result<bool, StoreError> {
        let shelves = self.open()?;
        Ok(shelves.runs.get(&id).is_some_and(|kept| kept.references.contains(&reference)))
    }

    async fn references(
        &self,
        id: RunId,
        after: Option<InputHash>,
        limit: usize,
    ) -> Result<Vec<InputHash>, StoreError> {
        let shelves = self.open()?;
        let Some(kept) = shelves.runs.get(&id) else { return Ok(Vec::new()) };
        let behind = after.map_or(Bound::Unbounded, Bound::Excluded);
        let references = kept.references.range((behind, Bound::Unbounded));
        Ok(references.take(limit).copied().collect())
    }

    async fn journal(&self, id: RunId, from: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let shelves = self.open()?;
        let Some(kept) = shelves.runs.get(&id) else { return Ok(Vec::new()) };
        let Some(skipped) = from.checked_sub(kept.record.first) else { return Ok(Vec::new()) };
        let least = from.saturating_add(limit.max(1) as u64);
        let end = kept.ends.range(least..).next().unwrap_or(&kept.record.length);
        let page = usize::try_from(end.saturating_sub(from)).unwrap_or(usize::MAX);
        Ok(slice(&kept.journal, skipped, page))
    }

    async fn logs(&self, id: RunId, from: u64, limit: usize) -> Result<Vec<LogLine>, StoreError> {
        let shelves = self.open()?;
        Ok(shelves.runs.get(&id).map_or_else(Vec::new, |kept| slice(&kept.logs, from, limit)))
    }

    async fn runs(&self, query: &RunQuery) -> Result<RunPage, StoreError> {
        self.open()?.list(query)
    }

    async fn due(
        &self,
        shards: &Shards,
        until: Timestamp,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        let shelves = self.open()?;
        let behind = shelves.due.iter().filter(|due| after.is_none_or(|after| **due > after));
        let behind = behind.filter(|_| shards.contains(0));
        Ok(behind.take_while(|due| due.at <= until).take(limit).copied().collect())
    }

    async fn ready(
        &self,
        shards: &Shards,
        after: Option<Ready>,
        limit: usize,
    ) -> Result<Vec<Ready>, StoreError> {
        let shelves = self.open()?;
        let behind = shelves.ready.iter().filter(|ready| after.is_none_or(|after| **ready > after));
        Ok(behind.filter(|_| shards.contains(0)).take(limit).copied().collect())
    }

    async fn ended(&self, after: Option<&Ended>, limit: usize) -> Result<Vec<Ended>, StoreError> {
        let shelves = self.open()?;
        let behind = shelves.ended.iter().filter(|ended| after.is_none_or(|after| *ended > after));
        Ok(behind.take(limit).cloned().collect())
    }

    async fn remove(&self, id: RunId) -> Result<bool, StoreError> {
        self.open()?.remove(id)
    }

    async fn publish(
        &self,
        module: Option<NewModule>,
        changes: Vec<PublicationChange>,
    ) -> Result<bool, StoreError> {
        self.open()?.publish(module, changes)
    }

    async fn publications(&self) -> Result<Vec<Publication>, StoreError> {
        Ok(self.open()?.publications.values().cloned().collect())
    }

    async fn open_runs(&self) -> Result<BTreeMap<Digest, u64>, StoreError> {
        let mut counts = BTreeMap::new();
        for kept in self.open()?.runs.values().filter(|kept| !kept.record.is_terminal()) {
            *counts.entry(kept.record.origin.digest).or_default() += 1;
        }
        Ok(counts)
    }

    async fn module(&self, digest: Digest) -> Result<Option<ModuleRecord>, StoreError> {
        let shelves = self.open()?;
        let found = shelves.modules.iter().find(|(module, _)| module.digest == digest);
        Ok(found.map(|(module, _)| module.clone()))
    }

    async fn module_bytes(&self, digest: Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let shelves = self.open()?;
        let found = shelves.modules.iter().find(|(module, _)| module.digest == digest);
        Ok(found.map(|(_, bytes)| bytes.clone()))
    }

    async fn modules(&self) -> Result<Vec<ModuleRecord>, StoreError> {
        Ok(self.open()?.modules.iter().map(|(module, _)| module.clone()).collect())
    }

    async fn put_schedule(&self, new: Schedule, expected: Option<u64>) -> Result<(), StoreError> {
        self.open()?.put_schedule(new, expected)
    }

    async fn schedule(&self, id: ScheduleId) -> Result<Option<Schedule>, StoreError> {
        let shelves = self.open()?;
        Ok(shelves.schedule_no(id).and_then(|no| shelves.schedules.get(&no)).cloned())
    }

    async fn schedules(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<SchedulePage, StoreError> {
        self.open()?.schedules(after, limit)
    }

    async fn delete_schedule(&self, id: ScheduleId) -> Result<bool, StoreError> {
        let mut shelves = self.open()?;
        let no = shelves.schedule_no(id);
        Ok(no.and_then(|no| shelves.schedules.remove(&no)).is_some())
    }

    async fn snapshot(&self, run: RunId) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.open()?.snapshots.get(&run).cloned())
    }

    async fn put_snapshot(&self, run: RunId, snapshot: Option<Vec<u8>>) -> Result<(), StoreError> {
        let mut shelves = self.open()?;
        match snapshot {
            Some(bytes) => drop(shelves.snapshots.insert(run, bytes)),
            None => drop(shelves.snapshots.remove(&run)),
        }
        Ok(())
    }

    fn epoch(&self) -> u64 {
        EPOCH
    }

    fn ownership(&self) -> &dyn Ownership {
        &self.alone
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        Ok(self.open()?.stats)
    }

    async fn close(&self) {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    async fn open() -> (Arc<dyn Store>, ()) {
        (Arc::new(Memory::new()), ())
    }

    crate::contract_tests!(open);
}
