//! A Redis Cluster: the contract, and what happens when a master dies.

use super::Writer;
use super::server::{Server, free_port};
use crate::contract::{first, next, run_id};
use crate::redis::keys::{Index, Keys};
use crate::{Redis, RedisOptions, Shards, Store, StoreError};
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

    /// The number of the master that has this run.
    async fn master_of(&self, run: u64) -> usize {
        let keys = Keys::new("default", 64);
        let key = keys.index(keys.shard_of(run_id(run)), Index::Start);
        let slot = self.nodes[0].ask(&["CLUSTER", "KEYSLOT", &key]).await;
        let slot: u16 = from_redis_value(slot).unwrap();
        usize::from(slot / SLOTS.div_ceil(self.masters))
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
    let mut run = 1;
    while cluster.master_of(run).await != 0 {
        run += 1;
    }
    let start = first(run);
    store.commit(start.clone()).await.unwrap();
    let kept = next(&start.record, 2, 1);
    store.commit(kept.clone()).await.unwrap();
    assert_eq!(cluster.nodes[0].ask(&["WAIT", "1", "60000"]).await, Value::Int(1));

    let (old, new) = (0, 3);
    cluster.nodes[new].signal("STOP");
    cluster.nodes[old].ask(&["CLIENT", "KILL", "TYPE", "replica"]).await;
    let vanished = next(&kept.record, 2, 1);
    store.commit(vanished.clone()).await.unwrap();
    cluster.nodes[old].stop();
    cluster.nodes[new].signal("CONT");
    cluster.nodes[new].ask(&["CLUSTER", "FAILOVER", "TAKEOVER"]).await;
    cluster.nodes[new].until("INFO", "role:master").await;

    let more = store.commit(next(&vanished.record, 1, 0)).await;
    assert_eq!(more, Err(StoreError::Conflict { length: 3 }));
    assert_eq!(store.record(run_id(run)).await.unwrap(), Some(kept.record.clone()));
    assert_eq!(store.journal(run_id(run), 0, 100).await.unwrap().len(), 3);
    store.commit(next(&kept.record, 1, 0)).await.unwrap();
}
