//! What goes wrong, chosen by a seed: every kind of fault in turn, in a shuffled order, on whoever is
//! well at the moment, for a bounded time. Told by the run of the suite; what it did is counted.
//!
//! Invariant: the same seed asks for the same faults in the same order. When each one happens depends on
//! the machine.

use super::cluster::{Cluster, HOSTS, LEASE, SERVERS, Stored};
use super::daemon::Daemon;
use super::evidence::Disturbance;
use super::proxy::Wire;
use super::redis_nodes;
use crate::ledger::now;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rustix::process::Signal;
use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Who suffers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Target {
    /// A server.
    Server,
    /// A host.
    Host,
    /// A Redis.
    Redis,
    /// The wire between a host and a server.
    HostWire,
    /// The wire between a server and the Redis.
    StoreWire,
    /// The wire between the clients and a server.
    ClientWire,
}

/// What is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Act {
    /// SIGKILL, and a start after a while.
    Kill,
    /// SIGTERM, and a start after a while.
    Restart,
    /// SIGSTOP for longer than a lease, then SIGCONT.
    Stop,
    /// No connection.
    Cut,
    /// Connections through which nothing comes.
    Stall,
    /// Connections through which everything comes late.
    Slow,
    /// A replica takes its master's place, which loses nothing.
    FailOver,
}

