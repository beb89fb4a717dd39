//! The chaos suite: servers, hosts and Redis as real processes, a load on them, faults of every kind, and
//! a checker that holds what was seen against what is promised. Run by the program `chaos` (`make chaos`)
//! for as long as one likes, and by a test for half a minute.
//!
//! Where to begin: `nemesis.rs` for what goes wrong, `check.rs` for what is promised.

mod check;
mod cluster;
mod daemon;
mod evidence;
mod load;
mod nemesis;
mod proxy;
mod redis_nodes;
mod report;

pub use check::{Promise, Verdict, Violation, check};
pub use cluster::Stored;
pub use evidence::{Disturbance, Ending, Evidence, Sighting};
pub use nemesis::{Kind, kinds};
pub use report::Report;

use crate::guests::guest;
use crate::ledger::Ledger;
use cluster::Cluster;
use everstep_client::StateKind;
use load::Load;
use nemesis::{Chronicle, rage};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What the servers keep everything in.
    pub stored: Stored,
    /// For how long things go wrong.
    pub lasts: Duration,
    /// Which things, and in which order.
    pub seed: u64,
    /// Where data, logs and journals lie.
    pub folder: PathBuf,
}

/// Carries a plan out, and leaves everything that was seen in its folder.
///
/// # Panics
/// When the machine lacks something, or the system does not come up at all.
pub async fn run(plan: &Plan) -> Report {
    std::fs::create_dir_all(&plan.folder).unwrap();
    let (begun, ledger) = (Instant::now(), Ledger::start().await);
    let cluster = Arc::new(Cluster::start(plan.stored, &plan.folder).await);
    let load = Arc::new(Load::new(Arc::clone(&cluster), ledger.url()));
    for example in ["crash", "bench"] {
        load.upload(std::fs::read(guest(example)).unwrap()).await;
    }
    let (clients, reader) = (Arc::clone(&load), Arc::clone(&load));
    let seed = plan.seed;
    let clients = tokio::spawn(async move { clients.clients(seed).await });
    let reader = tokio::spawn(async move { reader.reader(seed).await });
    let chronicle: Arc<Mutex<Chronicle>> = Arc::default();
    rage(&cluster, plan.stored, seed, plan.lasts, &chronicle).await;
    load.stop();
    let mended = Instant::now();
    clients.await.unwrap();
    reader.await.unwrap();
    let mut evidence = load.collect(seed).await;
    let recovery = mended.elapsed();
    evidence.ledger = ledger.lines();
    let chronicle = std::mem::take(&mut *chronicle.lock().unwrap());
    evidence.disturbances.clone_from(&chronicle.disturbances);
    let mut verdict = check(&evidence);
    let mut exits = Vec::new();
    for daemon in cluster.daemons() {
        exits.extend(daemon.exits().into_iter().map(|exit| format!("{}: {exit}", daemon.name())));
        verdict.violations.extend(daemon.panics().into_iter().map(|line| Violation {
            promise: Promise::Programs,
            run: None,
            what: format!("{}: {line}", daemon.name()),
        }));
    }
    let asked = load.asked.load(std::sync::atomic::Ordering::Relaxed);
    let ended = evidence.endings.values().filter(|it| it.state == Some(StateKind::Completed));
    let report = Report {
        plan: plan.clone(),
        faults: kinds(plan.stored)
            .iter()
            .map(|(_, _, name)| (*name, chronicle.counts.get(name).copied().unwrap_or_default()))
            .collect(),
        asked,
        acknowledged: evidence.starts.len(),
        events: evidence.events.len(),
        completed: ended.count(),
        effects: evidence.ledger.len(),
        sightings: evidence.sightings.len(),
        exits,
        verdict,
        took: begun.elapsed(),
        recovery,
    };
    keep(&plan.folder, &chronicle, &evidence, &report);
    report
}

/// Writes down what was seen, for whoever looks for the cause of a violation.
fn keep(folder: &Path, chronicle: &Chronicle, evidence: &Evidence, report: &Report) {
    std::fs::write(folder.join("faults.txt"), chronicle.lines.join("\n")).unwrap();
    let ledger = evidence.ledger.iter().map(|line| serde_json::to_string(line).unwrap());
    let ledger: Vec<String> = ledger.collect();
    std::fs::write(folder.join("ledger.jsonl"), ledger.join("\n")).unwrap();
    let file = std::fs::File::create(folder.join("evidence.json")).unwrap();
    serde_json::to_writer(std::io::BufWriter::new(file), evidence).unwrap();
    std::fs::write(folder.join("report.txt"), report.to_string()).unwrap();
}
