//! Moves SQLite's write-ahead log into the database file, in the background, so that the applier does
//! not wait for it. The applier starts it; when that log could not begin anew for too long (it can
//! only while nothing new is being appended), the applier does the small rest itself.

use crate::StoreError;
use crate::embedded::writer::Shared;
use rusqlite::Connection;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Pages of the log after which the background thread is called (16 MiB).
const CALL_EVERY: u32 = 4_000;

/// Pages of the log after which the applier helps (64 MiB).
const HELP_AT: u32 = 16_000;

/// The bytes that a page takes in the log.
const FRAME_BYTES: u64 = 4_096 + 24;

/// The thread that does it.
#[derive(Debug)]
pub(super) struct Checkpointer {
    calls: SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Checkpointer {
    pub(super) fn start(connection: Connection, shared: Shared) -> Result<Self, StoreError> {
        let (calls, called) = sync_channel(1);
        let thread = shared
            .spawn("everstep-checkpoint", move |shared| work(&connection, &called, shared))?;
        Ok(Self { calls, thread })
    }

    /// Lets it finish what it is doing.
    pub(super) fn join(self) {
        drop(self.calls);
        if self.thread.join().is_err() {
            tracing::error!("the checkpoint thread panicked");
        }
    }

    fn call(&self) {
        // A call that is waiting already covers this one.
        let _ = self.calls.try_send(());
    }
}

fn work(connection: &Connection, called: &Receiver<()>, shared: &Shared) {
    while called.recv().is_ok() {
        if let Err(error) = checkpoint(connection) {
            shared.fail(format!("moving the log into the database file failed: {error}"));
            return;
        }
    }
}

/// Moves what can be moved without waiting for anybody.
fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row([], |_| Ok(()))
}

/// The applier's view of the log.
#[derive(Debug)]
pub(super) struct LogGauge {
    pages: u32,
    call_at: u32,
    help_at: u32,
}

impl LogGauge {
    /// For a log that has this many pages already.
    pub(super) fn new(pages: u32) -> Self {
        Self { pages, call_at: pages.saturating_add(CALL_EVERY), help_at: HELP_AT }
    }

    /// Notes that the log has this many pages after a transaction; returns the bytes appended.
    pub(super) fn note(&mut self, pages: u32) -> u64 {
        if pages < self.pages {
            // Everything had been moved, and the log began anew.
            *self = Self::new(0);
        }
        let appended = u64::from(pages - self.pages) * FRAME_BYTES;
        self.pages = pages;
        appended
    }

    /// Sees to it that the log does not grow for ever.
    pub(super) fn tend(
        &mut self,
        connection: &Connection,
        checkpointer: &Checkpointer,
    ) -> rusqlite::Result<()> {
        if self.pages >= self.help_at {
            checkpoint(connection)?;
            // Somebody may be reading an old state: try again later, not with every transaction.
            self.help_at = self.pages.saturating_add(CALL_EVERY);
        } else if self.pages >= self.call_at {
            checkpointer.call();
            self.call_at = self.pages.saturating_add(CALL_EVERY);
        }
        Ok(())
    }
}
