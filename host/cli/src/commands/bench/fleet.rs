//! Many runs of a few no-op tasks each, so many at once: what a server sustains.

use super::report::Measured;
use super::rig::{Rig, histogram, record};
use crate::exit::Failure;
use futures::StreamExt;
use futures::stream;
use std::time::{Duration, Instant};

pub(super) async fn run(
    rig: &Rig,
    runs: u64,
    steps: u64,
    in_flight: u64,
) -> Result<Measured, Failure> {
    let warm_up = rig.start_steps(steps).await?;
    rig.completed(warm_up).await?;

    let begun = rig.begin().await?;
    let at_once = usize::try_from(in_flight).unwrap_or(usize::MAX);
    let mut ends = stream::iter(0..runs).map(|_| one(rig, steps)).buffer_unordered(at_once);
    let mut latency = histogram();
    while let Some(took) = ends.next().await {
        record(&mut latency, took?);
    }
    drop(ends);
    let workload = format!("fleet: {runs} runs of {steps} steps, {in_flight} in flight");
    rig.end(begun, workload, runs * steps, ("run, from its start to its end", latency)).await
}

async fn one(rig: &Rig, steps: u64) -> Result<Duration, Failure> {
    let begun = Instant::now();
    let run = rig.start_steps(steps).await?;
    rig.completed(run).await?;
    Ok(begun.elapsed())
}
