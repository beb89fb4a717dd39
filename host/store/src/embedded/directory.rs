//! The data directory: creates it, and keeps everybody else out while the store is open. Two writers
//! on one directory would each be right about what they wrote and wrong about everything else.

use crate::StoreError;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

/// A data directory that is locked as long as this value lives.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    // The operating system releases the lock with the file, also when the process is killed.
    _lock: File,
}

impl Directory {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        create(path).map_err(|error| unusable(path, &error))?;
        let lock_path = path.join("lock");
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(|error| unusable(&lock_path, &error))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let known = lock.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
                let holder = if known {
                    format!("process {}", pid.trim())
                } else {
                    "another process".to_owned()
                };
                return Err(StoreError::InUse { path: path.to_owned(), holder });
            }
            Err(TryLockError::Error(error)) => return Err(unusable(&lock_path, &error)),
        }
        write_holder(&mut lock).map_err(|error| unusable(&lock_path, &error))?;
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    pub(super) fn database(&self) -> PathBuf {
        database_in(&self.path)
    }

    /// The directory of snapshots, which need not exist.
    pub(super) fn snapshots(&self) -> PathBuf {
        self.path.join("snapshots")
    }

    /// The directory of the commit log; created when it does not exist.
    pub(super) fn log(&self) -> Result<PathBuf, StoreError> {
        let path = self.path.join("log");
        create(&path).map_err(|error| unusable(&path, &error))?;
        Ok(path)
    }
}

fn create(path: &Path) -> std::io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)?;
    // The directory itself must survive a power cut, or what is in it does not.
    #[cfg(unix)]
    if let Some(parent) = path.canonicalize()?.parent() {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

fn write_holder(lock: &mut File) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    lock.write_all(std::process::id().to_string().as_bytes())
}

fn unusable(path: &Path, error: &std::io::Error) -> StoreError {
    StoreError::Unavailable(format!("{}: {error}", path.display()))
}

/// The database of the store in this directory.
pub(super) fn database_in(path: &Path) -> PathBuf {
    path.join("everstep.db")
}
