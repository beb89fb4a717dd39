//! Snapshots in a directory beside the database: one file per run, written beside and renamed, so that
//! there is always a whole one or none.
//!
//! Nothing waits for the disk here, and nothing depends on it: whoever reads a snapshot checks it, and
//! replays the journal when it is not what was written or is not there. All files together are bounded;
//! what does not fit is not written.

use crate::StoreError;
use everstep_core::RunId;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most bytes of all snapshots.
const ALL_BYTES: u64 = 4 << 30;

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Snapshots(Arc<Shelf>);

#[derive(Debug)]
struct Shelf {
    directory: PathBuf,
    /// About how many bytes there are.
    bytes: AtomicU64,
    written: AtomicU64,
}

impl Snapshots {
    /// The snapshots in this directory, which is made when the first one is written.
    pub(super) fn new(directory: PathBuf) -> Self {
        let bytes = AtomicU64::new(bytes_in(&directory));
        Self(Arc::new(Shelf { directory, bytes, written: AtomicU64::new(0) }))
    }

    pub(super) async fn get(&self, run: RunId) -> Result<Option<Vec<u8>>, StoreError> {
        let path = self.path(run);
        on_thread(move || match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(unusable(&path, &error)),
        })
        .await
    }

    /// Puts a snapshot in the place of the one before; none takes it away.
    pub(super) async fn put(
        &self,
        run: RunId,
        snapshot: Option<Vec<u8>>,
    ) -> Result<(), StoreError> {
        let (this, path) = (self.clone(), self.path(run));
        on_thread(move || {
            let Some(bytes) = snapshot else { return this.remove(&path) };
            let before = size(&path);
            let more = (bytes.len() as u64).saturating_sub(before);
            if this.0.bytes.load(Ordering::Relaxed).saturating_add(more) > ALL_BYTES {
                let (bytes, limit) = (bytes.len() as u64, ALL_BYTES);
                return Err(StoreError::TooLarge { bytes, limit });
            }
            this.write(&path, &bytes).map_err(|error| unusable(&path, &error))?;
            this.count(before, bytes.len() as u64);
            Ok(())
        })
        .await
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let number = self.0.written.fetch_add(1, Ordering::Relaxed);
        let temporary = self.0.directory.join(format!("{number}.tmp"));
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let written = fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        let before = size(path);
        match fs::remove_file(path) {
            Ok(()) => {
                self.count(before, 0);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(unusable(path, &error)),
        }
    }

    fn count(&self, before: u64, after: u64) {
        let new = |bytes: u64| Some(bytes.saturating_sub(before).saturating_add(after));
        let _ = self.0.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, new);
    }

    /// Spread over 256 folders, so that none has too many files.
    fn path(&self, run: RunId) -> PathBuf {
        let name = run.to_string();
        // The end of an id is random; its beginning may be a time.
        let folder = name.get(name.len().saturating_sub(2)..).unwrap_or_default();
        self.0.directory.join(folder).join(format!("{name}.snapshot"))
    }
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// The bytes of all files two levels below.
fn bytes_in(directory: &Path) -> u64 {
    let files = |directory: PathBuf| fs::read_dir(directory).into_iter().flatten().flatten();
    let folders = files(directory.to_owned());
    folders.flat_map(|folder| files(folder.path())).map(|file| size(&file.path())).sum()
}

async fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(StoreError::Unavailable(error.to_string())))
}

fn unusable(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", path.display()))
}
