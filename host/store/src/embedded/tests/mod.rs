//! What only the embedded store promises, and the contract.

#![allow(clippy::unwrap_used)]

mod crash;
mod damage;
mod format;
mod group;
mod removal;
mod torn;

use crate::{Embedded, EmbeddedOptions, Store};
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

fn open_at(path: &Path) -> Result<Embedded, crate::StoreError> {
    Embedded::open(EmbeddedOptions { path: path.join("data") })
}

async fn open() -> (Arc<dyn Store>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Arc::new(open_at(dir.path()).unwrap()), dir)
}

crate::contract_tests!(open);
