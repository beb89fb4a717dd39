//! The proof of determinism: a guest that tries to be nondeterministic in every way, each trick
//! replayed again and again, every time in a fresh process. `docs/determinism.md` says what it means.
//! The guest is the example `chaotic`.
//!
//! `EVERSTEP_REPLAYS=100` replays each run a hundred times; the default is quick.
#![allow(clippy::unwrap_used)]

use everstep_client::{Client, RetryBody, RunId, StateKind};
use everstep_core::{Entry, JournalEvent};
use everstep_engine::{Engine, EngineOptions};
use everstep_server::replay::{ReplayError, audit, verify};
use everstep_tests::{Cli, ServerProcess, completed, guest, journal, reach, serve, start};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What two runs of a trick may tell.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Two {
    /// What they saw differs, which shows that the trick sees something.
    Differ,
    /// They saw the same, although they are different runs.
    Agree,
    /// It depends.
    May,
}

/// The tricks whose run completes.
const TRICKS: [(&str, Two); 14] = [
    ("clock", Two::Differ),
    ("random", Two::Differ),
    ("hash_map", Two::Differ),
    ("nan_bits", Two::Agree),
    ("float_arithmetic", Two::Agree),
    ("transcendental", Two::Agree),
    ("simd", Two::Agree),
    ("memory_limit", Two::Agree),
    ("uninitialised_memory", Two::Differ),
    ("addresses", Two::May),
    ("environment", Two::Agree),
    ("stdin", Two::Agree),
    ("processors", Two::Agree),
    // Which task ends first is decided by the host, and different runs may well differ.
    ("race", Two::May),
];

/// The tricks by which a run gets stuck, with what they say shortly before.
const DEADLY: [(&str, &str, &str); 3] = [
    ("sleep", "guest.blocking", "guest backtrace"),
    // A part of the stack lies in the guest's memory. Which part ends first is up to its frames.
    ("recursion", "guest.stack or guest.trap", "at depth "),
    ("spin", "guest.fuel", "came by "),
];

/// How often each run is replayed.
fn replays() -> usize {
    let count = std::env::var("EVERSTEP_REPLAYS");
    count.map_or(5, |count| count.parse().expect("EVERSTEP_REPLAYS is a number"))
}

/// Every replay is a process of its own, and no two have the same environment, arguments or time.
fn replay(cli: &Cli, run: RunId, number: usize) -> Command {
    let mut command = cli.command(&["runs", "replay", &run.to_string(), "--json"]);
    command.env("CHAOS", "x".repeat(number * 37)).env("TZ", format!("UTC{}", number % 12));
    command
}

/// Exit code, stdout and stderr of so many replays, two at a time.
fn replayed(cli: &Cli, run: RunId) -> Vec<(i32, String, String)> {
    let numbers: Vec<usize> = (0..replays()).collect();
    let mut said = Vec::new();
    for pair in numbers.chunks(2) {
        let children = pair.iter().map(|number| replay(cli, run, *number).spawn().unwrap());
        for child in children.collect::<Vec<_>>() {
            let output = child.wait_with_output().unwrap();
            let text = |bytes| String::from_utf8(bytes).unwrap();
            let code = output.status.code().unwrap();
            said.push((code, text(output.stdout), text(output.stderr)));
        }
    }
    said
}

async fn saw(client: &Client, trick: &str) -> (RunId, Value) {
    let run = start(client, "chaotic", &json!(trick)).await;
    (run, completed(client, run).await)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_trick_is_seen_in_a_replay() {
    let (server, _folder) = serve(&["chaotic"], &[]).await;
    let (client, cli) = (server.client(), server.cli());
    for (trick, two) in TRICKS {
        let (run, seen) = saw(&client, trick).await;
        let (_, other) = saw(&client, trick).await;
        match two {
            Two::Differ => assert_ne!(seen, other, "{trick} sees nothing"),
            Two::Agree => assert_eq!(seen, other, "{trick}"),
            Two::May => {}
        }
        let length = journal(&client, run).await.len();
        let said = replayed(&cli, run);
        for (code, stdout, stderr) in &said {
            assert_eq!(*code, 0, "{trick}: {stderr}");
            let verified: Value = serde_json::from_str(stdout).unwrap();
            assert_eq!(verified["entries"], json!(length), "{trick}");
            assert!(verified["activations"].as_u64().unwrap() >= 2, "{trick}: {stdout}");
        }
        assert!(said.iter().all(|it| it.1 == said[0].1), "{trick}: {said:#?}");
    }
}

/// A run that gets stuck does so at the same place every time, down to its last words and its
/// backtrace: each retry happens in a server that has just been started.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stops_a_run_stops_it_at_the_same_place_every_time() {
    let (server, folder) = serve(&["chaotic"], &[]).await;
    let client = server.client();
    let mut stuck = Vec::new();
    for (trick, expected, words) in DEADLY {
        let run = start(&client, "chaotic", &json!(trick)).await;
        let cause = reach(&client, run, StateKind::Stuck).await.stuck.unwrap();
        assert!(expected.split(" or ").any(|code| code == cause.code), "{trick}: {cause:?}");
        assert!(cause.message.contains(words), "{trick} has no last words: {cause:?}");
        stuck.push((run, cause));
    }
    drop(server);
    for _ in 0..replays().div_ceil(2) {
        let server = ServerProcess::start(&folder.path().join("data"));
        let client = server.client();
        for (run, cause) in &stuck {
            client.retry(*run, &RetryBody::default()).await.unwrap();
            let again = reach(&client, *run, StateKind::Stuck).await.stuck.unwrap();
            assert_eq!(again, *cause);
        }
    }
}

