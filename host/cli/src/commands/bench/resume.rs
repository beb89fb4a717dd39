//! Runs with more and more steps behind them that wait in a server which is then started anew: what it
//! takes to bring each of them into memory, from its snapshot and by the replay of its journal.

use super::report::{Disk, Print};
use super::rig::Rig;
use crate::exit::Failure;
use everstep_client::RunId;
use everstep_core::api::{ResumeView, ResumedBy};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// The shortest runs.
const FEWEST: u64 = 10;
/// The lengths in between.
const BETWEEN: [u64; 2] = [1_000, 10_000];
/// Runs of each length and kind; the median of them is shown.
const RUNS: usize = 3;
/// Snapshots that were taken last are in the store after this time.
const SETTLED: Duration = Duration::from_secs(1);

/// What runs of one length took.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Row {
    steps: u64,
    /// Entries of the journal.
    entries: u64,
    /// The median of replays of the whole journal, in microseconds.
    replay_us: u64,
    /// The median of what the server does by itself, in microseconds.
    resume_us: u64,
    /// How it does that.
    by: ResumedBy,
    /// The entries that it replayed then.
    tail: u64,
    /// The size of the snapshot.
    snapshot_bytes: u64,
}

/// What is shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Resumes {
    workload: &'static str,
    rows: Vec<Row>,
}

/// Runs of one length.
struct Group {
    steps: u64,
    /// Those whose snapshots are taken away.
    replayed: Vec<RunId>,
    left_alone: Vec<RunId>,
}

pub(super) async fn run(mut rig: Rig, most: u64) -> Result<Resumes, Failure> {
    let mut steps = vec![FEWEST];
    steps.extend(BETWEEN.into_iter().filter(|steps| *steps < most));
    steps.push(most);
    let mut groups = Vec::new();
    for steps in steps {
        let mut group = Group { steps, replayed: Vec::new(), left_alone: Vec::new() };
        for _ in 0..RUNS {
            group.replayed.push(rig.start_waiting(steps).await?);
            group.left_alone.push(rig.start_waiting(steps).await?);
        }
        groups.push(group);
    }
    // The first run that is brought back loads the module, too.
    let first = rig.start_waiting(FEWEST).await?;
    rig.all_wait((groups.len() * 2 * RUNS + 1) as u64).await?;
    tokio::time::sleep(SETTLED).await;
    for run in groups.iter().flat_map(|group| &group.replayed) {
        let gone = rig.server.store().put_snapshot(*run, None).await;
        gone.map_err(|error| Failure::new(error.code(), error.to_string()))?;
    }
    rig = rig.restart().await?;
    rig.wake(first).await?;
    let mut rows = Vec::new();
    for group in groups {
        rows.push(row(&rig, group).await?);
    }
    rig.stop().await;
    let workload = "resume: runs that a new server brings into memory, with the reads of the store";
    Ok(Resumes { workload, rows })
}

async fn row(rig: &Rig, group: Group) -> Result<Row, Failure> {
    let Some(run) = group.left_alone.last() else { return Err(not_told()) };
    let entries = rig.journal_length(*run).await?;
    let snapshot = rig.server.store().snapshot(*run).await;
    let snapshot = snapshot.map_err(|error| Failure::new(error.code(), error.to_string()))?;
    let replays = woken(rig, &group.replayed).await?;
    let resumes = woken(rig, &group.left_alone).await?;
    let (replayed, resumed) = (median(replays)?, median(resumes)?);
    Ok(Row {
        steps: group.steps,
        entries,
        replay_us: replayed.took_us,
        resume_us: resumed.took_us,
        by: resumed.by,
        tail: resumed.entries,
        snapshot_bytes: snapshot.map_or(0, |bytes| bytes.len() as u64),
    })
}

async fn woken(rig: &Rig, runs: &[RunId]) -> Result<Vec<ResumeView>, Failure> {
    let mut views = Vec::new();
    for run in runs {
        views.push(rig.wake(*run).await?.ok_or_else(not_told)?);
    }
    Ok(views)
}

fn median(mut views: Vec<ResumeView>) -> Result<ResumeView, Failure> {
    views.sort_by_key(|view| view.took_us);
    views.get(views.len() / 2).copied().ok_or_else(not_told)
}

fn not_told() -> Failure {
    Failure::new("bench.resume", "the server does not tell how it brought a run back".to_owned())
}

impl Print for Resumes {
    fn print(&self, f: &mut fmt::Formatter<'_>, _disk: &Disk) -> fmt::Result {
        writeln!(f, "{}", self.workload)?;
        writeln!(f, "     steps    journal      replay      resume  how       tail     snapshot")?;
        for row in &self.rows {
            let by = match row.by {
                ResumedBy::Snapshot => "snapshot",
                ResumedBy::Replay => "replay",
            };
            writeln!(
                f,
                "{:>10} {:>10} {:>8.2} ms {:>8.2} ms  {by:<8} {:>5} {:>10} B",
                row.steps,
                row.entries,
                row.replay_us as f64 / 1e3,
                row.resume_us as f64 / 1e3,
                row.tail,
                row.snapshot_bytes
            )?;
        }
        Ok(())
    }
}
