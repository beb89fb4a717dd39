//! Reads of one run. What is in the overlay is answered at once; the rest is read from the database,
//! and joined to what the overlay had before that read began.

use crate::StoreError;
use crate::embedded::rows::{Kind, unpack_record};
use crate::embedded::{Embedded, read};
use everstep_core::{InputHash, Record, RunId};
use rusqlite::Connection;
use serde::de::DeserializeOwned;
use std::sync::Arc;

/// What is decoded on the caller's thread; more would keep its other tasks waiting.
const AT_ONCE: usize = 64 << 10;

impl Embedded {
    pub(super) async fn read_record(&self, id: RunId) -> Result<Option<Record>, StoreError> {
        self.queue.check()?;
        let Some(newest) = self.overlay.newest(id) else {
            return self.readers.read(move |connection| read::record(connection, id)).await;
        };
        let record = &newest.record;
        let place = (record.seq, record.n, record.crc);
        unpack_record(id, place, newest.facts.state, &record.data).map(Some)
    }

    pub(super) async fn read_reference(
        &self,
        id: RunId,
        reference: InputHash,
    ) -> Result<bool, StoreError> {
        self.queue.check()?;
        match self.overlay.has_reference(id, reference.as_bytes()) {
            Some(is_there) => Ok(is_there),
            None => self.readers.read(move |c| read::has_reference(c, id, reference)).await,
        }
    }

    /// Journal entries or log lines.
    pub(super) async fn read_items<T: DeserializeOwned + Send + 'static>(
        &self,
        kind: Kind,
        id: RunId,
        from: u64,
        limit: usize,
    ) -> Result<Vec<T>, StoreError> {
        self.queue.check()?;
        let limit = limit.max(1);
        let Some(page) = self.overlay.page(kind, id, from, limit) else {
            return self.readers.read(move |c| read::items(c, kind, id, from, limit)).await;
        };
        if page.begins <= from && page.bytes <= AT_ONCE {
            let mut items = Vec::new();
            page.unpack_into(&mut items, from, limit)?;
            return Ok(items);
        }
        let overlay = Arc::clone(&self.overlay);
        self.readers
            .read(move |connection| {
                if page.begins <= from {
                    let mut items = Vec::new();
                    page.unpack_into(&mut items, from, limit)?;
                    return Ok(items);
                }
                let mut items = read::items(connection, kind, id, from, limit)?;
                // The applier may have come further meanwhile, and the run may have begun anew or be
                // another one. What was read is true all the same.
                let reached = from.saturating_add(items.len() as u64);
                if items.len() < limit && reached >= page.begins && overlay.still_fits(&page) {
                    page.unpack_into(&mut items, reached, limit)?;
                }
                Ok(items)
            })
            .await
    }

    /// A list: from the database, when it has all that is durable now.
    pub(super) async fn list<T, F>(&self, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.queue.check()?;
        self.backlog.settled().await;
        self.readers.read(read).await
    }
}
