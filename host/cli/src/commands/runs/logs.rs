//! `everstep runs logs`: what the workflow and its tasks wrote, also while it goes on.

use crate::context::Context;
use crate::exit::{Ended, Exit, Failure};
use crate::output::Paint;
use crate::text;
use clap::ValueEnum;
use everstep_client::{LogEvent, LogLineView, RunId};
use everstep_core::{LogLevel, LogLine, LogSource};
use futures::{StreamExt, TryStreamExt};

/// Print the log lines of a run.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep runs logs 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  everstep runs logs 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --follow --level warn

With --json, each line is one JSON object.")]
pub(crate) struct Args {
    /// The run's id
    run: RunId,
    /// Go on until the run ends
    #[arg(long, short)]
    follow: bool,
    /// Begin at this line
    #[arg(long, default_value_t = 0, value_name = "SEQ")]
    from: u64,
    /// Only lines that matter at least so much
    #[arg(long, value_enum, default_value_t = Level::Trace)]
    level: Level,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    fn least(self) -> LogLevel {
        match self {
            Self::Trace => LogLevel::Trace,
            Self::Debug => LogLevel::Debug,
            Self::Info => LogLevel::Info,
            Self::Warn => LogLevel::Warn,
            Self::Error => LogLevel::Error,
        }
    }
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let client = context.client()?;
    let mut lines = if args.follow {
        let events = client.follow_logs(args.run, args.from);
        let lines = events.try_filter_map(|event| async move {
            Ok(match event {
                LogEvent::Line(line) => Some(line),
                LogEvent::End(_) => None,
            })
        });
        lines.boxed()
    } else {
        client.logs(args.run, args.from).boxed()
    };
    while let Some(line) = lines.try_next().await? {
        if line.line.level >= args.level.least() {
            print(context, &line)?;
        }
    }
    Ok(Exit::Done)
}

fn print(context: &Context, line: &LogLineView) -> Result<(), Failure> {
    if context.output.is_json() {
        context.output.row(line)
    } else {
        context.output.line(&readable(&line.line, context.output.paint))
    }
}

fn readable(line: &LogLine, paint: Paint) -> String {
    let level = match line.level {
        LogLevel::Trace => paint.faint("TRACE"),
        LogLevel::Debug => paint.faint("DEBUG"),
        LogLevel::Info => paint.good("INFO "),
        LogLevel::Warn => paint.warn("WARN "),
        LogLevel::Error => paint.bad("ERROR"),
    };
    let source = match (line.source, line.op) {
        (LogSource::Workflow, _) => String::new(),
        (LogSource::Task, Some(op)) => format!("[task #{op}, attempt {}] ", line.attempt),
        (LogSource::Task, None) => "[task] ".to_owned(),
        (LogSource::Stdout, _) => "[stdout] ".to_owned(),
        (LogSource::Stderr, _) => "[stderr] ".to_owned(),
    };
    let fields = line.fields.as_ref().map(|fields| format!("  {fields}")).unwrap_or_default();
    format!(
        "{}  {level}  {}{}{}",
        paint.faint(&line.at.to_string()),
        paint.faint(&source),
        text::lines(&line.message),
        paint.faint(&text::one_line(&fields, 4_096)),
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_says_when_what_and_where_from() {
        let line: LogLine = serde_json::from_str(
            r#"{"at":"2026-05-01T09:30:00.120Z","level":"warn","source":"task","op":3,
            "message":"slow\u001b[2J","fields":{"ms": 1200},"attempt":2}"#,
        )
        .unwrap();
        assert_eq!(
            readable(&line, Paint::plain()),
            "2026-05-01T09:30:00.120Z  WARN   [task #3, attempt 2] slow\\u{1b}[2J  {\"ms\": 1200}"
        );
    }
}
