//! SIGKILL at any moment: what was acknowledged is there, and nothing is half there. And the lock,
//! between processes. The killed process is this test binary again.

use super::open_at;
use crate::contract::{first, next, run_id};
use crate::{RunQuery, Store, StoreError};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const ROLE: &str = "EVERSTEP_STORE_TEST_ROLE";
const DIR: &str = "EVERSTEP_STORE_TEST_DIR";
const FIRST_RUN: &str = "EVERSTEP_STORE_TEST_FIRST_RUN";
const RUNS_PER_ROUND: u64 = 8;

fn spawn_child(role: &str, dir: &Path, first_run: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "embedded::tests::crash::child_process", "--nocapture"])
        .env(ROLE, role)
        .env(DIR, dir)
        .env(FIRST_RUN, first_run.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn say(words: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{words}").unwrap();
    out.flush().unwrap();
}

/// Does nothing unless it is run by one of the tests below.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_process() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let dir = std::env::var_os(DIR).unwrap();
    let store = open_at(Path::new(&dir));
    if role == "open" {
        say(&format!("\nanswer {}", store.err().unwrap()));
        return;
    }
    let store = Arc::new(store.unwrap());
    let first_run: u64 = std::env::var(FIRST_RUN).unwrap().parse().unwrap();
    let tasks: Vec<_> = (first_run..first_run + RUNS_PER_ROUND)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut commit = first(n);
                while commit.record.length < u64::MAX {
                    let record = commit.record.clone();
                    store.commit(commit).await.unwrap();
                    say(&format!("\nack {n} {}", record.length));
                    commit = next(&record, 1 + record.length % 3, record.length % 2);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// Reads acknowledgements until the child is dead; kills it `after` it began to commit.
fn kill_after(mut child: Child, after: Duration, acknowledged: &mut BTreeMap<u64, u64>) {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut killer = None;
    let mut child = Some(child);
    for line in lines {
        // The last line may be cut off; then its commit was not acknowledged.
        let Ok(line) = line else { break };
        let words: Vec<&str> = line.split(' ').collect();
        let ["ack", run, length] = words[..] else { continue };
        let (Ok(run), Ok(length)) = (run.parse(), length.parse()) else { continue };
        let known = acknowledged.entry(run).or_insert(0);
        *known = (*known).max(length);
        if let Some(mut child) = child.take() {
            killer = Some(std::thread::spawn(move || {
                std::thread::sleep(after);
                child.kill().unwrap();
                child.wait().unwrap();
            }));
        }
    }
    killer.expect("the child committed something").join().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_nothing_acknowledged_and_leaves_nothing_half() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for round in 0..10 {
        let child = spawn_child("commit", dir.path(), round * RUNS_PER_ROUND);
        let noise = SystemTime::UNIX_EPOCH.elapsed().unwrap().subsec_nanos() % 120_000;
        kill_after(child, Duration::from_micros(u64::from(noise)), &mut acknowledged);

        let store = open_at(dir.path()).unwrap();
        for (&n, &length) in &acknowledged {
            let record = store.record(run_id(n)).await.unwrap().expect("an acknowledged run");
            assert!(record.length >= length, "run {n} lost acknowledged entries");
        }
        let mut query = RunQuery { limit: 1_000, ..RunQuery::default() };
        loop {
            let page = store.runs(&query).await.unwrap();
            assert_eq!(page.damaged, []);
            for record in page.runs {
                check_whole(&store, &record).await;
            }
            query.cursor = page.cursor;
            if query.cursor.is_none() {
                break;
            }
        }
        store.close().await;
    }
    assert!(acknowledged.values().sum::<u64>() > 100, "hardly anything was committed");
}

/// The journal and the logs are exactly what the commits up to this record wrote.
pub(super) async fn check_whole(store: &crate::Embedded, record: &everstep_core::Record) {
    let n = u64::from_be_bytes(*record.id().as_bytes().first_chunk().unwrap());
    let mut commit = first(n);
    let (mut entries, mut lines) = (Vec::new(), Vec::new());
    loop {
        entries.append(&mut commit.entries);
        lines.append(&mut commit.logs);
        if commit.record.length >= record.length {
            break;
        }
        let length = commit.record.length;
        commit = next(&commit.record, 1 + length % 3, length % 2);
    }
    assert_eq!(commit.record, *record, "a commit is half there");
    let id = record.id();
    assert_eq!(store.journal(id, 0, usize::MAX).await.unwrap(), entries);
    assert_eq!(store.logs(id, 0, usize::MAX).await.unwrap(), lines);
}

#[tokio::test]
async fn a_second_open_is_refused_until_the_first_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).unwrap();
    let refused = open_at(dir.path()).unwrap_err();
    let holder = format!("process {}", std::process::id());
    assert_eq!(refused, StoreError::InUse { path: dir.path().join("data"), holder });

    let child = spawn_child("open", dir.path(), 0).wait_with_output().unwrap();
    let said = String::from_utf8(child.stdout).unwrap();
    assert!(said.contains(&format!("answer {refused}")), "{said}");

    store.close().await;
    let store = open_at(dir.path()).unwrap();
    drop(store);
    open_at(dir.path()).unwrap();
}
