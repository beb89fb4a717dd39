//! `everstep runs cancel`: asks a run to stop and gives it time to clean up.

use crate::context::Context;
use crate::durations;
use crate::exit::{Ended, Exit};
use everstep_client::{CancelBody, RunId};
use std::time::Duration;

/// Ask a run to stop; it may clean up first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep runs cancel 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --reason 'ordered twice'
  everstep runs cancel 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --grace 5m")]
pub(crate) struct Args {
    /// The run's id
    run: RunId,
    /// Why, for people
    #[arg(long)]
    reason: Option<String>,
    /// How long it may clean up; 30s when absent
    #[arg(long, value_name = "DURATION", value_parser = durations::parse)]
    grace: Option<Duration>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let grace_ms = args.grace.map(durations::millis);
    let body = CancelBody { reason: args.reason, grace_ms };
    let run = context.client()?.cancel(args.run, &body).await?;
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
