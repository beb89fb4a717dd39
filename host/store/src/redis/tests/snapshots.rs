//! Snapshots in Redis: on the slot of their run, limited, and gone with it.

use super::server::Server;
use crate::contract::{first, next, run_id};
use crate::redis::keys::{Keys, Part};
use crate::redis::snapshots::MAX_SNAPSHOT;
use crate::{Redis, Store, StoreError};
use everstep_core::{Payload, RunState};
use redis::Value;

#[tokio::test]
async fn a_snapshot_that_is_too_large_is_refused_and_the_one_before_stays() {
    let server = Server::start(&[]).await;
    let store = Redis::open(&server.options()).await.unwrap();
    store.commit(first(1)).await.unwrap();
    store.put_snapshot(run_id(1), Some(vec![1; 9])).await.unwrap();
    let refused = store.put_snapshot(run_id(1), Some(vec![2; MAX_SNAPSHOT + 1])).await;
    let (bytes, limit) = (MAX_SNAPSHOT as u64 + 1, MAX_SNAPSHOT as u64);
    assert_eq!(refused, Err(StoreError::TooLarge { bytes, limit }));
    assert_eq!(store.snapshot(run_id(1)).await.unwrap(), Some(vec![1; 9]));
    store.put_snapshot(run_id(1), Some(vec![3; MAX_SNAPSHOT])).await.unwrap();
    assert_eq!(store.snapshot(run_id(1)).await.unwrap().map(|it| it.len()), Some(MAX_SNAPSHOT));
}

/// One that comes late, behind the removal of its run, would stay for ever.
#[tokio::test]
async fn nothing_of_a_removed_run_comes_back() {
    let server = Server::start(&[]).await;
    let store = Redis::open(&server.options()).await.unwrap();
    let key = Keys::new("default", 64).run(run_id(1), Part::Snapshot);
    store.commit(first(1)).await.unwrap();
    let mut end = next(&first(1).record, 1, 0);
    end.record.state = RunState::Completed { output: Payload::null() };
    end.record.ready = false;
    store.commit(end).await.unwrap();
    store.put_snapshot(run_id(1), Some(vec![1; 9])).await.unwrap();
    assert_eq!(server.ask(&["EXISTS", &key]).await, Value::Int(1));
    assert_eq!(store.remove(run_id(1)).await, Ok(true));
    assert_eq!(server.ask(&["EXISTS", &key]).await, Value::Int(0));
    store.put_snapshot(run_id(1), Some(vec![1; 9])).await.unwrap();
    assert_eq!(server.ask(&["EXISTS", &key]).await, Value::Int(0));
}

/// Snapshots take no room that commits need, and go when it is full.
#[tokio::test]
async fn a_full_redis_takes_no_snapshots_and_lets_them_go() {
    let server = Server::start(&[]).await;
    let store = Redis::open(&server.options()).await.unwrap();
    store.commit(first(1)).await.unwrap();
    store.put_snapshot(run_id(1), Some(vec![1; 9])).await.unwrap();
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let refused = store.put_snapshot(run_id(1), Some(vec![2; 9])).await.unwrap_err();
    assert_eq!(refused.code(), "store.unavailable");
    assert_eq!(store.snapshot(run_id(1)).await.unwrap(), Some(vec![1; 9]));
    store.put_snapshot(run_id(1), None).await.unwrap();
    assert_eq!(store.snapshot(run_id(1)).await.unwrap(), None);
}
