//! Schedules in words, for the verbs that print them.

use crate::durations;
use crate::exit::Exit;
use crate::text;
use everstep_client::schedule::{Cause, Missed, Outcome, Overlap, ScheduleView, Spec};
use std::time::Duration;

/// The reference, or else the id.
pub(super) fn label(schedule: &ScheduleView) -> String {
    schedule.reference.clone().unwrap_or_else(|| schedule.id.to_string())
}

/// When it fires.
pub(super) fn spec(spec: &Spec) -> String {
    let duration = |millis: u64| durations::short(Duration::from_millis(millis));
    match spec {
        Spec::Cron { expression, time_zone } => format!("{expression} ({time_zone})"),
        Spec::Every { interval_ms, offset_ms: 0 } => format!("every {}", duration(*interval_ms)),
        Spec::Every { interval_ms, offset_ms } => {
            format!("every {}, {} later", duration(*interval_ms), duration(*offset_ms))
        }
    }
}

/// What a fire does while the last run is open, as it is typed.
pub(super) fn overlap(overlap: Overlap) -> &'static str {
    match overlap {
        Overlap::Allow => "allow",
        Overlap::Skip => "skip",
        Overlap::CancelPrevious => "cancel-previous",
        Overlap::BufferOne => "buffer-one",
    }
}

/// What becomes of missed fires, as it is typed.
pub(super) fn missed(missed: Missed) -> &'static str {
    match missed {
        Missed::RunOnce => "run-once",
        Missed::RunAll => "run-all",
        Missed::Skip => "skip",
    }
}

/// Why it fired.
pub(super) fn cause(cause: Cause) -> &'static str {
    match cause {
        Cause::Due => "due",
        Cause::Trigger => "triggered",
        Cause::Backfill => "backfill",
    }
}

/// What came of a fire.
pub(super) fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Started { run } => format!("started {run}"),
        Outcome::Existing { run } => format!("had started {run} before"),
        Outcome::Skipped { open } => format!("skipped, because {open} is open"),
        Outcome::Buffered { open } => format!("waits for the end of {open}"),
        Outcome::Missed { until } => format!("missed, and all others before {until}"),
        Outcome::Refused { code, detail } => {
            text::one_line(&format!("refused: {code}: {detail}"), 200)
        }
    }
}

/// How a verb ends that fired once.
pub(super) fn exit(outcome: &Outcome) -> Exit {
    match outcome {
        Outcome::Refused { .. } => Exit::Failed,
        _ => Exit::Done,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_are_said_in_few_words() {
        let cron = Spec::Cron { expression: "0 9 * * *".into(), time_zone: "UTC".into() };
        assert_eq!(spec(&cron), "0 9 * * * (UTC)");
        let plain = Spec::Every { interval_ms: 900_000, offset_ms: 0 };
        assert_eq!(spec(&plain), "every 15m");
        let shifted = Spec::Every { interval_ms: 900_000, offset_ms: 60_000 };
        assert_eq!(spec(&shifted), "every 15m, 1m later");
    }
}
