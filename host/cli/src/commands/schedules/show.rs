//! `everstep schedules show`: one schedule on one screen.

use super::words;
use crate::context::Context;
use crate::durations;
use crate::exit::{Ended, Exit};
use crate::output::Paint;
use crate::text;
use everstep_client::Timestamp;
use everstep_client::schedule::ScheduleView;

/// Show a schedule: its next ten occurrences, its last fires.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep schedules show nightly
  everstep schedules show nightly --json | jq -r '.next[]'")]
pub(crate) struct Args {
    /// The schedule's id or reference
    schedule: String,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let schedule = context.client()?.schedule(&args.schedule).await?;
    if context.output.is_json() {
        context.output.value(&schedule)?;
        return Ok(Exit::Done);
    }
    let lines = render(&schedule, context.now(), context.output.paint);
    lines.iter().try_for_each(|line| context.output.line(line))?;
    Ok(Exit::Done)
}

fn render(schedule: &ScheduleView, now: Timestamp, paint: Paint) -> Vec<String> {
    let start = &schedule.start;
    let version = start.version.as_deref().unwrap_or("(newest version)");
    let mut head = vec![
        vec![paint.faint("schedule"), paint.name(&text::one_line(&words::label(schedule), 100))],
        vec![paint.faint("id"), schedule.id.to_string()],
        vec![paint.faint("fires"), text::one_line(&words::spec(&schedule.spec), 100)],
        vec![paint.faint("starts"), text::one_line(&format!("{} {version}", start.workflow), 100)],
        vec![paint.faint("overlap"), words::overlap(schedule.overlap).into()],
        vec![paint.faint("missed"), words::missed(schedule.missed).into()],
        vec![paint.faint("runs"), schedule.fired.to_string()],
    ];
    if let (Some(run), Some(at)) = (schedule.last_run, schedule.last_fired_at) {
        let ago = durations::between(at, now);
        head.push(vec![paint.faint("last run"), format!("{run}, {ago} ago")]);
    }
    if let Some(at) = schedule.buffered {
        head.push(vec![paint.faint("waiting"), format!("{at}, for the end of the last run")]);
    }
    if schedule.paused {
        head.push(vec![paint.faint("state"), paint.warn("paused")]);
    }
    let mut lines = text::table(&head);
    lines.push(String::new());
    lines.push(paint.faint(if schedule.paused { "NEXT, WERE IT RESUMED" } else { "NEXT" }));
    let next = schedule.next.iter().map(|at| {
        let local = schedule.spec.local(*at);
        let cells =
            [local, Some(at.to_string()), Some(format!("in {}", durations::between(now, *at)))];
        cells.into_iter().flatten().collect::<Vec<_>>()
    });
    lines.extend(text::table(&next.collect::<Vec<_>>()));
    let recent = schedule.recent.as_deref().unwrap_or_default();
    if !recent.is_empty() {
        lines.push(String::new());
        lines.push(paint.faint("LAST FIRES"));
        let rows = recent.iter().map(|fired| {
            vec![
                fired.at.to_string(),
                words::cause(fired.cause).into(),
                words::outcome(&fired.outcome),
            ]
        });
        lines.extend(text::table(&rows.collect::<Vec<_>>()));
    }
    lines
}
