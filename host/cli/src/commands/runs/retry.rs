//! `everstep runs retry`: lets stuck runs go on from where they are.

use super::bulk::{self, Targets};
use crate::context::Context;
use crate::exit::{Ended, Exit};
use everstep_client::{BulkAction, BulkBody};

/// Let stuck runs go on, once their cause is mended.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep runs retry 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  everstep runs retry --workflow payment --failure-code limit.memory --dry-run

Without --state, filters find the runs that are stuck. With --json, the result of each run is one \
line.")]
pub(crate) struct Args {
    #[command(flatten)]
    targets: Targets,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let Some(run) = args.targets.single() else {
        return bulk::run(context, args.targets, BulkBody::new(BulkAction::Retry)).await;
    };
    let run = context.client()?.retry(run).await?;
    if context.output.is_json() {
        context.output.value(&run)?;
    } else {
        context.output.line(run.state.as_str())?;
    }
    Ok(Exit::Done)
}
