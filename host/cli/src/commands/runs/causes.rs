//! What runs failed of or are stuck by, grouped: one line per workflow, version and cause, most frequent
//! first. For `runs list`.

use super::filters::Filters;
use crate::context::Context;
use crate::exit::{Ended, Exit};
use crate::text;
use everstep_client::{RunFilter, RunId, RunView, cause_summary};
use futures::{StreamExt, TryStreamExt};
use serde::Serialize;
use std::collections::BTreeMap;

/// Runs that are looked at.
const MOST: usize = 100_000;
/// Runs that the server is asked for at a time.
const PAGE: u32 = 1_000;

/// Runs with one cause.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Group {
    code: String,
    summary: String,
    workflow: String,
    version: String,
    runs: u64,
    example: RunId,
}

impl Group {
    pub(super) fn line(&self) -> String {
        let Self { code, summary, workflow, version, runs, example } = self;
        let what = text::one_line(&format!("{workflow} {version}, {code}: {summary}"), 200);
        format!("{runs} × {what} (for example {example})")
    }
}

/// Prints the groups of all runs that the filters find.
pub(super) async fn run(context: &Context, filters: Filters) -> Ended {
    let filter = RunFilter { limit: Some(PAGE), ..filters.filter() };
    let runs = context.client()?.runs_stream(filter).take(MOST);
    let mut groups = Groups::default();
    let mut runs = std::pin::pin!(runs);
    while let Some(run) = runs.try_next().await? {
        groups.add(&run);
    }
    let groups = groups.sorted();
    if context.output.is_json() {
        groups.iter().try_for_each(|group| context.output.row(group))?;
    } else if groups.is_empty() {
        context.output.note("no runs that failed or are stuck");
    } else {
        groups.iter().try_for_each(|group| context.output.line(&group.line()))?;
    }
    Ok(Exit::Done)
}

/// The groups of these runs.
pub(super) fn of(runs: &[RunView]) -> Vec<Group> {
    let mut groups = Groups::default();
    runs.iter().for_each(|run| groups.add(run));
    groups.sorted()
}

#[derive(Default)]
struct Groups(BTreeMap<[String; 4], (u64, RunId)>);

impl Groups {
    fn add(&mut self, run: &RunView) {
        let (code, summary) = match (&run.stuck, &run.failure) {
            (Some(cause), _) => {
                (cause.code.clone(), cause_summary(&cause.message, cause.divergence.as_deref()))
            }
            (None, Some(failure)) => (failure.code.clone(), cause_summary(&failure.message, None)),
            (None, None) => return,
        };
        let key = [run.workflow.clone(), run.version.clone(), code, summary];
        // Newest first, so the last one is the oldest; it has waited longest.
        let (count, example) = self.0.entry(key).or_insert((0, run.id));
        *count += 1;
        *example = run.id;
    }

    fn sorted(self) -> Vec<Group> {
        let group = |(key, (runs, example)): ([String; 4], (u64, RunId))| {
            let [workflow, version, code, summary] = key;
            Group { code, summary, workflow, version, runs, example }
        };
        let mut groups: Vec<_> = self.0.into_iter().map(group).collect();
        groups.sort_by_key(|group| std::cmp::Reverse(group.runs));
        groups
    }
}
