//! `everstep runs retry`: lets a stuck run go on from where it is.

use crate::context::Context;
use crate::exit::{Ended, Exit};
use everstep_client::RunId;

/// Let a stuck run go on, once its cause is mended.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep runs retry 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f")]
pub(crate) struct Args {
    /// The run's id
    run: RunId,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let run = context.client()?.retry(args.run).await?;
    if context.output.is_json() {
        context.output.value(&run)?;
    } else {
        context.output.line(run.state.as_str())?;
    }
    Ok(Exit::Done)
}
