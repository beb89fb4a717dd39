//! Copies that end early: what is there then is never taken for a whole one.

use super::{RUNS, fill, seen};
use crate::contract::{first, next};
use crate::copy::{CopyError, compare, copy};
use crate::redis::tests::server::Server;
use crate::{Memory, Redis, RedisOptions, RunQuery, Store, StoreError};
use redis::{Value, from_redis_value};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// So many runs are there when something happens.
const SOME: u64 = 300;

fn named(server: &Server, namespace: &str, patience: u64) -> RedisOptions {
    let patience = Duration::from_millis(patience);
    RedisOptions { namespace: namespace.into(), patience, ..server.options() }
}

/// A target with a part is refused, and named different; an empty one gets everything.
async fn copied_only_from_the_beginning(from: &Memory, part: &Redis, server: &Server) {
    let refused = copy(from, part, |_| panic!("it has begun")).await;
    assert_eq!(refused, Err(CopyError::NotEmpty("runs")));
    assert!(matches!(compare(from, part, |_| {}).await, Err(CopyError::Differs(_))));
    let whole = Redis::open(&named(server, "whole", 60_000)).await.unwrap();
    let copied = copy(from, &whole, |_| {}).await.unwrap();
    assert_eq!((copied.runs, copied.compared), (RUNS, RUNS));
    assert_eq!(seen(from).await, seen(&whole).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_was_dropped_is_done_again_from_the_beginning() {
    let server = Server::start(&[]).await;
    let from = Memory::new();
    fill(&from).await;
    let part = Redis::open(&named(&server, "part", 60_000)).await.unwrap();
    let enough = Notify::new();
    let dropped = tokio::select! {
        biased;
        () = enough.notified() => true,
        _ = copy(&from, &part, |now| if now.runs == SOME { enough.notify_one() }) => false,
    };
    assert!(dropped);
    assert!(!part.runs(&RunQuery::default()).await.unwrap().runs.is_empty());
    copied_only_from_the_beginning(&from, &part, &server).await;
}

/// The target is killed in the middle and does not come back in time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_whose_target_stays_away_says_so() {
    let mut server = Server::start(&[]).await;
    let from = Memory::new();
    fill(&from).await;
    let part = Redis::open(&named(&server, "part", 500)).await.unwrap();
    let failed = copy(&from, &part, |now| {
        if now.runs == SOME {
            server.stop()
        }
    })
    .await;
    assert!(matches!(failed, Err(CopyError::Target(StoreError::Unavailable(_)))), "{failed:?}");
    server.restart().await;
    let part = Redis::open(&named(&server, "part", 60_000)).await.unwrap();
    copied_only_from_the_beginning(&from, &part, &server).await;
}

/// The target is killed in the middle and comes back: every commit is made once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_goes_on_when_its_target_is_back() {
    let mut server = Server::start(&[]).await;
    let from = Memory::new();
    fill(&from).await;
    let to = Redis::open(&named(&server, "default", 60_000)).await.unwrap();
    let (kill, killed) = oneshot::channel();
    let mut kill = Some(kill);
    let copying = copy(&from, &to, |now| {
        if now.runs >= SOME
            && let Some(kill) = kill.take()
        {
            kill.send(()).unwrap();
        }
    });
    let outage = async {
        killed.await.unwrap();
        server.stop();
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.restart().await;
    };
    let (copied, ()) = tokio::join!(copying, outage);
    let copied = copied.unwrap();
    assert_eq!((copied.runs, copied.compared), (RUNS, RUNS));
    assert_eq!(seen(&from).await, seen(&to).await);
}

/// What is damaged is not carried on.
#[tokio::test]
async fn a_damaged_source_is_not_copied() {
    let server = Server::start(&[]).await;
    let from = Redis::open(&server.options()).await.unwrap();
    from.commit(first(1)).await.unwrap();
    from.commit(next(&first(1).record, 4, 2)).await.unwrap();
    let Value::Array(journals) = server.ask(&["KEYS", "*:j:*"]).await else { panic!() };
    let journal: String = from_redis_value(journals[0].clone()).unwrap();
    server.ask(&["LSET", &journal, "3", "nonsense"]).await;
    let failed = copy(&from, &Memory::new(), |_| {}).await.unwrap_err();
    assert!(matches!(failed, CopyError::Source(StoreError::Corrupt { .. })), "{failed}");
    assert!(failed.to_string().contains("position 3"), "{failed}");
}
