//! What is durable in the log and not in the database yet, for those who read. The writer adds the
//! commits of a batch after its fsync, the applier takes them away when the database has them.
//!
//! Invariant: a reader who looks here first and then into the database misses nothing, because a
//! commit leaves this only after it has come into the database. What is here of a run is its newest
//! part, without a gap: all that is in front of it is in the database.

use crate::StoreError;
use crate::admission::Head;
use crate::embedded::read::PAGE_BYTES;
use crate::embedded::rows::{Kind, Packed, Reference, unpack};
use everstep_core::RunId;
use serde::de::DeserializeOwned;
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Parts with a lock of their own, so that readers and the writer seldom meet.
const SHARDS: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Overlay {
    shards: [Mutex<HashMap<RunId, Recent>>; SHARDS],
    hasher: RandomState,
    /// How many runs were removed from the database.
    removals: AtomicU64,
}

/// The commits of a run that the database does not have.
#[derive(Debug)]
struct Recent {
    /// With the number of their batch, oldest first; never empty.
    commits: VecDeque<(u64, Arc<Packed>)>,
    /// The run after the newest of them.
    head: Head,
    /// All references of these commits.
    references: HashSet<Reference>,
}

impl Recent {
    /// Whether the run began here, so that the database knows nothing of it.
    fn is_whole(&self) -> bool {
        self.commits.front().is_some_and(|(_, oldest)| oldest.claim.expected_length == 0)
    }
}

/// A page of items as far as it is in memory.
#[derive(Debug)]
pub(super) struct Page {
    kind: Kind,
    run: RunId,
    /// What is in front of this position is in the database.
    pub(super) begins: u64,
    pub(super) bytes: usize,
    commits: Vec<Arc<Packed>>,
    removals: u64,
}

impl Page {
    /// Appends the items from position `next` on, until there are `limit` of them.
    pub(super) fn unpack_into<T: DeserializeOwned>(
        &self,
        items: &mut Vec<T>,
        mut next: u64,
        limit: usize,
    ) -> Result<(), StoreError> {
        for chunk in self.commits.iter().filter_map(|commit| commit.items(self.kind)) {
            if items.len() >= limit {
                break;
            }
            if chunk.end() <= next {
                continue;
            }
            let place = (chunk.seq, chunk.n, chunk.crc);
            let unpacked: Vec<T> = unpack(self.kind, self.run, place, &chunk.data)?;
            let skipped = usize::try_from(next.saturating_sub(chunk.seq)).unwrap_or(usize::MAX);
            items.extend(unpacked.into_iter().skip(skipped));
            next = chunk.end();
        }
        Ok(())
    }
}

impl Overlay {
    /// Adds a commit of this batch. Only the writer does, in the order of the batches.
    pub(super) fn add(&self, batch: u64, commit: Arc<Packed>, head: Head) {
        let mut shard = self.shard(commit.run);
        let recent = shard.entry(commit.run).or_insert_with(|| Recent {
            commits: VecDeque::with_capacity(1),
            head,
            references: HashSet::new(),
        });
        recent.head = head;
        recent.references.extend(&commit.references);
        recent.commits.push_back((batch, commit));
    }

    /// Takes away what the database has of a run: all up to this batch.
    pub(super) fn remove_applied(&self, run: RunId, batch: u64) {
        let mut shard = self.shard(run);
        let Some(recent) = shard.get_mut(&run) else { return };
        while recent.commits.front().is_some_and(|(number, _)| *number <= batch) {
            let Some((_, commit)) = recent.commits.pop_front() else { break };
            for reference in &commit.references {
                recent.references.remove(reference);
            }
        }
        if recent.commits.is_empty() {
            shard.remove(&run);
        }
    }

    /// To be called before a run is removed from the database.
    pub(super) fn note_removal(&self) {
        self.removals.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn head(&self, run: RunId) -> Option<Head> {
        self.shard(run).get(&run).map(|recent| recent.head)
    }

    /// The newest commit of a run, if it is here.
    pub(super) fn newest(&self, run: RunId) -> Option<Arc<Packed>> {
        let shard = self.shard(run);
        shard.get(&run)?.commits.back().map(|(_, newest)| Arc::clone(newest))
    }

    /// Whether the run has this reference, if that is known here.
    pub(super) fn has_reference(&self, run: RunId, reference: &Reference) -> Option<bool> {
        let shard = self.shard(run);
        let recent = shard.get(&run)?;
        if recent.references.contains(reference) {
            return Some(true);
        }
        recent.is_whole().then_some(false)
    }

    /// What is here of a page of journal entries or log lines; none when nothing of the run is here.
    pub(super) fn page(&self, kind: Kind, run: RunId, from: u64, limit: usize) -> Option<Page> {
        let removals = self.removals.load(Ordering::SeqCst);
        let shard = self.shard(run);
        let commits = &shard.get(&run)?.commits;
        let (_, oldest) = commits.front()?;
        let (_, newest) = commits.back()?;
        let (begins, first, end) = match kind {
            Kind::Logs => (oldest.claim.first_log_line, 0, newest.claim.log_lines),
            _ => (oldest.claim.expected_length, newest.first, newest.claim.length),
        };
        let mut page = Page { kind, run, begins, bytes: 0, commits: Vec::new(), removals };
        if !(first..end).contains(&from) {
            // Nothing is there, and nobody else has to be asked.
            page.begins = 0;
            return Some(page);
        }
        let start = from.max(begins);
        let ends = |commit: &Packed| match kind {
            Kind::Logs => commit.claim.log_lines,
            _ => commit.claim.length,
        };
        let skipped = commits.partition_point(|(_, commit)| ends(commit) <= start);
        let mut reached = start;
        for (_, commit) in commits.range(skipped..) {
            if reached - start >= limit.max(1) as u64 || page.bytes >= PAGE_BYTES {
                break;
            }
            let Some(chunk) = commit.items(kind) else { continue };
            page.bytes += chunk.data.len();
            page.commits.push(Arc::clone(commit));
            reached = chunk.end();
        }
        Some(page)
    }

    /// Whether what was read from the database after `page` still belongs to the same run: none was
    /// removed meanwhile, so none was made again under its id.
    pub(super) fn still_fits(&self, page: &Page) -> bool {
        self.removals.load(Ordering::SeqCst) == page.removals
    }

    fn shard(&self, run: RunId) -> MutexGuard<'_, HashMap<RunId, Recent>> {
        let place = self.hasher.hash_one(run) as usize % SHARDS;
        self.shards[place].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
