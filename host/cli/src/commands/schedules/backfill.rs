//! `everstep schedules backfill`: fires what lies in the past.

use super::create::OverlapWord;
use super::words;
use crate::context::Context;
use crate::durations;
use crate::exit::{Ended, Exit};
use crate::text;
use everstep_client::Timestamp;
use everstep_client::schedule::{BackfillBody, Outcome};

/// Fire every occurrence in a range of the past, in order, at most 1,000. An occurrence that has
/// started a run before does not start another one, so a backfill can be repeated.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep schedules backfill nightly --from 2026-05-01T00:00:00Z --to 2026-05-08T00:00:00Z
  everstep schedules backfill nightly --from 2d --to 1d --json

With --json, each occurrence is one line. Exits with 1 when a start was refused.")]
pub(crate) struct Args {
    /// The schedule's id or reference
    schedule: String,
    /// The first instant, or so long ago
    #[arg(long, value_name = "RFC3339|AGE", value_parser = durations::parse_past)]
    from: Timestamp,
    /// The last instant, or so long ago
    #[arg(long, value_name = "RFC3339|AGE", value_parser = durations::parse_past)]
    to: Timestamp,
    /// What to do while the last run is open
    #[arg(long, value_enum, default_value_t = OverlapWord::Allow)]
    overlap: OverlapWord,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let body = BackfillBody { from: args.from, to: args.to, overlap: args.overlap.into() };
    let fires = context.client()?.backfill_schedule(&args.schedule, &body).await?.fires;
    if context.output.is_json() {
        fires.iter().try_for_each(|fire| context.output.row(fire))?;
    } else if fires.is_empty() {
        context.output.note("there is no occurrence in this range");
    } else {
        let rows =
            fires.iter().map(|fire| vec![fire.at.to_string(), words::outcome(&fire.outcome)]);
        let rows: Vec<_> = rows.collect();
        text::table(&rows).iter().try_for_each(|line| context.output.line(line))?;
    }
    let refused = fires.iter().any(|fire| matches!(fire.outcome, Outcome::Refused { .. }));
    Ok(if refused { Exit::Failed } else { Exit::Done })
}
