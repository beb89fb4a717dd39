//! `everstep runs retry`: lets stuck runs go on from where they are, and has failed ones tried again.

use super::bulk::{self, Targets};
use crate::context::Context;
use crate::exit::{Ended, Exit, Failure};
use everstep_client::{BulkAction, BulkBody, Payload, RetryBody, TaskOutcomeBody};

/// Let stuck runs go on once their cause is mended, or try failed ones again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep runs retry 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  everstep runs retry 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --set charge='{\"paid\":true}'
  everstep runs retry 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --skip send-receipt
  everstep runs retry --workflow payment --failure-code limit.memory --dry-run

Without --state, filters find the runs that are stuck or failed. With --json, the result of each \
run is one line.")]
pub(crate) struct Args {
    #[command(flatten)]
    targets: Targets,
    /// Give a failed task of the one run this output instead of trying it again
    #[arg(long, value_name = "TASK=JSON", value_parser = outcome)]
    set: Vec<TaskOutcomeBody>,
    /// Go on as if this failed task of the one run had given `null`
    #[arg(long, value_name = "TASK")]
    skip: Vec<String>,
}

fn outcome(text: &str) -> Result<TaskOutcomeBody, String> {
    let (task, json) = text.split_once('=').ok_or("write TASK=JSON")?;
    let output = Payload::from_bytes(json.as_bytes()).map_err(|e| format!("the output is {e}"))?;
    Ok(TaskOutcomeBody { task: task.to_owned(), output: Some(output) })
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let skipped = args.skip.into_iter().map(|task| TaskOutcomeBody { task, output: None });
    let outcomes: Vec<_> = args.set.into_iter().chain(skipped).collect();
    let Some(run) = args.targets.single() else {
        if !outcomes.is_empty() {
            let detail = "--set and --skip are for one run";
            return Err(Failure::usage("usage", detail).fix("name one run"));
        }
        return bulk::run(context, args.targets, BulkBody::new(BulkAction::Retry)).await;
    };
    let run = context.client()?.retry(run, &RetryBody { outcomes }).await?;
    if context.output.is_json() {
        context.output.value(&run)?;
    } else {
        context.output.line(run.state.as_str())?;
    }
    Ok(Exit::Done)
}
