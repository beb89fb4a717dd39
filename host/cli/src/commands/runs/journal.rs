//! `everstep runs journal`: the journal as it is stored.

use crate::context::Context;
use crate::exit::{Ended, Exit, Failure};
use crate::text;
use everstep_client::{EntryView, RunId};
use futures::{StreamExt, TryStreamExt};

/// Print the journal of a run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep runs journal 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  everstep runs journal 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --json > run.jsonl

With --json, each entry is one line.")]
pub(crate) struct Args {
    /// The run's id
    run: RunId,
    /// Begin at this position
    #[arg(long, default_value_t = 0, value_name = "SEQ")]
    from: u64,
    /// At most so many entries; all when absent
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let limit = args.limit.and_then(|limit| usize::try_from(limit).ok()).unwrap_or(usize::MAX);
    let entries = context.client()?.journal(args.run, args.from).take(limit);
    let mut entries = std::pin::pin!(entries);
    while let Some(entry) = entries.try_next().await? {
        if context.output.is_json() {
            context.output.row(&entry)?;
        } else {
            context.output.line(&readable(context, &entry)?)?;
        }
    }
    Ok(Exit::Done)
}

fn readable(context: &Context, view: &EntryView) -> Result<String, Failure> {
    let event = serde_json::to_value(&view.entry.event)
        .map_err(|e| Failure::new("output.stdout", e.to_string()))?;
    let data = event.get("data").map(ToString::to_string).unwrap_or_default();
    let paint = context.output.paint;
    let head = format!("{:>6}  {}", view.seq, view.entry.at);
    let name = format!("{:<18}", view.entry.event.name());
    Ok(format!("{}  {}  {}", paint.faint(&head), paint.name(&name), text::one_line(&data, 4_096)))
}
