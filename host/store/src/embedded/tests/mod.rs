//! What only the embedded store promises, and the contract.

#![allow(clippy::unwrap_used)]

mod coalesce;
mod crash;
mod damage;
mod format;
mod group;
mod lag;
mod recycle;
mod removal;
mod speed;
mod torn;

use crate::embedded::directory::Directory;
use crate::embedded::schema;
use crate::embedded::settings::Settings;
use crate::{Embedded, EmbeddedOptions, Store, StoreError};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

fn open_at(path: &Path) -> Result<Embedded, StoreError> {
    Embedded::open(EmbeddedOptions { path: path.join("data") })
}

/// A store with settings of its own.
fn open_with(path: &Path, settings: &Settings) -> Result<Embedded, StoreError> {
    let directory = Directory::open(&path.join("data"))?;
    let connection = schema::open_writer(&directory.database())?;
    Embedded::start(directory, connection, settings)
}

/// The database is behind the log until somebody asks for it, or it is closed.
fn lazy() -> Settings {
    Settings { lag: Duration::from_secs(3_600), ..Settings::default() }
}

async fn open() -> (Arc<dyn Store>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Arc::new(open_at(dir.path()).unwrap()), dir)
}

crate::contract_tests!(open);

/// The contract with the database always far behind the log.
mod behind {
    use super::*;

    async fn open() -> (Arc<dyn Store>, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        (Arc::new(open_with(dir.path(), &lazy()).unwrap()), dir)
    }

    crate::contract_tests!(open);
}

/// The contract with the database close behind the log, and with little room.
mod close_behind {
    use super::*;

    async fn open() -> (Arc<dyn Store>, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings {
            lag: Duration::ZERO,
            segment: 64 << 10,
            most_commits: 64,
            most_bytes: 64 << 10,
            ..Settings::default()
        };
        (Arc::new(open_with(dir.path(), &settings).unwrap()), dir)
    }

    crate::contract_tests!(open);
}
