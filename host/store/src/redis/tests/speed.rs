//! Not a test: what commits cost, and what runs take of Redis' memory and file. To be run by hand,
//! alone: `cargo nextest run --release -p everstep-store --run-ignored only --no-capture redis.*speed`

use super::server::Server;
use crate::contract::{first, next};
use crate::{Redis, Store};
use everstep_core::{Payload, RunState};
use redis::from_redis_value;
use std::sync::Arc;
use std::time::Instant;

/// A start and ten steps of two entries each; the last one ends the run.
async fn live(store: &Redis, n: u64) {
    let mut commit = first(n);
    for step in 0..11 {
        let record = commit.record.clone();
        store.commit(commit).await.unwrap();
        commit = next(&record, 2, 0);
        if step == 9 {
            commit.record.state = RunState::Completed { output: Payload::null() };
            commit.record.ready = false;
        }
    }
}

async fn figure(server: &Server, name: &str) -> u64 {
    let info: String = from_redis_value(server.ask(&["INFO"]).await).unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

async fn measure(fsync: &str, in_flight: u64, lives: u64) {
    let server =
        Server::start(&["--appendfsync", fsync, "--auto-aof-rewrite-percentage", "0"]).await;
    let store = Arc::new(Redis::open(&server.options()).await.unwrap());
    let memory = figure(&server, "used_memory").await;
    let started = Instant::now();
    let tasks: Vec<_> = (0..in_flight)
        .map(|task| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in (task..lives).step_by(usize::try_from(in_flight).unwrap()) {
                    live(&store, n).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let took = started.elapsed();
    let commits = lives * 11;
    let per_run = (figure(&server, "used_memory").await - memory) / lives;
    let per_commit = figure(&server, "aof_current_size").await / commits;
    let speed = commits as f64 / took.as_secs_f64();
    eprintln!(
        "{fsync:>8}, {in_flight:>4} in flight: {speed:>6.0} commits/s; \
         {per_run} bytes of memory per run, {per_commit} bytes of file per commit"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn speed_of_commits() {
    for fsync in ["always", "everysec"] {
        for (in_flight, lives) in [(1, 100), (16, 1_000), (256, 3_000)] {
            measure(fsync, in_flight, lives).await;
        }
    }
}
