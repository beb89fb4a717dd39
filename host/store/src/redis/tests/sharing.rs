//! What servers that share a Redis rely on, beyond what every store does: word of what the others change,
//! and that nobody writes for a shard that has another owner by now.

use super::open;
use crate::contract::{first, next, run_id};
use crate::redis::tests::server::Server;
use crate::{Hint, Owner, Redis, Store};
use everstep_core::{ScheduleId, Token};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3_600);

/// Hints may be missing, so they are asked for until one comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_change_is_heard_and_what_is_our_own_is_not() {
    let server = Server::start(&[]).await;
    let (one, two) = (
        Redis::open(&server.options()).await.unwrap(),
        Redis::open(&server.options()).await.unwrap(),
    );
    let (mut here, mut there) = (one.ownership().hints(), two.ownership().hints());
    assert_eq!(here.next().await, Some(Hint::Missed), "listening has begun");
    assert_eq!(there.next().await, Some(Hint::Missed));
    one.commit(first(1)).await.unwrap();
    let schedule = Hint::Schedule(ScheduleId::from_bytes([7; 16]));
    for hint in [schedule, Hint::Modules, Hint::Run(run_id(9))] {
        one.ownership().publish_hint(hint).await.unwrap();
    }
    two.ownership().publish_hint(Hint::Modules).await.unwrap();
    for hint in [Hint::Run(run_id(1)), schedule, Hint::Modules, Hint::Run(run_id(9))] {
        assert_eq!(there.next().await, Some(hint));
    }
    assert_eq!(here.next().await, Some(Hint::Modules), "of its own it hears nothing");
}

/// The owner now may have read the run already, and hears of no commit that comes with a token.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_of_an_earlier_owner_writes_nothing() {
    let (store, _server) = open().await;
    let start = first(1);
    let (mut record, shard) = (start.record.clone(), store.shard_of(run_id(1)));
    store.commit(start).await.unwrap();
    let servers = store.ownership();
    let before = servers.claim(shard, "a", LONG).await.unwrap().unwrap();
    let mut commit = next(&record, 1, 0);
    commit.token = Some(Token(before << 40 | 1));
    record = commit.record.clone();
    store.commit(commit).await.unwrap();
    let a = Owner { shard, member: "a".into(), epoch: before };
    assert!(servers.release(&a).await.unwrap());
    let now = servers.claim(shard, "b", LONG).await.unwrap().unwrap();
    for (epoch, taken) in [(before, false), (now, true)] {
        let mut commit = next(&record, 1, 0);
        commit.token = Some(Token(epoch << 40 | 2));
        let committed = store.commit(commit).await;
        assert_eq!(committed.is_ok(), taken, "{committed:?}");
        if let Err(refused) = committed {
            assert_eq!(refused.code(), "store.lease_lost");
        }
    }
    let record = store.record(run_id(1)).await.unwrap().unwrap();
    store.commit(next(&record, 1, 0)).await.unwrap();
}
