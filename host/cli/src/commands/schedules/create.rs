//! `everstep schedules create`: makes a schedule.

use crate::args::parse_tag;
use crate::commands::start::{Retry, read_input};
use crate::context::Context;
use crate::durations;
use crate::exit::{Ended, Exit, Failure};
use clap::ValueEnum;
use everstep_client::schedule::{Missed, Overlap, ScheduleBody, ScheduledStart, Spec};
use std::time::Duration;

/// Start runs of a workflow at times, or every so often; print the schedule's id.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep schedules create --workflow report --cron '0 9 * * MON-FRI' --tz Europe/Berlin
  everstep schedules create --workflow poll --every 15m --overlap buffer-one
  everstep schedules create --reference nightly --workflow report --cron '30 2 * * *' \\
    --tz America/New_York --input '{\"kind\":\"full\"}' --missed run-all")]
pub(crate) struct Args {
    /// The workflow's name
    #[arg(long)]
    workflow: String,
    /// Its version; the newest one at the time of each fire when absent
    #[arg(long)]
    version: Option<String>,
    /// The input: JSON, @FILE, or - for stdin; null when absent
    #[arg(long, value_name = "JSON|@FILE|-")]
    input: Option<String>,
    /// Fire at these times: minute, hour, day, month, weekday; seconds may stand in front
    #[arg(long, value_name = "EXPRESSION", required_unless_present = "every")]
    cron: Option<String>,
    /// The time zone of the expression, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC", conflicts_with = "every")]
    tz: String,
    /// Fire every so often, counted from 1970: 15m fires at :00, :15, :30 and :45
    #[arg(long, value_name = "DURATION", value_parser = durations::parse, conflicts_with = "cron")]
    every: Option<Duration>,
    /// How much later each fire is
    #[arg(long, value_name = "DURATION", value_parser = durations::parse, conflicts_with = "cron")]
    offset: Option<Duration>,
    /// Names the schedule: the same reference never makes a second one
    #[arg(long)]
    reference: Option<String>,
    /// What a fire does while the last run is open
    #[arg(long, value_enum, default_value_t = OverlapWord::Skip)]
    overlap: OverlapWord,
    /// What becomes of fires that no server was there for
    #[arg(long, value_enum, default_value_t = MissedWord::RunOnce)]
    missed: MissedWord,
    /// Make it, but let it stand still
    #[arg(long)]
    paused: bool,
    /// The longest a run may take
    #[arg(long, value_name = "DURATION", value_parser = durations::parse)]
    timeout: Option<Duration>,
    /// Searchable label of each run (repeat for more)
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = parse_tag)]
    tags: Vec<(String, String)>,
    /// Only hosts that serve this pool may have the runs
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    #[command(flatten)]
    retry: Retry,
}

/// What a fire does while the last run is open.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum OverlapWord {
    /// Start a run all the same
    Allow,
    /// Start none
    Skip,
    /// Ask the open run to stop, and start one
    CancelPrevious,
    /// Start one when the open run has ended; one fire waits
    BufferOne,
}

impl From<OverlapWord> for Overlap {
    fn from(word: OverlapWord) -> Self {
        match word {
            OverlapWord::Allow => Self::Allow,
            OverlapWord::Skip => Self::Skip,
            OverlapWord::CancelPrevious => Self::CancelPrevious,
            OverlapWord::BufferOne => Self::BufferOne,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum MissedWord {
    /// The last of them fires, for all
    RunOnce,
    /// Each of them fires, in order
    RunAll,
    /// None of them fires
    Skip,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let created = context.client()?.create_schedule(&body(args)?).await?;
    if !created.created {
        context.output.note("the reference names a schedule that exists");
    }
    if context.output.is_json() {
        context.output.value(&created)?;
    } else {
        context.output.line(&created.schedule.id.to_string())?;
    }
    Ok(Exit::Done)
}

fn body(args: Args) -> Result<ScheduleBody, Failure> {
    let spec = match (args.cron, args.every) {
        (Some(expression), _) => Spec::Cron { expression, time_zone: args.tz },
        (None, every) => Spec::Every {
            interval_ms: every.map(durations::millis).unwrap_or_default(),
            offset_ms: args.offset.map(durations::millis).unwrap_or_default(),
        },
    };
    Ok(ScheduleBody {
        reference: args.reference,
        spec,
        start: ScheduledStart {
            workflow: args.workflow,
            version: args.version,
            input: args.input.as_deref().map(read_input).transpose()?,
            retry: args.retry.policy(),
            timeout_ms: args.timeout.map(durations::millis),
            tags: args.tags.into_iter().collect(),
            pool: args.pool,
        },
        overlap: args.overlap.into(),
        missed: match args.missed {
            MissedWord::RunOnce => Missed::RunOnce,
            MissedWord::RunAll => Missed::RunAll,
            MissedWord::Skip => Missed::Skip,
        },
        paused: args.paused,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::args::{Cli, Verb};
    use clap::Parser;

    fn parsed(arguments: &[&str]) -> Result<ScheduleBody, String> {
        let all = ["everstep", "schedules", "create"].iter().chain(arguments);
        let cli = Cli::try_parse_from(all).map_err(|e| e.to_string())?;
        let Verb::Schedules(super::super::Verb::Create(args)) = cli.verb else {
            panic!("another verb")
        };
        body(*args).map_err(|failure| failure.report.unwrap().detail)
    }

    #[test]
    fn options_become_the_body() {
        let every = parsed(&["--workflow", "w", "--every", "15m", "--offset", "1m"]).unwrap();
        let spec = Spec::Every { interval_ms: 900_000, offset_ms: 60_000 };
        assert_eq!(every, ScheduleBody::new(spec, ScheduledStart::new("w")));
        let cron = parsed(&[
            "--workflow",
            "w",
            "--cron",
            "0 9 * * *",
            "--tz",
            "Europe/Berlin",
            "--overlap",
            "cancel-previous",
            "--missed",
            "run-all",
            "--reference",
            "r",
            "--paused",
            "--input",
            "[1]",
            "--tag",
            "a=b",
        ])
        .unwrap();
        let spec = Spec::Cron { expression: "0 9 * * *".into(), time_zone: "Europe/Berlin".into() };
        assert_eq!(cron.spec, spec);
        assert_eq!((cron.overlap, cron.missed), (Overlap::CancelPrevious, Missed::RunAll));
        assert_eq!((cron.reference.as_deref(), cron.paused), (Some("r"), true));
        assert_eq!(cron.start.input.unwrap().as_str(), "[1]");
        assert_eq!(cron.start.tags["a"], "b");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (arguments, word) in [
            (&["--workflow", "w"][..], "--cron"),
            (&["--every", "1h"], "--workflow"),
            (&["--workflow", "w", "--every", "1h", "--cron", "* * * * *"], "cannot be used with"),
            (&["--workflow", "w", "--cron", "* * * * *", "--offset", "1s"], "cannot be used with"),
            (&["--workflow", "w", "--every", "1h", "--tz", "UTC"], "cannot be used with"),
            (&["--workflow", "w", "--every", "soon"], "not a duration"),
            (&["--workflow", "w", "--every", "1h", "--overlap", "maybe"], "buffer-one"),
        ] {
            let error = parsed(arguments).unwrap_err();
            assert!(error.contains(word), "{arguments:?}: {error}");
        }
    }
}
