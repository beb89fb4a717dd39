//! `everstep runs terminate`, `pause`, `resume` and `wake`: one request, for one run or for many.

use super::bulk::{self, Targets};
use crate::context::Context;
use crate::exit::{Ended, Exit};
use everstep_client::{BulkAction, BulkBody, ReasonBody, RunView};

/// Runs, and why.
#[derive(Debug, clap::Args)]
pub(crate) struct WithReason {
    #[command(flatten)]
    targets: Targets,
    /// Why, for people
    #[arg(long)]
    reason: Option<String>,
}

/// Runs.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    targets: Targets,
}

pub(crate) async fn terminate(context: &Context, args: WithReason) -> Ended {
    let Some(run) = args.targets.single() else {
        return many(context, args.targets, BulkAction::Terminate, args.reason).await;
    };
    let body = ReasonBody { reason: args.reason };
    answer(context, &context.client()?.terminate(run, &body).await?)
}

pub(crate) async fn pause(context: &Context, args: WithReason) -> Ended {
    let Some(run) = args.targets.single() else {
        return many(context, args.targets, BulkAction::Pause, args.reason).await;
    };
    let body = ReasonBody { reason: args.reason };
    answer(context, &context.client()?.pause(run, &body).await?)
}

pub(crate) async fn resume(context: &Context, args: Args) -> Ended {
    let Some(run) = args.targets.single() else {
        return many(context, args.targets, BulkAction::Resume, None).await;
    };
    answer(context, &context.client()?.resume(run).await?)
}

pub(crate) async fn wake(context: &Context, args: Args) -> Ended {
    let Some(run) = args.targets.single() else {
        return many(context, args.targets, BulkAction::Wake, None).await;
    };
    answer(context, &context.client()?.wake(run).await?)
}

async fn many(
    context: &Context,
    targets: Targets,
    action: BulkAction,
    reason: Option<String>,
) -> Ended {
    bulk::run(context, targets, BulkBody { reason, ..BulkBody::new(action) }).await
}

fn answer(context: &Context, run: &RunView) -> Ended {
    if context.output.is_json() {
        context.output.value(run)?;
    } else {
        context.output.line(run.state.as_str())?;
    }
    Ok(Exit::Done)
}
