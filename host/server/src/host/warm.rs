//! Instances of idle runs, kept so that the next activation costs microseconds instead of a replay.
//! Only a cache: dropping any of it loses nothing. Bounded by count and by memory, oldest out first.

use super::snapshots::Cost;
use everstep_core::{Run, RunId};
use everstep_engine::WorkflowInstance;
use hashlink::LruCache;
use std::sync::{Mutex, PoisonError};

/// A run at rest: its state machine and its guest.
pub(super) struct Resting {
    pub(super) run: Run,
    pub(super) instance: Option<WorkflowInstance>,
    pub(super) cost: Cost,
}

impl Resting {
    fn bytes(&self) -> u64 {
        self.instance.as_ref().map_or(0, |instance| instance.memory_bytes() as u64)
    }
}

pub(super) struct Warm {
    cache: Mutex<(LruCache<RunId, Resting>, u64)>,
    bytes_max: u64,
}

impl Warm {
    pub(super) fn new(instances_max: usize, bytes_max: u64) -> Self {
        Self { cache: Mutex::new((LruCache::new(instances_max.max(1)), 0)), bytes_max }
    }

    /// Takes a run out, if it is here and its journal has this length still.
    pub(super) fn take(&self, run: RunId, length: u64) -> Option<Resting> {
        let mut guard = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let (cache, bytes) = &mut *guard;
        let resting = cache.remove(&run)?;
        *bytes -= resting.bytes();
        (resting.run.record().length == length).then_some(resting)
    }

    /// Keeps a run, and gives back the ones that were not used for the longest time if need be.
    pub(super) fn put(&self, resting: Resting) -> Vec<Resting> {
        let mut dropped = Vec::new();
        let mut guard = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let (cache, bytes) = &mut *guard;
        *bytes += resting.bytes();
        if cache.len() == cache.capacity() {
            dropped.extend(cache.remove_lru());
        }
        dropped.extend(cache.insert(resting.run.record().id(), resting).map(|old| {
            let id = old.run.record().id();
            (id, old)
        }));
        *bytes -= dropped.iter().map(|(_, old)| old.bytes()).sum::<u64>();
        while *bytes > self.bytes_max {
            let Some((id, old)) = cache.remove_lru() else { break };
            *bytes -= old.bytes();
            dropped.push((id, old));
        }
        // Instances are torn down after the lock is free.
        drop(guard);
        dropped.into_iter().map(|(_, old)| old).collect()
    }
}