/// A kind of fault, and its name in the report.
pub type Kind = (Target, Act, &'static str);

const ALWAYS: &[Kind] = &[
    (Target::Server, Act::Kill, "server killed"),
    (Target::Server, Act::Restart, "server restarted"),
    (Target::Server, Act::Stop, "server stopped, let go on"),
    (Target::Host, Act::Kill, "host killed"),
    (Target::Host, Act::Stop, "host stopped, let go on"),
    (Target::Redis, Act::Kill, "redis killed"),
    (Target::HostWire, Act::Cut, "host and server cut"),
    (Target::HostWire, Act::Stall, "host and server stalled"),
    (Target::HostWire, Act::Slow, "host and server slow"),
    (Target::ClientWire, Act::Cut, "client and server cut"),
    (Target::ClientWire, Act::Stall, "client and server stalled"),
    (Target::ClientWire, Act::Slow, "client and server slow"),
];

/// The nodes of a Redis Cluster tell each other's addresses, so there are no wires to them.
const ON_ONE_REDIS: &[Kind] = &[
    (Target::Redis, Act::Restart, "redis restarted"),
    (Target::Redis, Act::Stop, "redis stopped, let go on"),
    (Target::StoreWire, Act::Cut, "server and redis cut"),
    (Target::StoreWire, Act::Stall, "server and redis stalled"),
    (Target::StoreWire, Act::Slow, "server and redis slow"),
];

const ON_A_CLUSTER: &[Kind] = &[(Target::Redis, Act::FailOver, "redis failed over")];

/// Faults under way at once.
const AT_ONCE: usize = 2;
/// After a host was disturbed, what it was told before may come out of it late, for so long.
const AFTERMATH: Duration = Duration::from_secs(5);

/// The kinds of faults that a system has.
#[must_use]
pub fn kinds(stored: Stored) -> Vec<Kind> {
    let more = if stored == Stored::Redis { ON_ONE_REDIS } else { ON_A_CLUSTER };
    [ALWAYS, more].concat()
}

/// What happened. Shared by the faults under way.
#[derive(Debug, Default)]
pub(super) struct Chronicle {
    /// How often each kind of fault happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// When what hosts do may be late.
    pub disturbances: Vec<Disturbance>,
    /// A line for each fault.
    pub lines: Vec<String>,
}

/// A fault and its victim.
struct Fault {
    kind: Kind,
    victim: usize,
    other: usize,
    lasts: Duration,
}

/// Lets things go wrong for so long, then mends everything.
pub(super) async fn rage(
    cluster: &Arc<Cluster>,
    stored: Stored,
    seed: u64,
    lasts: Duration,
    chronicle: &Arc<Mutex<Chronicle>>,
) {
    let mut random = StdRng::seed_from_u64(seed);
    let begun = Instant::now();
    let mut deck: Vec<Kind> = Vec::new();
    let mut under_way = tokio::task::JoinSet::new();
    let suffering: Arc<Mutex<HashSet<(Target, usize)>>> = Arc::default();
    loop {
        let pause = Duration::from_millis(random.random_range(300..2_000));
        tokio::time::sleep(pause).await;
        while under_way.len() >= AT_ONCE {
            under_way.join_next().await.unwrap().unwrap();
        }
        if begun.elapsed() >= lasts {
            break;
        }
        if deck.is_empty() {
            deck = kinds(stored);
            deck.shuffle(&mut random);
        }
        let fault = choose(&mut deck, &mut random, cluster);
        let place = (fault.kind.0, fault.victim * SERVERS + fault.other);
        if !suffering.lock().unwrap().insert(place) {
            continue;
        }
        let (cluster, suffering) = (Arc::clone(cluster), Arc::clone(&suffering));
        let chronicle = Arc::clone(chronicle);
        under_way.spawn(async move {
            suffer(&cluster, &fault, &chronicle).await;
            suffering.lock().unwrap().remove(&place);
        });
    }
    while let Some(ended) = under_way.join_next().await {
        ended.unwrap();
    }
    cluster.heal();
}

fn choose(deck: &mut Vec<Kind>, random: &mut StdRng, cluster: &Cluster) -> Fault {
    let kind = deck.pop().unwrap();
    let (target, act, _) = kind;
    let victims = match target {
        Target::Server | Target::StoreWire | Target::ClientWire => SERVERS,
        Target::Host | Target::HostWire => HOSTS,
        Target::Redis => cluster.ports.len(),
    };
    let victims: Vec<usize> = (0..victims).collect();
    let victim = *victims.choose(random).unwrap();
    let other = if target == Target::HostWire { random.random_range(0..SERVERS) } else { 0 };
    let lease = u64::try_from(LEASE.as_millis()).unwrap();
    let lasts = match (target, act) {
        (Target::Redis, Act::Stop) => random.random_range(1_000..6_000),
        (_, Act::Stop) => lease + random.random_range(1_000..4_000),
        (_, Act::Kill | Act::Restart) => random.random_range(50..3_000),
        _ => random.random_range(1_000..8_000),
    };
    Fault { kind, victim, other, lasts: Duration::from_millis(lasts) }
}

async fn suffer(cluster: &Cluster, fault: &Fault, chronicle: &Mutex<Chronicle>) {
    let Fault { kind: (target, act, name), victim, other, lasts } = *fault;
    let from = now();
    match target {
        Target::Server => strike(&cluster.servers[victim], act, lasts).await,
        Target::Host => strike(&cluster.hosts[victim], act, lasts).await,
        Target::Redis if act == Act::FailOver => {
            if !fail_over(cluster, victim).await {
                return;
            }
        }
        Target::Redis => strike(&cluster.nodes[victim], act, lasts).await,
        Target::HostWire | Target::StoreWire | Target::ClientWire => {
            let wire = match target {
                Target::HostWire => &cluster.host_wires[victim][other],
                Target::StoreWire => &cluster.store_wires[victim],
                _ => &cluster.client_wires[victim],
            };
            wire.set(match act {
                Act::Cut => Wire::Cut,
                Act::Stall => Wire::Stalled,
                _ => Wire::Slow(Duration::from_millis(50 + lasts.as_millis() as u64 % 450)),
            });
            tokio::time::sleep(lasts).await;
            wire.set(Wire::Whole);
        }
    }
    let aftermath = u64::try_from(AFTERMATH.as_millis()).unwrap();
    let mut chronicle = chronicle.lock().unwrap();
    if matches!(
        (target, act),
        (Target::Host, Act::Stop) | (Target::HostWire, Act::Stall | Act::Slow)
    ) {
        let host = cluster.hosts[victim].name().to_owned();
        let until = now().plus(aftermath);
        chronicle.disturbances.push(Disturbance { host, from, until });
    }
    *chronicle.counts.entry(name).or_default() += 1;
    let who = match target {
        Target::HostWire => format!("host {} and server {}", victim + 1, other + 1),
        _ => format!("{}", victim + 1),
    };
    chronicle.lines.push(format!("{from} until {}: {name} ({who})", now()));
}

/// Does something to a process, and undoes it after a while.
async fn strike(daemon: &Daemon, act: Act, lasts: Duration) {
    match act {
        Act::Stop => {
            daemon.signal(Signal::STOP);
            tokio::time::sleep(lasts).await;
            daemon.signal(Signal::CONT);
        }
        _ => {
            let signal = if act == Act::Restart { Signal::TERM } else { Signal::KILL };
            tokio::task::block_in_place(|| daemon.end(signal));
            tokio::time::sleep(lasts).await;
            daemon.start();
        }
    }
}

/// A replica takes its master's place. False when none can at the moment.
async fn fail_over(cluster: &Cluster, from: usize) -> bool {
    let ports = cluster.ports.iter().cycle().skip(from).take(cluster.ports.len());
    let Some(&port) = tokio::task::block_in_place(|| {
        ports.into_iter().find(|port| redis_nodes::is_replica(**port))
    }) else {
        return false;
    };
    let asked = tokio::task::block_in_place(|| redis_nodes::ask(port, "CLUSTER FAILOVER"));
    if asked.is_err() {
        return false;
    }
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let said = tokio::task::block_in_place(|| redis_nodes::ask(port, "INFO replication"));
        if said.is_ok_and(|said| said.contains("role:master")) {
            return true;
        }
    }
    false
}
