//! The system under test: servers on a Redis or a Redis Cluster, hosts, and a wire between every two that
//! speak to each other. Known from the outside only: programs, their options, the HTTP API.
//!
//! Invariant: a process that ends by itself is started again, unless a nemesis holds it down.

use super::daemon::{Daemon, Recipe};
use super::proxy::{Proxy, Wire};
use super::redis_nodes;
use crate::process::everstep;
use everstep_client::Client;
use rustix::process::Signal;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Servers of the system.
pub(super) const SERVERS: usize = 3;
/// Hosts of the system.
pub(super) const HOSTS: usize = 4;
/// How long a host may have a run without being heard of.
pub(super) const LEASE: Duration = Duration::from_secs(3);
/// How often hosts and servers let each other hear of them.
const HEARTBEAT: &str = "1s";
/// How far the clock of the last host is ahead, in milliseconds.
pub(super) const SKEW_MS: i64 = 5_000;
/// How often processes are looked after.
const TENDING: Duration = Duration::from_millis(100);

/// What the servers keep everything in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// One Redis, which has every commit on disk before it answers.
    Redis,
    /// Three masters, each with a replica without which it takes no commits.
    RedisCluster,
}

/// See the module. Everything ends with the value that stands for it.
pub(super) struct Cluster {
    /// The servers.
    pub servers: Vec<Arc<Daemon>>,
    /// The hosts; the clock of the last one is wrong.
    pub hosts: Vec<Arc<Daemon>>,
    /// The Redis, or the nodes of the Redis Cluster.
    pub nodes: Vec<Arc<Daemon>>,
    /// The ports of those.
    pub ports: Vec<u16>,
    /// Between a host and a server.
    pub host_wires: Vec<Vec<Proxy>>,
    /// Between a server and the Redis; none when that is a cluster, whose nodes name each other.
    pub store_wires: Vec<Proxy>,
    /// Between the clients and a server.
    pub client_wires: Vec<Proxy>,
    /// One client for each server, through its wire.
    pub clients: Vec<Client>,
    tending: JoinHandle<()>,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.tending.abort();
    }
}

/// A port that is free now.
pub(super) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

impl Cluster {
    /// Starts everything; data and logs will lie in the folder.
    ///
    /// # Panics
    /// When a program is not there, or a Redis does not start.
    pub(super) async fn start(stored: Stored, folder: &Path) -> Self {
        let logs = folder.join("logs");
        std::fs::create_dir_all(&logs).unwrap();
        let (nodes, ports) = redis_nodes::start(stored, folder, &logs).await;
        let mut store_wires = Vec::new();
        let (mut client_wires, mut servers, mut listening) = (Vec::new(), Vec::new(), Vec::new());
        for number in 1..=SERVERS {
            let store = match stored {
                Stored::Redis => {
                    let wire = Proxy::to(ports[0]).await;
                    let url = format!("redis://127.0.0.1:{}?patience_ms=10000", wire.port());
                    store_wires.push(wire);
                    url
                }
                Stored::RedisCluster => redis_nodes::url(&ports),
            };
            let port = free_port();
            listening.push(port);
            client_wires.push(Proxy::to(port).await);
            let data = folder.join(format!("server-{number}"));
            servers.push(Arc::new(Daemon::new(server(number, port, &store, data), &logs)));
        }
        let (mut host_wires, mut hosts) = (Vec::new(), Vec::new());
        for number in 1..=HOSTS {
            let mut wires = Vec::new();
            for port in &listening {
                wires.push(Proxy::to(*port).await);
            }
            let data = folder.join(format!("host-{number}"));
            hosts.push(Arc::new(Daemon::new(host(number, &wires, data), &logs)));
            host_wires.push(wires);
        }
        servers.iter().chain(&hosts).for_each(|daemon| daemon.start());
        let all: Vec<_> = servers.iter().chain(&hosts).chain(&nodes).cloned().collect();
        let tending = tokio::spawn(async move {
            loop {
                tokio::time::sleep(TENDING).await;
                all.iter().for_each(|daemon| daemon.tend());
            }
        });
        let clients = client_wires.iter().map(|wire| Client::new(&local(wire.port())).unwrap());
        let clients = clients.collect();
        Self {
            servers,
            hosts,
            nodes,
            ports,
            host_wires,
            store_wires,
            client_wires,
            clients,
            tending,
        }
    }

    /// Every process, with its name.
    pub(super) fn daemons(&self) -> impl Iterator<Item = &Arc<Daemon>> {
        self.servers.iter().chain(&self.hosts).chain(&self.nodes)
    }

    /// Mends everything: all wires are whole, all processes run.
    pub(super) fn heal(&self) {
        let wires = self.host_wires.iter().flatten();
        let wires = wires.chain(&self.store_wires).chain(&self.client_wires);
        wires.for_each(|wire| wire.set(Wire::Whole));
        for daemon in self.daemons() {
            daemon.signal(Signal::CONT);
            daemon.start();
        }
    }
}

fn local(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn server(number: usize, port: u16, store: &str, data: PathBuf) -> Recipe {
    let mut arguments = texts(&["server", "--json", "--no-host", "--self-check", "never"]);
    let lease = format!("{}s", LEASE.as_secs());
    arguments.extend(texts(&["--heartbeat", HEARTBEAT, "--lease", &lease, "--store", store]));
    arguments.extend(texts(&["--listen", &format!("127.0.0.1:{port}"), "--data"]));
    arguments.push(data.to_str().unwrap().to_owned());
    let name = format!("server-{number}");
    Recipe { name, program: everstep(), arguments, variables: Vec::new() }
}

fn host(number: usize, wires: &[Proxy], data: PathBuf) -> Recipe {
    let name = format!("host-{number}");
    let urls: Vec<_> = wires.iter().map(|wire| local(wire.port())).collect();
    let mut arguments = texts(&["host", "--json", "--server", &urls.join(","), "--name", &name]);
    // Its tasks tell the ledger who executes them.
    arguments.extend(texts(&["--secret", "WITNESS", "--concurrency", "64", "--data"]));
    arguments.push(data.to_str().unwrap().to_owned());
    let mut variables = vec![("WITNESS".to_owned(), name.clone())];
    if number == HOSTS {
        variables.push(("EVERSTEP_CLOCK_SKEW_MS".to_owned(), SKEW_MS.to_string()));
    }
    Recipe { name, program: everstep(), arguments, variables }
}