/// The folder with the run and the module that a witness replays.
const WITNESS: &str = "EVERSTEP_WITNESS";

/// Replays a run in this process, and writes down what the guest's memory is like in the end. Started
/// by the test below, each time as a process of its own.
#[test]
#[ignore = "a part of `replays_leave_the_same_memory`"]
fn witness_of_the_memory() {
    let folder = PathBuf::from(std::env::var_os(WITNESS).unwrap());
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let entries: Vec<Entry> = serde_json::from_slice(&read("entries.json")).unwrap();
    let module = engine().compile(&read("chaotic.wasm")).unwrap();
    let (verified, memory) = audit(&module, &entries, 0, false).unwrap();
    let said = format!("{} {}", verified.activations, memory.unwrap());
    std::fs::write(folder.join("memory"), said).unwrap();
}

/// What a witness wrote.
fn memory_of(folder: &Path, entries: &[Entry]) -> String {
    std::fs::write(folder.join("entries.json"), serde_json::to_vec(entries).unwrap()).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "witness_of_the_memory"])
        .env(WITNESS, folder)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let said = folder.join("memory");
    let memory = std::fs::read_to_string(&said).unwrap();
    std::fs::remove_file(said).unwrap();
    memory
}

/// Whatever a trick left in memory and globals is the same after every replay, byte for byte.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replays_leave_the_same_memory() {
    let (server, folder) = serve(&["chaotic"], &[]).await;
    let client = server.client();
    std::fs::copy(guest("chaotic"), folder.path().join("chaotic.wasm")).unwrap();
    let mut seen = BTreeSet::new();
    let tricks = ["clock", "hash_map", "uninitialised_memory", "race"];
    for trick in tricks {
        let (run, _) = saw(&client, trick).await;
        let entries: Vec<_> =
            journal(&client, run).await.into_iter().map(|view| view.entry).collect();
        let first = memory_of(folder.path(), &entries);
        for _ in 1..replays() {
            assert_eq!(memory_of(folder.path(), &entries), first, "{trick}");
        }
        // What the command line prints is the same.
        let replay: Vec<serde_json::Value> =
            server.cli().json(&["runs", "replay", &run.to_string(), "--memory"]);
        assert!(first.ends_with(replay[0]["memory"].as_str().unwrap()), "{trick}: {first}");
        seen.insert(first);
    }
    // The hash sees the memory: no two runs end with the same.
    assert_eq!(seen.len(), tricks.len(), "{seen:?}");
}

/// The tests above compare something: a run of one trick does not pass for a run of another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_is_a_divergence() {
    let (server, _folder) = serve(&["chaotic"], &[]).await;
    let client = server.client();
    let (run, _) = saw(&client, "random").await;
    let mut entries: Vec<_> =
        journal(&client, run).await.into_iter().map(|view| view.entry).collect();
    let bytes = std::fs::read(guest("chaotic")).unwrap();
    let module = engine().compile(&bytes).unwrap();
    verify(&module, &entries, 0).unwrap();
    // The same journal of a run with another id: everything random is drawn from that.
    let (other, _) = saw(&client, "random").await;
    let JournalEvent::RunStarted { origin, .. } = &mut entries[0].event else { panic!() };
    let mut changed = (**origin).clone();
    changed.id = other;
    *origin = changed.into();
    let refused = verify(&module, &entries, 0);
    assert!(matches!(refused, Err(ReplayError::Divergence(_))), "{refused:?}");
}

fn engine() -> Engine {
    let few = EngineOptions { max_instances: 4, max_tasks: 1, ..EngineOptions::default() };
    Engine::new(few).unwrap()
}
