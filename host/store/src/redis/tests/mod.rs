//! What only the store in Redis promises, and the contract, against real servers.

#![allow(clippy::unwrap_used)]

mod acl;
mod cluster;
mod damage;
mod health;
mod keyspace;
mod loss;
mod options;
mod outage;
pub(crate) mod server;
mod sharing;
mod snapshots;
mod speed;
mod tls;

use crate::contract::{first, next};
use crate::{Redis, RedisOptions, Store, StoreError};
use everstep_core::{Record, RunId};
use server::Server;
use std::sync::Arc;

async fn open() -> (Arc<dyn Store>, Server) {
    let server = Server::start(&[]).await;
    (Arc::new(Redis::open(&server.options()).await.unwrap()), server)
}

crate::contract_tests!(open);

fn options(url: &str) -> RedisOptions {
    RedisOptions::read(url, None).unwrap()
}

/// A run to which somebody commits as fast as it goes, and what was answered.
struct Writer {
    run: u64,
    /// What was acknowledged last.
    acknowledged: Record,
    /// How often an outcome was unknown, and how often more or less was there than was known.
    unknown: u32,
    conflicts: u32,
}

impl Writer {
    async fn start(store: &Redis, run: u64) -> Self {
        let commit = first(run);
        let acknowledged = commit.record.clone();
        store.commit(commit).await.unwrap();
        Self { run, acknowledged, unknown: 0, conflicts: 0 }
    }

    fn id(&self) -> RunId {
        self.acknowledged.id()
    }

    /// Commits once more, whatever it takes. Looks at what is there only when it has to.
    async fn step(&mut self, store: &Redis) {
        let mut record = self.acknowledged.clone();
        loop {
            let commit = next(&record, 2, 1);
            let done = commit.record.clone();
            match store.commit(commit).await {
                Ok(()) => break self.acknowledged = done,
                Err(StoreError::Unavailable(_)) => self.unknown += 1,
                Err(StoreError::Conflict { .. }) => {
                    self.conflicts += 1;
                    match store.record(self.id()).await {
                        Ok(Some(there)) => record = there,
                        Ok(None) => {
                            // The run's start has vanished with the server that had it.
                            record = first(self.run).record;
                            let _ = store.commit(first(self.run)).await;
                        }
                        Err(_) => {}
                    }
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    /// All that is there fits together and is no other run's; returns its length.
    async fn check(&self, store: &Redis) -> u64 {
        let record = store.record(self.id()).await.unwrap().unwrap();
        let journal = store.journal(self.id(), 0, 1_000_000).await.unwrap();
        assert_eq!(journal.len() as u64, record.length, "run {}", self.run);
        for (seq, found) in (0..).zip(&journal).skip(1) {
            assert_eq!(*found, crate::contract::entry(seq));
        }
        let logs = store.logs(self.id(), 0, 1_000_000).await.unwrap();
        assert_eq!(logs.len() as u64, record.log_lines);
        record.length
    }
}
