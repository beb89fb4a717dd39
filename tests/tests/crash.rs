//! Crash proof. Two hundred runs with tasks and sleeps; the server is killed with SIGKILL at random
//! moments, at least twenty times. Then an external ledger, which the tasks wrote to, and the
//! journals must agree on what was promised: every acknowledged start finished, every recorded
//! result stood, no task began after its completion was recorded, no timer fired early.
#![allow(clippy::unwrap_used)]

use everstep_client::{Client, EntryView, Payload, RunId, StartBody, StateKind, WaitOptions};
use everstep_core::{JournalEvent, OpId, Timestamp};
use everstep_tests::{Ledger, Line, ServerProcess, guest, through_snapshots};
use futures::{StreamExt, TryStreamExt};
use rand::RngExt;
use std::collections::HashMap;
use std::time::{Duration, Instant};

const RUNS: usize = 200;
const KILLS: u32 = 20;
const STEPS: u64 = 4;
const SLEEP_MS: u64 = 700;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_promised_survives_twenty_kills() {
    let ledger = Ledger::start().await;
    let directory = tempfile::tempdir().unwrap();
    let mut server = ServerProcess::start(directory.path());
    let address = server.address().to_owned();
    server.client().upload(std::fs::read(guest("crash")).unwrap()).await.unwrap();

    let starting = tokio::spawn(start_runs(address.clone(), ledger.url().to_owned()));
    let mut seen = Recorded::default();
    let mut kills = 0;
    let mut started: Option<Vec<RunId>> = None;
    let mut starting = Some(starting);
    while kills < KILLS || started.is_none() {
        let pause = rand::rng().random_range(50..700);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.kill();
        kills += 1;
        server = ServerProcess::start_on(directory.path(), &address, &[]);
        if let Some(runs) = &started {
            seen.note(&server.client(), runs).await;
        } else if starting.as_ref().is_some_and(tokio::task::JoinHandle::is_finished) {
            started = Some(starting.take().unwrap().await.unwrap());
        }
        assert!(kills < 200, "the starts do not get through");
    }
    let runs = started.unwrap();
    assert_eq!(runs.len(), RUNS);

    let client = server.client();
    for run in &runs {
        let timeout = Some(Duration::from_secs(120));
        let waited = client.wait(*run, &WaitOptions { timeout, ..WaitOptions::default() }).await;
        let view = waited.unwrap().run;
        assert_eq!(view.state, StateKind::Completed, "{view:?}");
    }
    seen.note(&client, &runs).await;
    check(&client, &runs, &ledger.lines()).await;
    // The figures of this very run, for who reads the log of the tests.
    eprintln!("{kills} kills, {} runs, {} ledger lines", runs.len(), ledger.lines().len());
    through_snapshots(&server.cli());
    assert_eq!(server.terminate(), Some(0));
}

/// Starts the runs while the server comes and goes. A start that was not acknowledged is repeated
/// with the same key, so that there is exactly one run for each.
async fn start_runs(address: String, ledger: String) -> Vec<RunId> {
    let client = Client::new(&format!("http://{address}")).unwrap();
    let input = serde_json::json!({ "steps": STEPS, "sleep_ms": SLEEP_MS, "ledger": ledger });
    let starts = (0..RUNS).map(|number| {
        let body = StartBody {
            input: Some(Payload::from_value(&input).unwrap()),
            idempotency_key: Some(format!("run-{number}")),
            ..StartBody::new("crash")
        };
        let client = client.clone();
        async move {
            let begun = Instant::now();
            loop {
                match client.start(&body).await {
                    Ok(started) => return started.id,
                    Err(error) => assert!(begun.elapsed() < Duration::from_secs(60), "{error}"),
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    });
    let runs: Vec<RunId> = futures::stream::iter(starts).buffer_unordered(4).collect().await;
    let distinct: std::collections::HashSet<_> = runs.iter().collect();
    assert_eq!(distinct.len(), RUNS, "every start has a run of its own");
    runs
}

/// Results that were seen in a journal. Once there, they must never change.
#[derive(Default)]
struct Recorded(HashMap<(RunId, OpId), String>);

impl Recorded {
    async fn note(&mut self, client: &Client, runs: &[RunId]) {
        for run in runs {
            for view in journal(client, *run).await {
                if let JournalEvent::TaskCompleted { op, output, .. } = &view.entry.event {
                    let known = self.0.entry((*run, *op)).or_insert_with(|| output.to_string());
                    assert_eq!(known, output.as_str(), "a recorded result changed");
                }
            }
        }
    }
}

async fn journal(client: &Client, run: RunId) -> Vec<EntryView> {
    client.journal(run, 0).try_collect().await.unwrap()
}

/// Compares the journals with what the ledger witnessed.
async fn check(client: &Client, runs: &[RunId], ledger: &[Line]) {
    let mut begins: HashMap<&str, Vec<Timestamp>> = HashMap::new();
    let mut ends: HashMap<&str, Vec<&str>> = HashMap::new();
    for line in ledger {
        let token = line.body["token"].as_str().unwrap();
        match line.body["phase"].as_str().unwrap() {
            "begin" => begins.entry(token).or_default().push(line.at),
            _ => ends.entry(token).or_default().push(line.body["value"].as_str().unwrap()),
        }
    }
    for run in runs {
        let journal = journal(client, *run).await;
        assert!(journal.iter().enumerate().all(|(i, view)| view.seq == i as u64));
        let mut due: HashMap<OpId, Timestamp> = HashMap::new();
        let mut woke_at = Timestamp::default();
        let mut outputs = Vec::new();
        for EntryView { entry, .. } in &journal {
            match &entry.event {
                JournalEvent::TimerStarted { op, due: at, .. } => {
                    due.insert(*op, *at);
                }
                JournalEvent::TimerFired { op } => {
                    assert!(entry.at >= due[op], "the timer of {run} fired early");
                    woke_at = entry.at;
                }
                JournalEvent::TaskCompleted { op, output, .. } => {
                    let token = format!("{run}/{op}");
                    let value: String = output.read().unwrap();
                    let begun = &begins[token.as_str()];
                    assert!(
                        begun.iter().all(|at| *at <= entry.at),
                        "{token} began after its completion was recorded"
                    );
                    assert!(
                        begun.iter().all(|at| *at >= woke_at),
                        "{token} began before the sleep in front of it was over"
                    );
                    assert!(ends[token.as_str()].contains(&value.as_str()), "{token}: {value}");
                    outputs.push(value);
                }
                _ => {}
            }
        }
        assert_eq!(outputs.len() as u64, STEPS);
        let view = client.run(*run).await.unwrap();
        let output: serde_json::Value = view.output.unwrap().read().unwrap();
        assert_eq!(output["values"], serde_json::json!(outputs), "{run} saw other results");
    }
}
