//! `everstep runs retry`: lets a stuck run go on from where it is, and has a failed one tried again.

use crate::context::Context;
use crate::exit::{Ended, Exit};
use everstep_client::{Payload, RetryBody, RunId, TaskOutcomeBody};

/// Let a stuck run go on once its cause is mended, or try a failed one again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep runs retry 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --set charge='{\"paid\":true}'
  everstep runs retry 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --skip send-receipt
  everstep runs retry 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f")]
pub(crate) struct Args {
    /// The run's id
    run: RunId,
    /// Give a failed task this output instead of trying it again
    #[arg(long, value_name = "TASK=JSON", value_parser = outcome)]
    set: Vec<TaskOutcomeBody>,
    /// Go on as if this failed task had given `null`
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
    let outcomes = args.set.into_iter().chain(skipped).collect();
    let run = context.client()?.retry(args.run, &RetryBody { outcomes }).await?;
    if context.output.is_json() {
        context.output.value(&run)?;
    } else {
        context.output.line(run.state.as_str())?;
    }
    Ok(Exit::Done)
}
