//! `everstep runs upgrade`: moves open runs to another module, after all have been replayed on it.

use super::bulk;
use super::filters::Filters;
use crate::commands::gate;
use crate::context::Context;
use crate::exit::Ended;
use everstep_client::{Digest, RunId, UpgradeBody};

/// Move open runs to another module, after all have been replayed on it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Every run is replayed on the other module first, on the server, without effects. When all pass they are \
moved; when one does not, nothing changes, the report says why, and the exit code is 5. Without --to \
and --module, runs are moved to the module that is published under their version now: those that were \
left behind when it was replaced.

Examples:
  everstep runs upgrade --workflow onboarding --to 1.1 --dry-run
  everstep runs upgrade --workflow onboarding --version 1.0 --to 1.1
  everstep runs upgrade 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --to 1.1")]
pub(crate) struct Args {
    /// The runs' ids
    #[arg(value_name = "RUN")]
    runs: Vec<RunId>,
    #[command(flatten)]
    filters: Filters,
    /// All open runs, when no filter is given
    #[arg(long)]
    all: bool,
    /// To this version of their workflow
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    /// To this module, in the place of the one that is published
    #[arg(long, value_name = "DIGEST")]
    module: Option<Digest>,
    #[command(flatten)]
    gate: gate::Options,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    if args.runs.is_empty() && args.filters.is_empty() && !args.all {
        return Err(bulk::unselected());
    }
    let gate::Options { allow_diverging, dry_run } = args.gate;
    let body = UpgradeBody {
        version: args.to,
        digest: args.module,
        filter: args.filters.filter().selection(),
        runs: args.runs,
        all: args.all,
        allow_diverging,
        dry_run,
    };
    let client = context.client()?;
    let mut watch = gate::Watch::new(&context.output);
    let report = client.upgrade(&body, |how_far| watch.show(how_far)).await;
    drop(watch);
    let report = gate::answer(context, report)?;
    if context.output.is_json() {
        context.output.value(&report)?;
    } else {
        gate::show(context, &report);
    }
    gate::ended(args.gate, Some(&report))
}
