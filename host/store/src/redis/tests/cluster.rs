//! A Redis Cluster: the contract, and what happens when a master dies.

use super::Writer;
use super::server::{Server, free_port};
use crate::contract::{first, next, run_id};
use crate::copy::tests::{RUNS, fill};
use crate::redis::keys::{Index, Keys};
use crate::{Memory, Owner, Redis, RedisOptions, Shards, Store, StoreError, copy};
use redis::{Value, from_redis_value};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

const SLOTS: u16 = 16_384;

/// Some masters, and as many replicas behind them or none.
struct Cluster {
    nodes: Vec<Server>,
    masters: u16,
}

impl Cluster {
    async fn start(masters: u16, with_replicas: bool) -> Self {
        let mut nodes = Vec::new();
        let mut buses = Vec::new();
        for _ in 0..masters * if with_replicas { 2 } else { 1 } {
            let bus = free_port().to_string();
            let settings = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
            let settings = [&settings[..], &["--cluster-port", &bus]].concat();
            nodes.push(Server::start(&settings).await);
            buses.push(bus);
        }
        let each = SLOTS.div_ceil(masters);
        for (n, node) in (0..masters).zip(&nodes) {
            let (from, to) = (n * each, (n * each + each).min(SLOTS) - 1);
            node.ask(&["CLUSTER", "SET-CONFIG-EPOCH", &(n + 1).to_string()]).await;
            node.ask(&["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()]).await;
        }
        for (node, bus) in nodes.iter().zip(&buses).skip(1) {
            let port = node.port.to_string();
            nodes[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &port, bus]).await;
        }
        let all = format!("cluster_known_nodes:{}", nodes.len());
        for node in &nodes {
            node.until("CLUSTER INFO", &all).await;
            node.until("CLUSTER INFO", "cluster_state:ok").await;
        }
        for (node, replica) in nodes.iter().zip(nodes.iter().skip(masters.into())) {
            let id: String = from_redis_value(node.ask(&["CLUSTER", "MYID"]).await).unwrap();
            replica.ask(&["CLUSTER", "REPLICATE", &id]).await;
        }
        for replica in &nodes[masters.into()..] {
            replica.until("INFO", "master_link_status:up").await;
        }
        Self { nodes, masters }
    }

    fn options(&self) -> RedisOptions {
        let nodes: Vec<_> = self.nodes.iter().map(|it| format!("127.0.0.1:{}", it.port)).collect();
        let url = format!("redis+cluster://{}?patience_ms=60000", nodes.join(","));
        super::options(&url)
    }

    /// The slot that has this run.
    async fn slot_of(&self, run: u64) -> u16 {
        let keys = Keys::new("default", 64);
        let key = keys.index(keys.shard_of(run_id(run)), Index::Start);
        from_redis_value(self.nodes[0].ask(&["CLUSTER", "KEYSLOT", &key]).await).unwrap()
    }

    /// A run that the first master has.
    async fn run_on_first(&self) -> u64 {
        let mut run = 1;
        while self.slot_of(run).await >= SLOTS.div_ceil(self.masters) {
            run += 1;
        }
        run
    }

    /// From now on the replica of the first master hears nothing.
    async fn cut_off_replica(&self) {
        assert_eq!(self.nodes[0].ask(&["WAIT", "1", "60000"]).await, Value::Int(1));
        self.nodes[3].signal("STOP");
        self.nodes[0].ask(&["CLIENT", "KILL", "TYPE", "replica"]).await;
    }

    /// The first master dies, and its replica takes over with what it has.
    async fn take_over(&mut self) {
        self.nodes[0].stop();
        self.nodes[3].signal("CONT");
        self.nodes[3].ask(&["CLUSTER", "FAILOVER", "TAKEOVER"]).await;
        self.nodes[3].until("INFO", "role:master").await;
    }
}

crate::contract_tests!(in turn all_cases);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_contract_holds_on_a_cluster() {
    let cluster = Cluster::start(3, false).await;
    let count = AtomicU32::new(0);
    all_cases(async || {
        let case = count.fetch_add(1, Ordering::Relaxed);
        let options = RedisOptions { namespace: format!("case-{case}"), ..cluster.options() };
        Arc::new(Redis::open(&options).await.unwrap()) as Arc<dyn Store>
    })
    .await;
    assert!(count.into_inner() > 30);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_go_on_when_a_replica_takes_over() {
    let mut cluster = Cluster::start(3, true).await;
    let store = Arc::new(Redis::open(&cluster.options()).await.unwrap());
    let warned: Vec<_> = store.warnings().iter().map(|it| it.code).collect();
    assert_eq!(warned, ["redis.unguarded_failover"]);
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for run in 1..=24 {
        let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
        let mut writer = Writer::start(&store, run).await;
        writers.push(tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                writer.step(&store).await;
            }
            writer.step(&store).await;
            writer
        }));
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    cluster.nodes[0].stop();
    cluster.nodes[3].until("INFO", "role:master").await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Relaxed);
    let mut conflicts = 0;
    for writer in writers {
        let writer = writer.await.unwrap();
        assert_eq!(writer.check(&store).await, writer.acknowledged.length);
        conflicts += writer.conflicts;
    }
    // How many had to be decided anew depends on what the replica had; none went wrong unseen.
    eprintln!("{conflicts} commits met another length than they were decided for");
    assert_eq!(store.ready(&Shards::all(), None, 100).await.unwrap().len(), 24);
}

