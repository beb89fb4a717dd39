//! What the verbs that act on runs share: the runs are named, or found by filters; a result is
//! printed for each. The server does the work, a bounded number of runs at a time.

use super::filters::Filters;
use crate::context::Context;
use crate::exit::{Ended, Exit, Failure};
use crate::text;
use everstep_client::{BulkBody, BulkResult, RunId};

/// Runs of one request.
const PAGE: usize = 1_000;
/// The most runs that may be named.
const MOST_NAMED: usize = 10_000;

/// Which runs to act on.
#[derive(Debug, clap::Args)]
pub(crate) struct Targets {
    /// The runs' ids
    #[arg(value_name = "RUN")]
    runs: Vec<RunId>,
    #[command(flatten)]
    filters: Filters,
    /// All runs, when no filter is given
    #[arg(long)]
    all: bool,
    /// At most so many of the runs that the filters find, newest first
    #[arg(long, value_name = "N", conflicts_with = "runs")]
    #[arg(value_parser = clap::value_parser!(u32).range(1..))]
    limit: Option<u32>,
    /// Only show what would happen
    #[arg(long)]
    dry_run: bool,
}

impl Targets {
    /// The one run that is meant, when it is one and is to be acted on: its verb then answers with
    /// the run itself.
    pub(crate) fn single(&self) -> Option<RunId> {
        match self.runs[..] {
            [run] if !self.dry_run && !self.all && self.filters.is_empty() => Some(run),
            _ => None,
        }
    }
}

/// How a request for many runs came out.
#[derive(Debug, Default)]
struct Tally {
    done: usize,
    failed: usize,
}

/// Does to the runs what `body` says, and prints a result for each. Exits with 1 when it could not
/// be done to one of them.
pub(crate) async fn run(context: &Context, targets: Targets, mut body: BulkBody) -> Ended {
    let filters_given = !targets.filters.is_empty();
    match (targets.runs.is_empty(), filters_given, targets.all) {
        (true, false, false) => return Err(unselected()),
        (false, true, _) | (false, _, true) | (true, true, true) => {
            let detail = "runs, filters and --all exclude each other";
            return Err(Failure::usage("runs.unselected", detail)
                .fix("name runs, or give filters, or say --all"));
        }
        _ => {}
    }
    if targets.runs.len() > MOST_NAMED {
        let detail = format!("{} runs are named", targets.runs.len());
        return Err(Failure::usage("runs.unselected", detail)
            .fix(format!("name at most {MOST_NAMED}, or give filters")));
    }
    let client = context.client()?;
    let mut left = targets.limit.map_or(usize::MAX, |limit| limit as usize);
    body.limit = Some(targets.runs.len().max(PAGE.min(left)));
    body.filter = targets.filters.filter().selection();
    (body.runs, body.all, body.dry_run) = (targets.runs, targets.all, targets.dry_run);
    let mut tally = Tally::default();
    loop {
        let report = client.bulk(&body).await?;
        for result in &report.results {
            show(context, result, body.dry_run, &mut tally)?;
        }
        left = left.saturating_sub(report.results.len());
        match report.cursor {
            Some(cursor) if left > 0 => {
                (body.cursor, body.limit) = (Some(cursor), Some(PAGE.min(left)));
            }
            Some(_) => {
                context.output.note("more runs match; --limit allows more");
                break;
            }
            None => break,
        }
    }
    Ok(finish(context, &tally, body.dry_run))
}

/// Nobody should act on all runs by saying nothing.
pub(super) fn unselected() -> Failure {
    Failure::usage("runs.unselected", "no run and no filter is given")
        .fix("name runs, give filters such as --workflow, or say --all")
}

fn show(
    context: &Context,
    result: &BulkResult,
    dry_run: bool,
    tally: &mut Tally,
) -> Result<(), Failure> {
    *(if result.ok { &mut tally.done } else { &mut tally.failed }) += 1;
    if context.output.is_json() {
        return context.output.row(result);
    }
    let paint = context.output.paint;
    let state = result.state.map(everstep_client::StateKind::as_str).unwrap_or_default();
    let said = match (&result.code, dry_run) {
        (Some(code), _) => {
            let message = text::one_line(result.message.as_deref().unwrap_or_default(), 200);
            format!("{} {message}", paint.bad(&format!("error[{code}]:")))
        }
        (None, true) => format!("{} (now {state})", paint.good("would be done")),
        (None, false) => format!("{} ({state})", paint.good("done")),
    };
    context.output.line(&format!("{}  {said}", result.id))
}

fn finish(context: &Context, tally: &Tally, dry_run: bool) -> Exit {
    let Tally { done, failed } = tally;
    let word = if dry_run { "would be done" } else { "done" };
    context.output.note(&match failed {
        0 if *done == 0 => "no runs".to_owned(),
        0 => format!("{done} {word}"),
        _ => format!("{done} {word}, {failed} failed"),
    });
    if *failed == 0 { Exit::Done } else { Exit::Failed }
}
