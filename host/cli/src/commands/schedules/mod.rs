//! `everstep schedules …`: everything about schedules. A schedule is named by its id or reference.

mod backfill;
mod create;
mod show;
mod words;

use crate::context::Context;
use crate::durations;
use crate::exit::{Ended, Exit};
use crate::text;
use clap::Subcommand;
use create::OverlapWord;
use everstep_client::schedule::{ScheduleView, TriggerBody};
use futures::TryStreamExt;

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  everstep schedules create --workflow report --cron '0 9 * * MON-FRI' --tz Europe/Berlin
  everstep schedules show nightly
  everstep schedules backfill nightly --from 2026-05-01T00:00:00Z --to 2026-05-08T00:00:00Z")]
pub(crate) enum Verb {
    /// Start runs of a workflow at times, or every so often; print the schedule's id
    Create(Box<create::Args>),
    /// List the schedules, oldest first
    List(ListArgs),
    /// Show a schedule: its next ten occurrences, its last fires
    Show(show::Args),
    /// Stand a schedule still
    Pause(PauseArgs),
    /// Let a schedule go on
    Resume(ResumeArgs),
    /// Fire now
    Trigger(TriggerArgs),
    /// Fire every occurrence in a range of the past
    Backfill(backfill::Args),
    /// Delete a schedule; runs that it has started go on
    Delete(DeleteArgs),
}

/// List the schedules, oldest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep schedules list
  everstep schedules list --json | jq -r 'select(.paused) | .id'

With --json, each schedule is one line.")]
pub(crate) struct ListArgs {}

/// Stand a schedule still.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep schedules pause nightly")]
pub(crate) struct PauseArgs {
    /// The schedule's id or reference
    schedule: String,
}

/// Let a schedule go on. What would have fired meanwhile is passed over.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep schedules resume nightly")]
pub(crate) struct ResumeArgs {
    /// The schedule's id or reference
    schedule: String,
}

/// Fire now, also when the schedule is paused.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep schedules trigger nightly
  everstep schedules trigger nightly --overlap allow --json | jq -r .outcome.started.run")]
pub(crate) struct TriggerArgs {
    /// The schedule's id or reference
    schedule: String,
    /// What to do while the last run is open; what the schedule says when absent
    #[arg(long, value_enum)]
    overlap: Option<OverlapWord>,
}

/// Delete a schedule; runs that it has started go on.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep schedules delete nightly")]
pub(crate) struct DeleteArgs {
    /// The schedule's id or reference
    schedule: String,
}

pub(crate) async fn run(context: &Context, verb: Verb) -> Ended {
    match verb {
        Verb::Create(args) => create::run(context, *args).await,
        Verb::List(ListArgs {}) => list(context).await,
        Verb::Show(args) => show::run(context, args).await,
        Verb::Pause(PauseArgs { schedule }) => {
            say(context, &context.client()?.pause_schedule(&schedule).await?, "paused")
        }
        Verb::Resume(ResumeArgs { schedule }) => {
            say(context, &context.client()?.resume_schedule(&schedule).await?, "goes on")
        }
        Verb::Trigger(args) => trigger(context, args).await,
        Verb::Backfill(args) => backfill::run(context, args).await,
        Verb::Delete(DeleteArgs { schedule }) => {
            say(context, &context.client()?.delete_schedule(&schedule).await?, "deleted")
        }
    }
}

fn say(context: &Context, schedule: &ScheduleView, word: &str) -> Ended {
    if context.output.is_json() {
        context.output.value(schedule)?;
    } else {
        context.output.line(word)?;
    }
    Ok(Exit::Done)
}

async fn trigger(context: &Context, args: TriggerArgs) -> Ended {
    let body = TriggerBody { overlap: args.overlap.map(Into::into) };
    let triggered = context.client()?.trigger_schedule(&args.schedule, &body).await?;
    if context.output.is_json() {
        context.output.value(&triggered)?;
    } else {
        context.output.line(&words::outcome(&triggered.outcome))?;
    }
    Ok(words::exit(&triggered.outcome))
}

async fn list(context: &Context) -> Ended {
    let mut schedules = std::pin::pin!(context.client()?.schedules());
    let (now, paint) = (context.now(), context.output.paint);
    let head = ["SCHEDULE", "WORKFLOW", "FIRES", "RUNS", "NEXT"];
    let mut rows = vec![head.map(|title| paint.faint(title)).to_vec()];
    while let Some(schedule) = schedules.try_next().await? {
        if context.output.is_json() {
            context.output.row(&schedule)?;
            continue;
        }
        let next = match schedule.next.first() {
            _ if schedule.paused => paint.warn("paused"),
            Some(at) => format!("in {}", durations::between(now, *at)),
            None => paint.warn("never"),
        };
        rows.push(vec![
            text::one_line(&words::label(&schedule), 40),
            text::one_line(&schedule.start.workflow, 40),
            text::one_line(&words::spec(&schedule.spec), 60),
            schedule.fired.to_string(),
            next,
        ]);
    }
    if rows.len() == 1 && !context.output.is_json() {
        context.output.note("no schedules");
    } else if !context.output.is_json() {
        text::table(&rows).iter().try_for_each(|line| context.output.line(line))?;
    }
    Ok(Exit::Done)
}
