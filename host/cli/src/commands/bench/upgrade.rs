//! Many open runs with some history each, and a new module to be checked against all of them: how quickly
//! the upgrade gate replays. Nothing is changed; the new module is the same code with other bytes.

use super::report::Measured;
use super::rig::{MODULE, Rig, histogram, record};
use crate::exit::Failure;
use everstep_client::UploadOptions;
use futures::StreamExt;
use futures::stream;
use std::time::{Duration, Instant};

/// Runs that are started at once.
const AT_ONCE: usize = 256;

pub(super) async fn run(rig: &Rig, runs: u64, steps: u64) -> Result<Measured, Failure> {
    let mut starts =
        stream::iter(0..runs).map(|_| rig.start_waiting(steps)).buffer_unordered(AT_ONCE);
    let mut last = None;
    while let Some(started) = starts.next().await {
        last = Some(started?);
    }
    drop(starts);
    let Some(last) = last else { return Err(Failure::new("bench.runs", "no runs")) };
    rig.all_wait(runs).await?;
    let entries = rig.journal_length(last).await? * runs;

    let begun = rig.begin().await?;
    let at = Instant::now();
    let options = UploadOptions { replace: true, dry_run: true, ..UploadOptions::default() };
    let report = rig.upload(with_other_bytes(MODULE), options).await?.upgrade.unwrap_or_default();
    if (report.runs, report.passed) != (runs, runs) {
        let text =
            format!("{} of {} runs passed, {runs} were expected", report.passed, report.runs);
        return Err(Failure::new("bench.upgrade", text));
    }
    let mut latency = histogram();
    let each = at.elapsed().as_secs_f64() / runs as f64;
    record(&mut latency, Duration::from_secs_f64(each));
    let workload = format!("upgrade: {runs} open runs with {} entries each", entries / runs);
    rig.end(begun, workload, entries, ("run, on average", latency)).await
}

/// The same component with a section that means nothing.
fn with_other_bytes(module: &[u8]) -> Vec<u8> {
    // A custom section: its id, its size, the length of its name, its name.
    [module, &[0, 3, 2, b'v', b'2']].concat()
}
