//! What is lost when Redis is killed, for each way in which it keeps data: the first column of the table in
//! docs/redis.md. What a machine loses with its power cannot be shown by killing a process.

use super::server::Server;
use crate::contract::{first, next, run_id};
use crate::{Redis, RedisOptions, Store, StoreError};
use everstep_core::Record;
use std::time::Duration;

/// Commits of one run, before Redis is killed.
const COMMITS: u64 = 200;

async fn opened(settings: &[&str]) -> (Server, Redis) {
    let server = Server::start(settings).await;
    let patient = RedisOptions { patience: Duration::from_secs(60), ..server.options() };
    let store = Redis::open(&patient).await.unwrap();
    store.commit(first(1)).await.unwrap();
    (server, store)
}

/// Commits behind this record, all of them acknowledged.
async fn commits(store: &Redis, mut record: Record, number: u64) -> Record {
    for _ in 0..number {
        let commit = next(&record, 1, 1);
        record = commit.record.clone();
        store.commit(commit).await.unwrap();
    }
    record
}

/// Kills it, starts it again, and returns what is there, which fits together.
async fn after_a_kill(server: &mut Server, store: &Redis) -> Record {
    server.stop();
    server.restart().await;
    let record = store.record(run_id(1)).await.unwrap().unwrap();
    let journal = store.journal(run_id(1), 0, 10_000).await.unwrap();
    let logs = store.logs(run_id(1), 0, 10_000).await.unwrap();
    assert_eq!((journal.len() as u64, logs.len() as u64), (record.length, record.log_lines));
    record
}

#[tokio::test]
async fn always_and_no_lose_nothing_when_redis_is_killed() {
    for fsync in ["always", "no"] {
        let (mut server, store) = opened(&["--appendfsync", fsync]).await;
        let acknowledged = commits(&store, first(1).record, COMMITS).await;
        assert_eq!(after_a_kill(&mut server, &store).await, acknowledged, "{fsync}");
    }
}

/// Redis holds writes back for at most two seconds, while a sync is under way.
#[tokio::test]
async fn everysec_loses_nothing_that_redis_has_written_when_it_is_killed() {
    let (mut server, store) = opened(&["--appendfsync", "everysec"]).await;
    let written = commits(&store, first(1).record, COMMITS).await;
    server.until("INFO persistence", "aof_buffer_length:0").await;
    let there = after_a_kill(&mut server, &store).await;
    assert_eq!(there, written);
    // At any moment: mostly nothing either, and never anything in the middle.
    let acknowledged = commits(&store, there, COMMITS).await;
    let there = after_a_kill(&mut server, &store).await;
    let lost = acknowledged.length - there.length;
    eprintln!("{lost} of {COMMITS} commits were lost");
    assert!(there.length >= written.length);
}

/// Exactly that: and who goes on from what has vanished hears of it.
#[tokio::test]
async fn what_came_after_the_last_snapshot_is_lost_and_noticed() {
    let (mut server, store) = opened(&["--appendonly", "no"]).await;
    let saved = commits(&store, first(1).record, COMMITS).await;
    server.ask(&["SAVE"]).await;
    let vanished = commits(&store, saved.clone(), COMMITS).await;
    assert_eq!(after_a_kill(&mut server, &store).await, saved);
    let refused = store.commit(next(&vanished, 1, 0)).await;
    assert_eq!(refused, Err(StoreError::Conflict { length: saved.length }));
    commits(&store, saved, 1).await;
}

/// `min-replicas-to-write` bounds what a failover can lose.
#[tokio::test]
async fn a_master_that_lacks_its_replicas_takes_no_commits() {
    let server = Server::start(&[]).await;
    let short = RedisOptions { patience: Duration::from_millis(500), ..server.options() };
    let store = Redis::open(&short).await.unwrap();
    store.commit(first(1)).await.unwrap();
    server.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    let refused = store.commit(next(&first(1).record, 1, 1)).await.unwrap_err();
    assert_eq!(refused.code(), "store.unavailable");
    assert!(refused.to_string().contains("NOREPLICAS"), "{refused}");
    assert_eq!(store.record(run_id(1)).await.unwrap(), Some(first(1).record));
    server.ask(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
    commits(&store, first(1).record, 1).await;
}
