//! The commit log: the one thing that commits wait for. The writer thread appends a batch of commits,
//! one write and one `fdatasync`; the applier brings them into the database later; [`Unapplied`] finds
//! what it had not when the store is opened.
//!
//! Two files, `log/0` and `log/1`, are used in turn. Invariants: batches have numbers without a gap;
//! a segment is written over only when the database has all of it durably.

mod frame;
mod payload;
mod scan;
mod segment;
#[cfg(test)]
mod tests;

use crate::StoreError;
use crate::embedded::rows::Packed;
use segment::Segment;
use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) use scan::Unapplied;

/// How a file is brought to the disk. Another one than `File::sync_data` only in tests.
pub(super) type SyncFile = Arc<dyn Fn(&File) -> std::io::Result<()> + Send + Sync>;

/// The log, ready to be appended to.
pub(super) struct Log {
    segments: [Segment; 2],
    current: usize,
    /// The number of the next batch.
    next: u64,
    mark: u64,
    /// A segment is left before it is longer than this.
    limit: u64,
    /// The next batch, as it will be written.
    frame: Vec<u8>,
    sync: SyncFile,
}

impl Log {
    /// Begins the log anew behind batch `last`. Everything that is in it must be in the database,
    /// durably.
    pub(super) fn begin(
        directory: &Path,
        mark: u64,
        last: u64,
        limit: u64,
        sync: SyncFile,
    ) -> Result<Self, StoreError> {
        let open = |segment| {
            let path = segment_path(directory, segment);
            Segment::open(&path, last).map_err(|error| unusable(&path, &error))
        };
        let segments = [open(0)?, open(1)?];
        // The files themselves must survive a power cut, or what is in them does not.
        #[cfg(unix)]
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|error| unusable(directory, &error))?;
        Ok(Self { segments, current: 0, next: last + 1, mark, limit, frame: Vec::new(), sync })
    }

    /// Makes the next batch of these commits, to be appended; says how many bytes it has.
    pub(super) fn pack<'c>(&mut self, commits: impl Iterator<Item = &'c Packed>) -> usize {
        self.frame.clear();
        self.frame.resize(frame::HEADER, 0);
        for commit in commits {
            payload::encode(commit, &mut self.frame);
        }
        frame::seal(&mut self.frame, self.mark, self.next);
        self.frame.len()
    }

    /// When the batch does not fit into this segment: the last batch of the other one, which has to
    /// be in the database, durably, before [`Log::turn`].
    pub(super) fn must_turn(&self) -> Option<u64> {
        let fits = self.segments[self.current].takes(self.frame.len(), self.limit);
        (!fits).then(|| self.segments[1 - self.current].last())
    }

    /// Goes on in the other segment. Returns the last batch of the one that was left.
    pub(super) fn turn(&mut self) -> std::io::Result<u64> {
        let left = self.segments[self.current].last();
        self.current = 1 - self.current;
        self.segments[self.current].restart(self.limit)?;
        Ok(left)
    }

    /// Appends the batch that was packed. When this returns it is durable, under the number returned.
    pub(super) fn append(&mut self) -> std::io::Result<u64> {
        let number = self.next;
        self.segments[self.current].append(&self.frame, number, &self.sync)?;
        self.next += 1;
        // One large batch must not keep its memory for ever.
        self.frame.clear();
        self.frame.shrink_to(KEPT_BUFFER);
        Ok(number)
    }
}

/// The room for a batch that is kept between two of them.
const KEPT_BUFFER: usize = 4 << 20;

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").field("segments", &self.segments).field("next", &self.next).finish()
    }
}

fn segment_path(directory: &Path, segment: usize) -> PathBuf {
    directory.join(segment.to_string())
}

fn unusable(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", path.display()))
}
