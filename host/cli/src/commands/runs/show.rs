//! `everstep runs show`: one run on one screen. Of a long journal only the beginning and the end
//! are fetched.

use super::timeline::Timeline;
use crate::context::Context;
use crate::exit::{Ended, Exit, Failure};
use everstep_client::{Client, EntryView, RunId};
use futures::{StreamExt, TryStreamExt};

/// Show a run: its timeline, what it waits for, how it ended.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep runs show 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  everstep runs show 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --limit 2000
  everstep runs show 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --json | jq .state")]
pub(crate) struct Args {
    /// The run's id
    run: RunId,
    /// Show at most so many journal entries: the first and the last ones
    #[arg(long, default_value_t = 200, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u32).range(2..))]
    limit: u32,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let client = context.client()?;
    let run = client.run(args.run).await?;
    if context.output.is_json() {
        context.output.value(&run)?;
        return Ok(Exit::Done);
    }
    let limit = u64::from(args.limit);
    let (entries, omitted) = if run.journal_length <= limit {
        (fetch(&client, args.run, 0, limit).await?, 0)
    } else {
        let mut entries = fetch(&client, args.run, 0, limit / 2).await?;
        let tail = run.journal_length - limit.div_ceil(2);
        entries.extend(fetch(&client, args.run, tail, limit.div_ceil(2)).await?);
        (entries, run.journal_length - limit)
    };
    let timeline = Timeline {
        run: &run,
        entries: &entries,
        omitted,
        now: context.now(),
        paint: context.output.paint,
    };
    context.output.line(timeline.render().trim_end())?;
    Ok(Exit::Done)
}

async fn fetch(
    client: &Client,
    id: RunId,
    from: u64,
    count: u64,
) -> Result<Vec<EntryView>, Failure> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    Ok(client.journal(id, from).take(count).try_collect().await?)
}
