//! States of runs in words: what a run waits for, or how it ended. Used by lists, waits and the
//! timeline.

use crate::durations;
use crate::output::Paint;
use crate::text;
use everstep_client::{RunView, StateKind, Timestamp};
use everstep_core::Failure;
use everstep_core::record::{QueueReason, RetryCause};

/// The state in the colour of its mood.
pub(crate) fn painted(state: StateKind, text: &str, paint: Paint) -> String {
    match state {
        StateKind::Completed => paint.good(text),
        StateKind::Failed | StateKind::Stuck => paint.bad(text),
        StateKind::AwaitingRetry | StateKind::Cancelled | StateKind::Paused => paint.warn(text),
        _ => paint.name(text),
    }
}

/// What the run waits for, or how it ended, on one line.
pub(crate) fn explained(run: &RunView, now: Timestamp, max: usize) -> String {
    let at = |word: &str| match run.wakeup_at {
        Some(at) => format!("{word} {}", moment(at, now)),
        None => String::new(),
    };
    let failed = |failure: &Option<Failure>| failure.as_ref().map(failure_text).unwrap_or_default();
    let line = match run.state {
        StateKind::Scheduled => at("starts"),
        StateKind::Queued => run.reason.map(queued).unwrap_or_default().to_owned(),
        StateKind::Running if run.pending == 1 => "1 operation is pending".to_owned(),
        StateKind::Running => format!("{} operations are pending", run.pending),
        StateKind::Sleeping => match &run.timer {
            Some(name) => format!("`{name}` {}", at("ends")),
            None => at("wakes up"),
        },
        StateKind::AwaitingRetry => {
            let what = match &run.retry_of {
                Some(RetryCause::Task { name }) => format!("task `{name}`"),
                Some(RetryCause::Run) | None => "the run".to_owned(),
            };
            format!("{what} failed: {}; next attempt {}", failed(&run.failure), at("").trim_start())
        }
        StateKind::AwaitingEvent => {
            let event = run.event.as_deref().unwrap_or_default();
            format!("for `{event}` {}", at("until")).trim_end().to_owned()
        }
        StateKind::AwaitingChild => match run.child {
            Some(child) => format!("for run {child}"),
            None => String::new(),
        },
        StateKind::Paused => run.paused.clone().unwrap_or_default(),
        StateKind::Stuck => run.stuck.as_ref().map_or_else(String::new, |cause| {
            let first = cause.message.lines().next().unwrap_or_default();
            format!("[{}] {first}", cause.code)
        }),
        StateKind::Completed => run.output.as_ref().map(ToString::to_string).unwrap_or_default(),
        StateKind::Failed => failed(&run.failure),
        StateKind::Cancelled => run.cancel_reason.clone().unwrap_or_default(),
    };
    text::one_line(&line, max)
}

/// A failure with its code.
pub(crate) fn failure_text(failure: &Failure) -> String {
    format!("[{}] {}", failure.code, failure.message)
}

/// An instant, and how far away it is.
pub(crate) fn moment(at: Timestamp, now: Timestamp) -> String {
    if at > now {
        format!("in {} ({at})", durations::between(now, at))
    } else {
        format!("now (since {at})")
    }
}

fn queued(reason: QueueReason) -> &'static str {
    match reason {
        QueueReason::New => "new, ready for a host",
        QueueReason::Retry => "its next attempt is ready for a host",
        QueueReason::TaskRetry => "a task's next attempt is ready for a host",
        QueueReason::Wakeup => "its sleep is over, ready for a host",
        QueueReason::WakeupEarly => "its sleep was ended, ready for a host",
        QueueReason::Event => "an event came, ready for a host",
        QueueReason::Child => "a child run ended, ready for a host",
        QueueReason::Resumption => "to go on, ready for a host",
        QueueReason::Recovery => "its host went away, ready for another",
    }
}
