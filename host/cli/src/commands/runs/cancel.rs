//! `everstep runs cancel`: asks runs to stop and gives them time to clean up.

use super::bulk::{self, Targets};
use crate::context::Context;
use crate::durations;
use crate::exit::{Ended, Exit};
use everstep_client::{BulkAction, BulkBody, CancelBody, RunId};
use std::time::Duration;

/// Ask runs to stop; they may clean up first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep runs cancel 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --reason 'ordered twice'
  everstep runs cancel 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --grace 5m
  everstep runs cancel --workflow payment --tag shop=berlin --started-after 1h --dry-run

Without --state, filters find the runs that can be cancelled. With --json, the result of each run is \
one line.")]
pub(crate) struct Args {
    #[command(flatten)]
    targets: Targets,
    /// Why, for people
    #[arg(long)]
    reason: Option<String>,
    /// How long they may clean up; 30s when absent
    #[arg(long, value_name = "DURATION", value_parser = durations::parse)]
    grace: Option<Duration>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let grace_ms = args.grace.map(durations::millis);
    match args.targets.single() {
        Some(run) => one(context, run, CancelBody { reason: args.reason, grace_ms }).await,
        None => {
            let action = BulkBody::new(BulkAction::Cancel);
            let body = BulkBody { reason: args.reason, grace_ms, ..action };
            bulk::run(context, args.targets, body).await
        }
    }
}

async fn one(context: &Context, run: RunId, body: CancelBody) -> Ended {
    let run = context.client()?.cancel(run, &body).await?;
    if context.output.is_json() {
        context.output.value(&run)?;
    } else if run.state.is_terminal() {
        context.output.line(run.state.as_str())?;
    } else {
        context.output.line(&format!("asked to stop; the run is {}", run.state.as_str()))?;
        context.output.note(&format!("`everstep runs wait {}` waits for its end", run.id));
    }
    Ok(Exit::Done)
}
