//! `everstep bench`: the standard workloads, measured on this machine and this disk. Every result is
//! printed with what it was measured on, and beside the raw speed of the same disk in the same run.

mod fleet;
mod machine;
mod report;
mod resume;
mod rig;
mod sequential;
mod upgrade;

use crate::context::Context;
use crate::exit::{Ended, Exit};
use clap::ValueEnum;
use report::{Print, Report};
use rig::Rig;
use std::path::PathBuf;

/// Measure the speed of durable steps.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Each workload runs in a server of its own, with a fresh store in DIR, which is removed
afterwards. Every commit is on disk (fsync) before anything depends on it.

Examples:
  everstep bench sequential
  everstep bench fleet --in-flight 2000
  everstep bench fleet --runs 1000 --json
  everstep bench upgrade
  everstep bench resume --steps 10000"
)]
pub(crate) struct Args {
    /// What to measure
    #[arg(value_enum)]
    workload: Workload,
    /// Runs to start (fleet, upgrade)
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    runs: u64,
    /// Steps of each run; 1,000 for sequential, 10 for fleet, 9 for upgrade when absent. Of the longest
    /// runs, 100,000 when absent (resume)
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    steps: Option<u64>,
    /// Runs that are under way at once (fleet)
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    in_flight: u64,
    /// The part of the time of activations that memory snapshots may take; 0 takes none
    #[arg(long, value_name = "0..1", default_value = "0.05", value_parser = super::server::parse_share)]
    snapshot_share: f64,
    /// Where to put the data: on the disk that is to be measured
    #[arg(long, value_name = "DIR", default_value = ".everstep")]
    dir: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Workload {
    /// One run, one no-op task after the other
    Sequential,
    /// Many runs of a few no-op tasks each
    Fleet,
    /// Open runs that are checked against a new module; a step is an entry of a journal
    Upgrade,
    /// Runs with a long past that are brought back into memory, by snapshot and by replay
    Resume,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let rig = Rig::start(&args.dir, args.snapshot_share).await?;
    let disk = rig.raw_appends()?;
    let bar = context.output.spinner("measuring".into());
    if matches!(args.workload, Workload::Resume) {
        let measured = resume::run(rig, args.steps.unwrap_or(100_000)).await;
        drop(bar);
        return show(context, &Report::new(measured?, disk));
    }
    let measured = match args.workload {
        Workload::Sequential => sequential::run(&rig, args.steps.unwrap_or(1_000)).await,
        Workload::Fleet => {
            fleet::run(&rig, args.runs, args.steps.unwrap_or(10), args.in_flight).await
        }
        Workload::Upgrade | Workload::Resume => {
            upgrade::run(&rig, args.runs, args.steps.unwrap_or(9)).await
        }
    };
    drop(bar);
    rig.stop().await;
    show(context, &Report::new(measured?, disk))
}

fn show<M: Print>(context: &Context, report: &Report<M>) -> Ended {
    match context.output.is_json() {
        true => context.output.value(report)?,
        false => context.output.line(&report.to_string())?,
    }
    Ok(Exit::Done)
}
