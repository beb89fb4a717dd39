//! What hosts tell of bringing runs back: counted for `/metrics`, and remembered for some runs so that
//! `runs show` can tell.

use super::Service;
use crate::link::Note;
use everstep_core::RunId;
use everstep_core::api::{ResumeView, ResumedBy};
use hashlink::LruCache;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Runs of which it is remembered.
const REMEMBERED: usize = 10_000;

/// What has been told since the process began.
#[derive(Debug)]
pub(super) struct Resumes {
    by_snapshot: AtomicU64,
    by_replay: AtomicU64,
    refused: AtomicU64,
    taken: AtomicU64,
    bytes: AtomicU64,
    last: Mutex<LruCache<RunId, ResumeView>>,
}

impl Default for Resumes {
    fn default() -> Self {
        Self {
            by_snapshot: AtomicU64::new(0),
            by_replay: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            taken: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            last: Mutex::new(LruCache::new(REMEMBERED)),
        }
    }
}

/// The counters of [`Resumes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResumeCounts {
    /// Runs that were brought back from a snapshot.
    pub by_snapshot: u64,
    /// Runs whose whole journal was replayed.
    pub by_replay: u64,
    /// Snapshots that were there and were not what they should have been.
    pub refused: u64,
    /// Snapshots that were taken.
    pub taken: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Service {
    /// Takes in what a host tells.
    pub(crate) fn note(&self, note: Note) {
        let Resumes { by_snapshot, by_replay, refused, taken, bytes, last } = &self.resumes;
        let add = |counter: &AtomicU64, more| _ = counter.fetch_add(more, Ordering::Relaxed);
        match note {
            Note::SnapshotRefused => add(refused, 1),
            Note::SnapshotTaken { bytes: more } => {
                add(taken, 1);
                add(bytes, more);
            }
            Note::Resumed(run, view) => {
                match view.by {
                    ResumedBy::Snapshot => add(by_snapshot, 1),
                    ResumedBy::Replay => add(by_replay, 1),
                }
                last.lock().unwrap_or_else(PoisonError::into_inner).insert(run, view);
            }
        }
    }

    /// What has been told of runs that were brought back since the process began.
    #[must_use]
    pub fn resume_counts(&self) -> ResumeCounts {
        let Resumes { by_snapshot, by_replay, refused, taken, bytes, .. } = &self.resumes;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ResumeCounts {
            by_snapshot: read(by_snapshot),
            by_replay: read(by_replay),
            refused: read(refused),
            taken: read(taken),
            bytes: read(bytes),
        }
    }

    /// How a run was brought back last.
    pub(super) fn last_resume(&self, run: RunId) -> Option<ResumeView> {
        let mut last = self.resumes.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.get(&run).copied()
    }
}
