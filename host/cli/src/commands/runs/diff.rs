//! `everstep runs diff`: two runs side by side. How far their histories are the same, the first thing
//! in which they differ, and how they ended.

use super::history::{History, RunRef};
use super::status;
use crate::context::Context;
use crate::durations;
use crate::exit::{Ended, Exit, Failure};
use crate::output::Paint;
use crate::text;
use everstep_client::{RunId, RunView, StateKind};
use everstep_core::compare::{Comparison, Counts, Moment, compare, counts};
use everstep_core::{Digest, Failure as RunFailure, Payload};
use serde::Serialize;
use std::time::Duration;

/// How wide one side of what is shown side by side is.
const WIDTH: usize = 60;

/// Compare two runs: how far they are the same, and the first difference.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
It exits with 0 when the runs are the same and with 1 when they differ. Times, failed attempts of \
tasks and the modules are shown, but are no difference.

Examples:
  everstep runs diff 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f 0198c0de-9999-7c3d-8e4f-5a6b7c8d9e0f
  everstep runs diff good.jsonl bad.jsonl --json | jq .difference.fields")]
pub(crate) struct Args {
    /// A run's id, or a file of `everstep runs export` (FILE:ID when it has several runs)
    #[arg(value_name = "A")]
    left: RunRef,
    /// Another
    #[arg(value_name = "B")]
    right: RunRef,
}

#[derive(Serialize)]
struct Report {
    equal: bool,
    #[serde(flatten)]
    comparison: Comparison,
    left: Side,
    right: Side,
}

/// What is said of one of the runs.
#[derive(Serialize, PartialEq)]
struct Side {
    run: RunId,
    workflow: String,
    version: String,
    module: Digest,
    state: StateKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<Payload>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<RunFailure>,
    counts: Counts,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let left = History::load(context, &args.left).await?;
    let right = History::load(context, &args.right).await?;
    for history in [&left, &right] {
        if let Some(damage) = &history.damage {
            return Err(damage.failure());
        }
    }
    let compared = compare((&left.entries, left.first), (&right.entries, right.first));
    let comparison = compared.map_err(|e| Failure::new(e.code(), e.to_string()))?;
    let (left, right) = (side(&left), side(&right));
    let ended = |side: &Side| (side.state, side.output.clone(), side.failure.clone());
    let equal = comparison.difference.is_none() && ended(&left) == ended(&right);
    let report = Report { equal, comparison, left, right };
    if context.output.is_json() {
        context.output.value(&report)?;
    } else {
        for line in lines(&report, context.output.paint) {
            context.output.line(&line)?;
        }
    }
    Ok(if equal { Exit::Done } else { Exit::Failed })
}

fn side(history: &History) -> Side {
    let RunView { id, workflow, version, digest, state, output, failure, .. } = history.run.clone();
    let counts = counts(&history.entries);
    Side { run: id, workflow, version, module: digest, state, output, failure, counts }
}

fn lines(report: &Report, paint: Paint) -> Vec<String> {
    let Report { equal, comparison, left, right } = report;
    let common = comparison.common;
    let mut lines = vec![match (equal, &comparison.difference) {
        (true, _) => format!("the runs are the same: {common} steps and commands"),
        (false, None) => {
            format!("{common} steps and commands are the same; the runs are not in the same state")
        }
        (false, Some(_)) => {
            let (a, b) = comparison.positions;
            format!(
                "the first {common} steps and commands are the same; then they differ, at position {a} and {b}"
            )
        }
    }];
    if let Some(difference) = &comparison.difference {
        let row = |label: &str, of: &dyn Fn(&Moment) -> String| {
            let cell = |side: &Option<Moment>| side.as_ref().map_or("-".into(), of);
            (label.to_owned(), cell(&difference.left), cell(&difference.right))
        };
        let value = |moment: &Moment| {
            let text = moment.value.as_ref().map(ToString::to_string);
            text::one_line(&text.unwrap_or_default(), WIDTH)
        };
        let rows = [
            row("position", &|it| it.seq.to_string()),
            row("at", &|it| it.at.to_string()),
            row("what", &|it| format!("{} {}", it.what.as_str(), it.kind)),
            row("name", &|it| text::one_line(&it.name, WIDTH)),
            row("value", &value),
        ];
        lines.push(String::new());
        lines.extend(side_by_side(("", "A", "B"), &rows, paint));
        for field in &difference.fields {
            let [path, a, b] =
                [&field.path, &field.left, &field.right].map(|it| text::one_line(it, 200));
            lines.push(format!("  {path}: {} → {}", paint.bad(&a), paint.good(&b)));
        }
    }
    lines.push(String::new());
    lines.extend(side_by_side(("summary", "A", "B"), &summary(left, right), paint));
    lines
}

fn summary(left: &Side, right: &Side) -> Vec<(String, String, String)> {
    let row = |label: &str, of: &dyn Fn(&Side) -> String| (label.to_owned(), of(left), of(right));
    let end = |side: &Side| {
        let output = side.output.as_ref().map(|it| it.as_str().to_owned());
        let failure = side.failure.as_ref().map(status::failure_text);
        text::one_line(&output.or(failure).unwrap_or_default(), WIDTH)
    };
    let number = |label: &str, of: fn(&Counts) -> u64| {
        (label.to_owned(), of(&left.counts).to_string(), of(&right.counts).to_string())
    };
    vec![
        row("run", &|it| it.run.to_string()),
        row("workflow", &|it| text::one_line(&format!("{} {}", it.workflow, it.version), WIDTH)),
        row("module", &|it| it.module.to_string().chars().take(19).collect()),
        row("state", &|it| it.state.as_str().to_owned()),
        row("end", &end),
        row("took", &|it| durations::short(Duration::from_millis(it.counts.duration_ms))),
        number("entries", |it| it.entries),
        number("steps", |it| it.steps),
        number("attempts", |it| it.attempts),
        number("tasks", |it| it.tasks),
        number("failed task attempts", |it| it.task_attempts_failed),
        number("sleeps", |it| it.timers),
        number("events", |it| it.events),
        number("children", |it| it.children),
    ]
}

/// A table of two sides; rows that differ are marked.
fn side_by_side(
    (title, a, b): (&str, &str, &str),
    rows: &[(String, String, String)],
    paint: Paint,
) -> Vec<String> {
    let head = vec![String::new(), paint.name(title), paint.name(a), paint.name(b)];
    let row = |(label, a, b): &(String, String, String)| {
        let mark = if a == b { String::new() } else { paint.warn("≠") };
        vec![mark, paint.faint(label), a.clone(), b.clone()]
    };
    let rows: Vec<_> = std::iter::once(head).chain(rows.iter().map(row)).collect();
    text::table(&rows)
}
