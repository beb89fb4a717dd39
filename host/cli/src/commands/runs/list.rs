//! `everstep runs list`: runs by workflow, version, state, tag and time.

use super::causes;
use super::filters::Filters;
use super::status;
use crate::context::Context;
use crate::durations;
use crate::exit::{Ended, Exit, Failure};
use crate::text;
use everstep_client::{RunFilter, RunView, StateKind};
use futures::{StreamExt, TryStreamExt};

/// How many runs the server is asked for at a time.
const PAGE: u32 = 200;

/// List runs, newest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep runs list
  everstep runs list --workflow payment --state failed,stuck --started-after 2h
  everstep runs list --failure-code card.declined --updated-after 1d
  everstep runs list --tag team=growth --limit 1000 --json | jq -r .id
  everstep runs list --state stuck --group

With --json, each run is one line; with --group, each group.")]
pub(crate) struct Args {
    #[command(flatten)]
    filters: Filters,
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: u32,
    /// Only show how many failed or are stuck for which cause, of at most 100,000 runs
    #[arg(long, conflicts_with = "limit")]
    group: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    if args.group {
        return causes::run(context, args.filters).await;
    }
    let limit = args.limit;
    let only_stuck = args.filters.only_state() == Some(StateKind::Stuck);
    let filter = RunFilter { limit: Some(limit.min(PAGE)), ..args.filters.filter() };
    let runs = context.client()?.runs_stream(filter).take(limit as usize);
    if context.output.is_json() {
        let mut runs = std::pin::pin!(runs);
        while let Some(run) = runs.try_next().await? {
            context.output.row(&run)?;
        }
        return Ok(Exit::Done);
    }
    let runs: Vec<RunView> = runs.try_collect().await?;
    print(context, &runs)?;
    if only_stuck && !runs.is_empty() {
        causes::of(&runs).iter().for_each(|group| context.output.note(&group.line()));
        context.output.note("mend the cause, then: everstep runs retry --state stuck --cause CODE");
    }
    if runs.len() == limit as usize {
        context.output.note(&format!("the newest {limit}; --limit shows more"));
    }
    Ok(Exit::Done)
}

fn print(context: &Context, runs: &[RunView]) -> Result<(), Failure> {
    if runs.is_empty() {
        context.output.note("no runs");
        return Ok(());
    }
    let (now, paint) = (context.now(), context.output.paint);
    let head = ["RUN", "WORKFLOW", "STARTED", "STATE", ""].map(|title| paint.faint(title)).to_vec();
    let rows = runs.iter().map(|run| {
        vec![
            run.id.to_string(),
            text::one_line(&format!("{} {}", run.workflow, run.version), 40),
            format!("{} ago", durations::between(run.started_at, now)),
            status::painted(run.state, run.state.as_str(), paint),
            status::explained(run, now, 60),
        ]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    text::table(&rows).iter().try_for_each(|line| context.output.line(line))
}
