//! What can be set differently for tests: how long the log is, how far the database may be behind it,
//! and how files are brought to the disk.

use crate::embedded::log::SyncFile;
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

#[derive(Clone)]
pub(super) struct Settings {
    /// A segment of the log is left before it is longer than this many bytes.
    pub(super) segment: u64,
    /// How long a commit may wait for the applier when nobody asks for it: the longer, the more
    /// commits of a run become one change.
    pub(super) lag: Duration,
    /// How much may wait for the applier; it begins when half of that does.
    pub(super) most_commits: usize,
    pub(super) most_bytes: usize,
    /// How the log is brought to the disk.
    pub(super) sync: SyncFile,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment: 32 << 20,
            lag: Duration::from_millis(500),
            most_commits: 32_768,
            most_bytes: 32 << 20,
            sync: Arc::new(File::sync_data),
        }
    }
}