/// The replica lacks what was acknowledged last. Whoever goes on from there hears of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_acknowledged_commit_that_vanishes_is_a_conflict() {
    let mut cluster = Cluster::start(3, true).await;
    let store = Redis::open(&cluster.options()).await.unwrap();
    let run = cluster.run_on_first().await;
    let start = first(run);
    store.commit(start.clone()).await.unwrap();
    let kept = next(&start.record, 2, 1);
    store.commit(kept.clone()).await.unwrap();
    cluster.cut_off_replica().await;
    let vanished = next(&kept.record, 2, 1);
    store.commit(vanished.clone()).await.unwrap();
    cluster.take_over().await;

    let more = store.commit(next(&vanished.record, 1, 0)).await;
    assert_eq!(more, Err(StoreError::Conflict { length: 3 }));
    assert_eq!(store.record(run_id(run)).await.unwrap(), Some(kept.record.clone()));
    assert_eq!(store.journal(run_id(run), 0, 100).await.unwrap().len(), 3);
    store.commit(next(&kept.record, 1, 0)).await.unwrap();
}

/// Whoever had it stops at its next renewal, and the next owner is the only one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_that_vanishes_is_not_renewed() {
    let mut cluster = Cluster::start(3, true).await;
    let store = Redis::open(&cluster.options()).await.unwrap();
    let shard = store.shard_of(run_id(cluster.run_on_first().await));
    let long = Duration::from_secs(600);
    cluster.cut_off_replica().await;
    let servers = store.ownership();
    let epoch = servers.claim(shard, "a", long).await.unwrap().unwrap();
    let a = Owner { shard, member: "a".into(), epoch };
    assert!(servers.renew(&a, long).await.unwrap());
    cluster.take_over().await;

    assert!(!servers.renew(&a, long).await.unwrap());
    let epoch = servers.claim(shard, "b", long).await.unwrap().unwrap();
    let b = Owner { shard, member: "b".into(), epoch };
    assert_eq!(servers.claim(shard, "a", long).await.unwrap(), None);
    assert!(servers.renew(&b, long).await.unwrap());
    assert_eq!(servers.owners().await.unwrap(), [b]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_wait_while_their_slot_moves() {
    let cluster = Cluster::start(3, false).await;
    let store = Arc::new(Redis::open(&cluster.options()).await.unwrap());
    let run = cluster.run_on_first().await;
    store.commit(first(run)).await.unwrap();
    let slot = cluster.slot_of(run).await.to_string();
    let (from, to) = (&cluster.nodes[0], &cluster.nodes[1]);
    let from_id: String = from_redis_value(from.ask(&["CLUSTER", "MYID"]).await).unwrap();
    let to_id: String = from_redis_value(to.ask(&["CLUSTER", "MYID"]).await).unwrap();
    to.ask(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from_id]).await;
    from.ask(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to_id]).await;
    let commit = next(&first(run).record, 2, 1);
    let waiting = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.commit(commit).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());

    let keys = from.ask(&["CLUSTER", "GETKEYSINSLOT", &slot, "1000"]).await;
    let keys: Vec<String> = from_redis_value(keys).unwrap();
    let port = to.port.to_string();
    let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
    migrate.extend(keys.iter().map(String::as_str));
    from.ask(&migrate).await;
    for node in [to, from, &cluster.nodes[2]] {
        node.ask(&["CLUSTER", "SETSLOT", &slot, "NODE", &to_id]).await;
    }
    waiting.await.unwrap().unwrap();
    assert_eq!(store.journal(run_id(run), 0, 10).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_copied_into_a_cluster_and_back() {
    let cluster = Cluster::start(3, false).await;
    let (from, to) = (Memory::new(), Memory::new());
    fill(&from).await;
    let store = Redis::open(&cluster.options()).await.unwrap();
    assert_eq!(copy(&from, &store, |_| {}).await.unwrap().compared, RUNS);
    assert_eq!(copy(&store, &to, |_| {}).await.unwrap().compared, RUNS);
}
