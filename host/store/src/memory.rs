//! The store that forgets: for tests, and as the plainest statement of what a store does. It honours
//! everything that a durable one does, including tokens.

use crate::admission::{Claim, Head};
use crate::cursor::Place;
use crate::schedule::{cursor, place};
use crate::{
    Due, MAX_PAGE, ModuleRecord, NewModule, Ready, Registered, RunPage, RunQuery, SchedulePage,
    Store, StoreError, StoreStats,
};
use async_trait::async_trait;
use everstep_core::{
    Commit, Digest, Entry, LogLine, Record, RunId, Schedule, ScheduleId, Timestamp,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A store in memory.
#[derive(Debug, Default)]
pub struct Memory(Mutex<Shelves>);

#[derive(Debug, Default)]
struct Shelves {
    closed: bool,
    runs: BTreeMap<RunId, Kept>,
    by_start: BTreeMap<Place, RunId>,
    due: BTreeSet<Due>,
    ready: BTreeSet<Ready>,
    modules: Vec<(ModuleRecord, Vec<u8>)>,
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
    journal: Vec<Entry>,
    logs: Vec<LogLine>,
}

impl Memory {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn open(&self) -> Result<MutexGuard<'_, Shelves>, StoreError> {
        let shelves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
        let head = claim.admit(self.runs.get(&id).map(|kept| &kept.head))?;
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
        if before.is_none() {
            let started_at = record.origin.started_at.as_millis();
            self.by_start.insert(Place { started_at, no: self.runs.len() as u64 }, id);
        }
        let kept = self.runs.entry(id).or_insert_with(|| Kept {
            head,
            record: record.clone(),
            ready_since,
            journal: Vec::new(),
            logs: Vec::new(),
        });
        kept.head = head;
        kept.record = record;
        kept.ready_since = ready_since;
        kept.journal.extend(commit.entries);
        kept.logs.extend(commit.logs);
        self.stats.commits += 1;
        Ok(())
    }

    fn put_module(&mut self, new: NewModule) -> Result<Registered, StoreError> {
        let digest = Digest::of(&new.bytes);
        if let Some((module, _)) = self.modules.iter().find(|(m, _)| m.digest == digest) {
            return Ok(Registered { created: false, module: module.clone() });
        }
        for workflow in &new.manifest.workflows {
            let taken = |(module, _): &&(ModuleRecord, _)| {
                module.manifest.workflow(&workflow.name, &workflow.version).is_some()
            };
            if let Some((module, _)) = self.modules.iter().find(taken) {
                return Err(StoreError::VersionTaken {
                    workflow: workflow.name.clone(),
                    version: workflow.version.clone(),
                    digest: module.digest,
                });
            }
        }
        let module = new.record(digest);
        self.modules.push((module.clone(), new.bytes));
        Ok(Registered { created: true, module })
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
            .filter(|(_, record)| matches(query, record))
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

fn matches(query: &RunQuery, record: &Record) -> bool {
    let origin = &record.origin;
    query.workflow.as_ref().is_none_or(|name| *name == origin.workflow)
        && query.version.as_ref().is_none_or(|version| *version == origin.version)
        && (query.states.is_empty() || query.states.contains(&record.state.kind()))
        && query.tags.iter().all(|(name, value)| origin.options.tags.get(name) == Some(value))
        && query.started_from.is_none_or(|from| origin.started_at >= from)
        && query.started_before.is_none_or(|before| origin.started_at < before)
}

fn slice<T: Clone>(items: &[T], from: u64, limit: usize) -> Vec<T> {
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    items.iter().skip(from).take(limit.max(1)).cloned().collect()
}

#[async_trait]
impl Store for Memory {
    async fn commit(&self, commit: Commit) -> Result<(), StoreError> {
        self.open()?.commit(commit)
    }

    async fn record(&self, id: RunId) -> Result<Option<Record>, StoreError> {
        Ok(self.open()?.runs.get(&id).map(|kept| kept.record.clone()))
    }

    async fn journal(&self, id: RunId, from: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let shelves = self.open()?;
        Ok(shelves.runs.get(&id).map_or_else(Vec::new, |kept| slice(&kept.journal, from, limit)))
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
        until: Timestamp,
        after: Option<Due>,
        limit: usize,
    ) -> Result<Vec<Due>, StoreError> {
        let shelves = self.open()?;
        let behind = shelves.due.iter().filter(|due| after.is_none_or(|after| **due > after));
        Ok(behind.take_while(|due| due.at <= until).take(limit).copied().collect())
    }

    async fn ready(&self, after: Option<Ready>, limit: usize) -> Result<Vec<Ready>, StoreError> {
        let shelves = self.open()?;
        let behind = shelves.ready.iter().filter(|ready| after.is_none_or(|after| **ready > after));
        Ok(behind.take(limit).copied().collect())
    }

    async fn put_module(&self, module: NewModule) -> Result<Registered, StoreError> {
        self.open()?.put_module(module)
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

    fn epoch(&self) -> u64 {
        // It forgets everything, so every opening is the first.
        1
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        Ok(self.open()?.stats)
    }

    async fn close(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
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
