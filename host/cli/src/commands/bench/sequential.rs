//! One run, one no-op task after the other: what a single durable step costs.

use super::report::Measured;
use super::rig::{Rig, histogram, record};
use crate::exit::Failure;
use everstep_server::hub::Subscription;
use hdrhistogram::Histogram;
use std::time::Instant;

pub(super) async fn run(rig: &Rig, steps: u64) -> Result<Measured, Failure> {
    // A short run first, so that the module is loaded.
    let warm_up = rig.start_steps(10).await?;
    rig.completed(warm_up).await?;

    let mut latency = histogram();
    let begun = rig.begin().await?;
    let run = rig.start_steps(steps).await?;
    let commits = rig.server.hub().subscribe(run);
    tokio::select! {
        done = rig.completed(run) => done?,
        () = observe(commits, &mut latency) => {}
    }
    rig.end(begun, format!("sequential: 1 run of {steps} steps"), steps, ("step", latency)).await
}

/// Notes the time between one commit of the run and the next: every commit ends one step.
async fn observe(mut commits: Subscription, latency: &mut Histogram<u64>) {
    let mut last = Instant::now();
    loop {
        commits.changed().await;
        record(latency, last.elapsed());
        last = Instant::now();
    }
}
