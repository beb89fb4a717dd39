//! A few connections that only read, used on threads where blocking is allowed. Each read is one
//! transaction, so it sees one state of the store however long it takes.

use crate::StoreError;
use crate::embedded::queue::Queue;
use crate::embedded::schema;
use rusqlite::Connection;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Semaphore;

/// How many reads go on at once; more wait.
const CONNECTIONS: u32 = 4;

#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    queue: Arc<Queue>,
    room: Arc<Semaphore>,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: PathBuf, queue: Arc<Queue>) -> Self {
        let room = Arc::new(Semaphore::new(CONNECTIONS as usize));
        Self { path, queue, room, idle: Mutex::default() }
    }

    pub(super) async fn read<T, F>(self: &Arc<Self>, read: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    {
        self.queue.check()?;
        let closed = |_| self.queue.refusal();
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(closed)?;
        let this = Arc::clone(self);
        let reading = tokio::task::spawn_blocking(move || {
            let idle = this.idle().pop();
            let connection = match idle {
                Some(connection) => connection,
                None => schema::open_reader(&this.path)?,
            };
            let transaction = connection.unchecked_transaction()?;
            let answer = read(&transaction);
            drop(transaction);
            this.idle().push(connection);
            drop(permit);
            answer
        });
        reading.await.unwrap_or_else(|error| {
            Err(StoreError::Unavailable(format!("a read was broken off: {error}")))
        })
    }

    /// Waits for the reads that are going on, and closes the connections.
    pub(super) async fn close(&self) {
        // The semaphore is never closed anywhere else, so this always gets all of them.
        let all = self.room.acquire_many(CONNECTIONS).await;
        self.room.close();
        drop(all);
        self.clear();
    }

    pub(super) fn clear(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
