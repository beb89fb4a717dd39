//! `everstep runs list`: runs by workflow, version, state, tag and time.

use super::status;
use crate::args::parse_tag;
use crate::context::Context;
use crate::durations;
use crate::exit::{Ended, Exit, Failure};
use crate::text;
use everstep_client::{RunFilter, RunId, RunView, StateKind, Timestamp};
use futures::{StreamExt, TryStreamExt};

/// How many runs the server is asked for at a time.
const PAGE: u32 = 200;

/// List runs, newest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep runs list
  everstep runs list --workflow payment --state failed,stuck --started-after 2h
  everstep runs list --tag team=growth --limit 1000 --json | jq -r .id

With --json, each run is one line.")]
pub(crate) struct Args {
    /// Only of this workflow
    #[arg(long)]
    workflow: Option<String>,
    /// Only of this version
    #[arg(long)]
    version: Option<String>,
    /// Only in these states (repeat, or separate by commas)
    #[arg(long = "state", value_name = "STATE", value_delimiter = ',', value_parser = parse_state)]
    states: Vec<StateKind>,
    /// Only with this tag (repeat for more; all must match)
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
    /// Only children of this run
    #[arg(long, value_name = "RUN")]
    parent: Option<RunId>,
    /// Only started at or after this instant, or at most so long ago
    #[arg(long, value_name = "RFC3339|AGE", value_parser = durations::parse_past)]
    started_after: Option<Timestamp>,
    /// Only started before this instant, or longer ago
    #[arg(long, value_name = "RFC3339|AGE", value_parser = durations::parse_past)]
    started_before: Option<Timestamp>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: u32,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let limit = args.limit;
    let filter = RunFilter {
        workflow: args.workflow,
        version: args.version,
        states: args.states,
        tags: args.tags,
        parent: args.parent,
        started_after: args.started_after,
        started_before: args.started_before,
        limit: Some(limit.min(PAGE)),
        cursor: None,
    };
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

pub(super) fn parse_state(text: &str) -> Result<StateKind, String> {
    StateKind::from_name(text.trim()).ok_or_else(|| {
        let known: Vec<_> = StateKind::ALL.iter().map(|state| state.as_str()).collect();
        format!("`{text}` is not a state; the states are {}", known.join(", "))
    })
}
