//! What several servers on one store rely on: shards, members, owners, hints. A store that only one
//! process can open has one shard and takes all of this as well.

use super::fixture::first;
use crate::{Member, Owner, Ownership, Shards, Store};
use everstep_core::Timestamp;
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_millis(20);

fn member(id: &str) -> Member {
    Member { id: id.into(), url: format!("http://{id}:9090") }
}

/// Each run is in the lists of its shard and in no other's.
pub async fn due_and_ready_keep_to_their_shards(store: Arc<dyn Store>) {
    let at = Timestamp::from_millis;
    for n in 1..=40 {
        let mut commit = first(n);
        commit.record.wake_at = Some(at(n));
        store.commit(commit).await.unwrap();
    }
    let all = store.ready(&Shards::all(), None, 100).await.unwrap();
    assert_eq!(all.len(), 40);
    let (mut ready, mut due) = (Vec::new(), Vec::new());
    for shard in 0..store.shards() {
        let only = Shards::from_iter([shard]);
        let found = store.ready(&only, None, 100).await.unwrap();
        assert!(found.iter().all(|it| store.shard_of(it.run) == shard));
        ready.extend(found);
        due.extend(store.due(&only, at(100), None, 100).await.unwrap());
    }
    ready.sort();
    due.sort();
    assert_eq!(ready, all);
    assert_eq!(due, store.due(&Shards::all(), at(100), None, 100).await.unwrap());
    let odd: Shards = (0..store.shards()).filter(|shard| shard % 2 == 1).collect();
    let expected = all.iter().filter(|it| store.shard_of(it.run) % 2 == 1);
    assert_eq!(store.ready(&odd, None, 100).await.unwrap(), expected.copied().collect::<Vec<_>>());
    assert_eq!(store.ready(&Shards::from_iter([]), None, 100).await.unwrap(), []);
}

/// They are there until they leave, or do not say so any more.
pub async fn members_come_and_go(store: Arc<dyn Store>) {
    let servers = store.ownership();
    assert_eq!(servers.members().await.unwrap(), []);
    for id in ["b", "a", "c"] {
        servers.join(&member(id), LONG).await.unwrap();
    }
    assert_eq!(servers.members().await.unwrap(), ["a", "b", "c"].map(member));
    let moved = Member { url: "http://elsewhere".into(), ..member("b") };
    servers.join(&moved, LONG).await.unwrap();
    servers.leave("a").await.unwrap();
    servers.leave("nobody").await.unwrap();
    assert_eq!(servers.members().await.unwrap(), [moved.clone(), member("c")]);
    servers.join(&member("c"), SHORT).await.unwrap();
    while servers.members().await.unwrap() != [moved.clone()] {
        tokio::time::sleep(SHORT).await;
    }
    servers.join(&member("c"), LONG).await.unwrap();
    assert_eq!(servers.members().await.unwrap(), [moved, member("c")]);
    for wrong in [member(""), member(&"x".repeat(257))] {
        assert_eq!(servers.join(&wrong, LONG).await.unwrap_err().code(), "store.inconsistent");
    }
}

/// Until it gives it up. On a shared store, every claim has a larger epoch than the one before.
pub async fn a_shard_has_one_owner(store: Arc<dyn Store>) {
    let servers = store.ownership();
    let last = store.shards() - 1;
    assert_eq!(servers.owners().await.unwrap(), []);
    let epoch = claim(servers, last, "a").await.unwrap();
    assert!(epoch >= store.epoch());
    assert_eq!(claim(servers, last, "b").await, None);
    let a = Owner { shard: last, member: "a".into(), epoch };
    assert_eq!(servers.owners().await.unwrap(), std::slice::from_ref(&a));
    assert!(servers.renew(&a, LONG).await.unwrap());
    for stranger in
        [Owner { member: "b".into(), ..a.clone() }, Owner { shard: last + 1, ..a.clone() }]
    {
        assert!(!servers.renew(&stranger, LONG).await.unwrap());
        assert!(!servers.release(&stranger).await.unwrap());
    }
    assert!(servers.release(&a).await.unwrap());
    assert!(!servers.release(&a).await.unwrap());
    assert!(!servers.renew(&a, LONG).await.unwrap());
    assert_eq!(servers.owners().await.unwrap(), []);
    let later = claim(servers, last, "b").await.unwrap();
    let again = claim(servers, last, "b").await.unwrap();
    if servers.is_shared() {
        assert!(epoch < later && later < again, "{epoch} {later} {again}");
        let old = Owner { shard: last, member: "b".into(), epoch: later };
        assert!(!servers.renew(&old, LONG).await.unwrap(), "it has claimed it anew since");
    }
    let none = servers.claim(store.shards(), "a", LONG).await.unwrap_err();
    assert_eq!(none.code(), "store.inconsistent");
}

async fn claim(servers: &dyn Ownership, shard: u16, member: &str) -> Option<u64> {
    servers.claim(shard, member, LONG).await.unwrap()
}

/// Whoever does not renew its claim loses it to the first who asks.
pub async fn an_owner_that_ran_out_is_followed(store: Arc<dyn Store>) {
    let servers = store.ownership();
    let epoch = servers.claim(0, "a", SHORT).await.unwrap().unwrap();
    let a = Owner { shard: 0, member: "a".into(), epoch };
    let later = loop {
        match claim(servers, 0, "b").await {
            Some(epoch) => break epoch,
            None => tokio::time::sleep(SHORT).await,
        }
    };
    assert!(!servers.renew(&a, LONG).await.unwrap());
    assert!(!servers.release(&a).await.unwrap());
    assert_eq!(servers.owners().await.unwrap(), [Owner { member: "b".into(), epoch: later, ..a }]);
}
