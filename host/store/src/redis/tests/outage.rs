//! A Redis that goes away and comes back: nothing that was answered is lost, nothing is done twice,
//! and whoever waits goes on by itself.

use super::Writer;
use super::server::Server;
use crate::contract::{first, next, run_id};
use crate::redis::commit::Packed;
use crate::{Redis, RedisOptions, Store, StoreError};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn patient(server: &Server, patience: u64) -> RedisOptions {
    RedisOptions {
        patience: Duration::from_millis(patience),
        attempt: Duration::from_millis(patience.min(2_000)),
        ..server.options()
    }
}

/// The answer of the first attempt was lost.
#[tokio::test]
async fn a_commit_that_is_sent_again_is_made_once() {
    let server = Server::start(&[]).await;
    let store = Redis::open(&server.options()).await.unwrap();
    let pack = |commit| Packed::new(&commit, store.commit_id(), &store.keys).unwrap();
    let start = pack(first(1));
    store.send_commit(&start).await.unwrap();
    store.send_commit(&start).await.unwrap();
    let one = pack(next(&first(1).record, 2, 1));
    store.send_commit(&one).await.unwrap();
    store.send_commit(&one).await.unwrap();
    assert_eq!(store.journal(run_id(1), 0, 10).await.unwrap().len(), 3);
    assert_eq!(store.logs(run_id(1), 0, 10).await.unwrap().len(), 1);
    // The same content under another id is another commit.
    let same = pack(next(&first(1).record, 2, 1));
    assert_eq!(store.send_commit(&same).await, Err(StoreError::Conflict { length: 3 }));
    assert_eq!(store.send_commit(&start).await, Err(StoreError::AlreadyExists));
}

/// Killed three times in the middle of commits, with `appendfsync always`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_redis_is_killed() {
    let mut server = Server::start(&[]).await;
    let store = Arc::new(Redis::open(&patient(&server, 60_000)).await.unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for run in 1..=16 {
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        let mut writer = Writer::start(&store, run).await;
        writers.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                writer.step(&store).await;
            }
            // Once more, so that the last restart is behind it.
            writer.step(&store).await;
            writer
        }));
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.stop();
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.restart().await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut steps = 0;
    for writer in writers {
        let writer = writer.await.unwrap();
        assert_eq!(writer.check(&store).await, writer.acknowledged.length);
        assert_eq!((writer.unknown, writer.conflicts), (0, 0), "an attempt more finds out");
        steps += writer.acknowledged.length / 2;
    }
    assert!(steps >= 32, "{steps} commits, of which some were between the kills");
}

#[tokio::test]
async fn a_store_goes_on_when_redis_is_back() {
    let mut server = Server::start(&[]).await;
    let store = Redis::open(&patient(&server, 1_000)).await.unwrap();
    store.commit(first(1)).await.unwrap();
    server.stop();
    let refused = store.commit(next(&first(1).record, 1, 0)).await.unwrap_err();
    assert_eq!(refused.code(), "store.unavailable");
    assert_eq!(store.record(run_id(1)).await.unwrap_err().code(), "store.unavailable");
    assert_eq!(store.stats().await.unwrap_err().code(), "store.unavailable");
    server.restart().await;
    let mut answer = store.record(run_id(1)).await;
    for _ in 0..100 {
        if answer.is_ok() {
            break;
        }
        answer = store.record(run_id(1)).await;
    }
    assert_eq!(answer.unwrap(), Some(first(1).record));
    store.commit(next(&first(1).record, 1, 0)).await.unwrap();
}

/// Stopped and not dead: the connection stays, and no answer comes.
#[tokio::test]
async fn every_request_has_a_time_limit() {
    let server = Server::start(&[]).await;
    let store = Redis::open(&patient(&server, 500)).await.unwrap();
    store.commit(first(1)).await.unwrap();
    server.signal("STOP");
    let unknown = store.commit(next(&first(1).record, 1, 0)).await.unwrap_err();
    assert_eq!(unknown.code(), "store.unavailable", "{unknown}");
    assert!(store.record(run_id(1)).await.is_err());
    server.signal("CONT");
    // Redis does what it was sent meanwhile: the commit was made, once, or not at all.
    let mut record = store.record(run_id(1)).await;
    while record.is_err() {
        record = store.record(run_id(1)).await;
    }
    let length = record.unwrap().unwrap().length;
    assert!(length == 1 || length == 2);
    assert_eq!(store.journal(run_id(1), 0, 10).await.unwrap().len() as u64, length);
}

#[tokio::test]
async fn a_wrong_address_is_said_at_once() {
    let port = super::server::free_port();
    let options = super::options(&format!("redis://app:hidden@127.0.0.1:{port}"));
    let error = Redis::open(&options).await.unwrap_err();
    assert_eq!(error.code(), "store.unavailable");
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(!error.to_string().contains("hidden"));
}

/// What `stats`, which has no patience, says when the connection that it meets is there again: each
/// of them finds out for itself.
async fn once_connected(store: &Redis) -> StoreError {
    loop {
        match store.stats().await.unwrap_err() {
            StoreError::Unavailable(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            other => return other,
        }
    }
}

/// A Redis that keeps nothing was killed. Nothing begins on top of what is not there any more.
#[tokio::test]
async fn a_redis_that_has_lost_everything_is_noticed() {
    let mut server = Server::start(&["--appendonly", "no"]).await;
    let store = Redis::open(&patient(&server, 60_000)).await.unwrap();
    store.commit(first(1)).await.unwrap();
    server.stop();
    server.restart().await;
    for commit in [next(&first(1).record, 1, 0), first(2)] {
        let refused = store.commit(commit).await.unwrap_err();
        assert_eq!(refused.code(), "store.corrupt");
        assert!(refused.to_string().contains("vanished"), "{refused}");
    }
    let refused = once_connected(&store).await;
    assert_eq!(refused.code(), "store.corrupt", "{refused}");
    assert_eq!(server.ask(&["DBSIZE"]).await, redis::Value::Int(0));
    // Opened again, it is a new one.
    Redis::open(&server.options()).await.unwrap().commit(first(1)).await.unwrap();
    // Only a part is lost, as when a node of a cluster comes back empty.
    let shard = crate::redis::keys::Keys::new("default", 64).shard_of(run_id(2));
    server.ask(&["DEL", &format!("es1:default:{{{shard}}}:made")]).await;
    assert_eq!(store.commit(first(2)).await.unwrap_err().code(), "store.corrupt");
    let refused = Redis::open(&server.options()).await.unwrap_err();
    assert_eq!(refused.code(), "store.foreign");
    assert!(refused.to_string().contains("vanished"), "{refused}");
}

/// Memory is full: what needs room is refused whole, and what makes room is not.
#[tokio::test]
async fn a_full_redis_refuses_commits_and_lets_runs_go() {
    let server = Server::start(&[]).await;
    let store = Redis::open(&patient(&server, 500)).await.unwrap();
    store.commit(first(1)).await.unwrap();
    let mut end = next(&first(1).record, 1, 0);
    end.record.state =
        everstep_core::RunState::Completed { output: everstep_core::Payload::null() };
    end.record.ready = false;
    store.commit(end.clone()).await.unwrap();
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let refused = store.commit(first(2)).await.unwrap_err();
    assert_eq!(refused.code(), "store.unavailable");
    assert!(refused.to_string().contains("OOM"), "{refused}");
    assert_eq!(store.record(run_id(1)).await.unwrap(), Some(end.record));
    assert_eq!(store.remove(run_id(1)).await, Ok(true));
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    store.commit(first(2)).await.unwrap();
}
