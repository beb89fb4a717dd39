//! What a workflow sees of the world, and what it is kept from.
//!
//! The tests of the host compare the output of `observe` between executions: clocks, random
//! numbers, hash maps and the environment must be the same in every replay. The other deeds must
//! each end in a clear error that harms nobody else.

use everstep_sdk::prelude::*;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::time::{Instant, SystemTime};

/// What to do.
#[payload]
#[derive(Default)]
#[serde(rename_all = "snake_case")]
enum Deed {
    /// Look around and tell.
    #[default]
    Observe,
    /// Panic.
    Trap,
    /// Never come to an end.
    Loop,
    /// Take memory until there is no more.
    Memory,
    /// Block the thread with `std::thread::sleep`, which a workflow may not.
    Block,
    /// Call without end.
    Recursion,
    /// Do an HTTP request outside of a task.
    Http,
    /// Open a file.
    File,
}

#[payload]
struct Probe {
    #[serde(default)]
    deed: Deed,
}

/// What the workflow saw.
#[payload]
struct Seen {
    now: Timestamp,
    system_time: Timestamp,
    /// By how much `Instant` moved over a durable sleep of 50 ms.
    instant_moved_ms: u64,
    now_moved_ms: u64,
    random: Vec<u64>,
    uuid: String,
    /// Bytes from the operating system's source of randomness.
    getrandom: [u8; 16],
    /// The order of a hash map depends on random keys.
    hash_map_order: Vec<u32>,
    random_state: u64,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    /// A sum of floats whose last bits would show a different rounding, and a NaN's bits.
    float_bits: [u64; 2],
    /// Why what is refused was refused.
    refused: Vec<String>,
}

/// Gives the attempt, for a probe of the inside of a task.
#[task(name = "real-time")]
async fn real_time() -> TaskResult<Timestamp> {
    Ok(SystemTime::now().into())
}

/// Does one deed of the sandbox's test program.
#[workflow(name = "sandbox-probe", version = "1.0")]
async fn probe(run: Run, input: Probe) -> WorkflowResult<Seen> {
    match input.deed {
        Deed::Observe => {}
        Deed::Trap => panic!("this workflow panics on purpose"),
        Deed::Loop => spin(),
        Deed::Memory => hoard(),
        Deed::Block => std::thread::sleep(secs(1)),
        Deed::Recursion => println!("{}", descend(1)),
        Deed::Http => drop(everstep_sdk::http::get("http://127.0.0.1:9/").send()?),
        Deed::File => drop(std::fs::read("/etc/passwd")?),
    }
    observe(run).await
}

async fn observe(run: Run) -> WorkflowResult<Seen> {
    println!("a line on stdout");
    eprintln!("a line on stderr");
    let (instant, before) = (Instant::now(), run.now());
    run.sleep(millis(50)).await;
    let instant_moved_ms = u64::try_from(instant.elapsed().as_millis())?;
    real_time.start(&run, ()).await?;

    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|e| WorkflowError::new("getrandom", e.to_string()))?;
    let map: HashMap<u32, ()> = (0..20).map(|n| (n, ())).collect();
    let sum: f64 = (1..1_000).map(|n| (f64::from(n)).sqrt().sin()).sum();
    let not_a_number = (sum - sum) / (sum - sum);
    let refused = std::fs::read("/etc/passwd").err().map(|e| e.kind().to_string());
    Ok(Seen {
        now: run.now(),
        system_time: SystemTime::now().into(),
        instant_moved_ms,
        now_moved_ms: run.now().as_millis() - before.as_millis(),
        random: (0..3).map(|_| run.random()).collect(),
        uuid: run.uuid(),
        getrandom: bytes,
        hash_map_order: map.into_keys().collect(),
        random_state: RandomState::new().hash_one(1),
        environment: std::env::vars().collect(),
        arguments: std::env::args().collect(),
        float_bits: [sum.to_bits(), not_a_number.to_bits()],
        refused: refused.into_iter().collect(),
    })
}

fn spin() {
    let mut n = 0_u64;
    loop {
        n = std::hint::black_box(n.wrapping_add(1));
    }
}

fn hoard() {
    let mut hoard = Vec::new();
    loop {
        hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

fn descend(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 16]);
    if depth == 0 { 0 } else { descend(depth + 1) + frame[3] }
}

everstep_sdk::module!(workflows: [probe], tasks: [real_time]);
