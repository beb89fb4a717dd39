//! The Redis of the system under test: one, or three masters with a replica each, with settings under
//! which nothing that was acknowledged is lost by what the nemeses do. Started by the cluster.

use super::cluster::{Stored, free_port};
use super::daemon::{Daemon, Recipe};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Masters of a Redis Cluster; each has one replica.
const MASTERS: usize = 3;
/// Hash slots of a Redis Cluster.
const SLOTS: usize = 16_384;
/// After which time nodes of a cluster take one that is silent for dead. Longer than any of ours is: a
/// failover that nobody has asked for may lose commits, as Redis says.
const NODE_TIMEOUT_MS: &str = "60000";
/// How long a node has for what it is asked to become.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long one question may take.
const ANSWER: Duration = Duration::from_secs(5);

/// Starts them, and waits until they can be used.
pub(super) async fn start(
    stored: Stored,
    folder: &Path,
    logs: &Path,
) -> (Vec<Arc<Daemon>>, Vec<u16>) {
    let count = if stored == Stored::Redis { 1 } else { 2 * MASTERS };
    let (mut nodes, mut ports, mut buses) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=count {
        let (port, bus) = (free_port(), free_port());
        let name = format!("redis-{number}");
        let data = folder.join(&name);
        std::fs::create_dir_all(&data).unwrap();
        let mut arguments: Vec<String> = format!(
            "--bind 127.0.0.1 --port {port} --save  --appendonly yes --appendfsync always \
             --maxmemory-policy noeviction"
        )
        .split(' ')
        .map(str::to_owned)
        .collect();
        arguments.extend(["--dir".to_owned(), data.to_str().unwrap().to_owned()]);
        if stored == Stored::RedisCluster {
            let settings = format!(
                "--cluster-enabled yes --cluster-port {bus} --cluster-node-timeout \
                 {NODE_TIMEOUT_MS} --min-replicas-to-write 1 --min-replicas-max-lag 2"
            );
            arguments.extend(settings.split(' ').map(str::to_owned));
        }
        let recipe = Recipe { name, program: "redis-server".into(), arguments, variables: vec![] };
        let node = Arc::new(Daemon::new(recipe, logs));
        node.start();
        nodes.push(node);
        ports.push(port);
        buses.push(bus);
    }
    for port in &ports {
        until(*port, "PING", "PONG").await;
    }
    if stored == Stored::RedisCluster {
        join(&ports, &buses).await;
    }
    (nodes, ports)
}

/// Makes one cluster of these nodes: the first are the masters, the others their replicas in turn.
async fn join(ports: &[u16], buses: &[u16]) {
    let each = SLOTS.div_ceil(MASTERS);
    for (n, port) in ports.iter().take(MASTERS).enumerate() {
        let (from, to) = (n * each, (n * each + each).min(SLOTS) - 1);
        until(*port, &format!("CLUSTER SET-CONFIG-EPOCH {}", n + 1), "OK").await;
        until(*port, &format!("CLUSTER ADDSLOTSRANGE {from} {to}"), "OK").await;
    }
    for (port, bus) in ports.iter().zip(buses).skip(1) {
        until(ports[0], &format!("CLUSTER MEET 127.0.0.1 {port} {bus}"), "OK").await;
    }
    for port in ports {
        until(*port, "CLUSTER INFO", &format!("cluster_known_nodes:{}", ports.len())).await;
        until(*port, "CLUSTER INFO", "cluster_state:ok").await;
    }
    for (master, replica) in ports.iter().zip(&ports[MASTERS..]) {
        let id = ask(*master, "CLUSTER MYID").unwrap();
        until(*replica, &format!("CLUSTER REPLICATE {id}"), "OK").await;
    }
    for replica in &ports[MASTERS..] {
        until(*replica, "INFO replication", "master_link_status:up").await;
    }
}

/// The address of the cluster that has these nodes.
pub(super) fn url(ports: &[u16]) -> String {
    let nodes: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    format!("redis+cluster://{}?patience_ms=10000", nodes.join(","))
}

/// Whether this node is a replica that has everything from its master.
pub(super) fn is_replica(port: u16) -> bool {
    let said = ask(port, "INFO replication").unwrap_or_default();
    said.contains("role:slave") && said.contains("master_link_status:up")
}

async fn until(port: u16, question: &str, holds: &str) {
    let begun = Instant::now();
    loop {
        let said = ask(port, question);
        if said.as_ref().is_ok_and(|said| said.contains(holds)) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "{question} of the Redis at {port}: {said:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Asks a node something that is answered with one text.
pub(super) fn ask(port: u16, question: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.write_all(format!("{question}\r\n").as_bytes())?;
    let mut answer = BufReader::new(stream);
    let mut line = String::new();
    answer.read_line(&mut line)?;
    let Some(length) = line.strip_prefix('$') else { return Ok(line.trim_end().to_owned()) };
    let length = length.trim_end().parse().map_err(io::Error::other)?;
    let mut text = vec![0; length];
    answer.read_exact(&mut text)?;
    String::from_utf8(text).map_err(io::Error::other)
}
