//! `everstep runs terminate`, `pause`, `resume` and `wake`: one request, one answer.

use crate::context::Context;
use crate::exit::{Ended, Exit};
use everstep_client::{ReasonBody, RunId, RunView};

/// A run, and why.
#[derive(Debug, clap::Args)]
pub(crate) struct WithReason {
    /// The run's id
    run: RunId,
    /// Why, for people
    #[arg(long)]
    reason: Option<String>,
}

/// A run.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The run's id
    run: RunId,
}

pub(crate) async fn terminate(context: &Context, args: WithReason) -> Ended {
    let body = ReasonBody { reason: args.reason };
    answer(context, &context.client()?.terminate(args.run, &body).await?)
}

pub(crate) async fn pause(context: &Context, args: WithReason) -> Ended {
    let body = ReasonBody { reason: args.reason };
    answer(context, &context.client()?.pause(args.run, &body).await?)
}

pub(crate) async fn resume(context: &Context, args: Args) -> Ended {
    answer(context, &context.client()?.resume(args.run).await?)
}

pub(crate) async fn wake(context: &Context, args: Args) -> Ended {
    answer(context, &context.client()?.wake(args.run).await?)
}

fn answer(context: &Context, run: &RunView) -> Ended {
    if context.output.is_json() {
        context.output.value(run)?;
    } else {
        context.output.line(run.state.as_str())?;
    }
    Ok(Exit::Done)
}
