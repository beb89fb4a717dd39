//! What comes from outside a host: starts and operators' wishes. They need only the record, not the
//! journal, so they cost the same however long a run has been going.

use super::{Run, apply};
use crate::event::{Entry, JournalEvent};
use crate::record::{CancelRequest, Origin, QueueReason};
use crate::transitions::{self, Trigger};
use crate::{Commit, Record, Refusal, RunState, StartRequest, Timestamp};
use std::sync::Arc;

/// A wish of an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum External {
    /// Stop the run, and let it clean up for so long.
    Cancel {
        /// For people.
        reason: String,
        /// Milliseconds until the host ends it.
        grace_ms: u64,
    },
    /// Continue a run that is stuck.
    Retry,
}

impl Run {
    /// The commit that makes a run exist.
    #[must_use]
    pub fn start(request: StartRequest, now: Timestamp) -> Commit {
        let due = request.due.unwrap_or(now).max(now);
        let origin = Origin {
            id: request.id,
            workflow: request.workflow,
            version: request.version,
            digest: request.digest,
            engine: request.engine,
            limits: request.limits,
            input_hash: request.input.hash(),
            options: request.options,
            started_at: now,
            due: (due > now).then_some(due),
        };
        let event =
            JournalEvent::RunStarted { origin: Arc::new(origin), input: request.input, due };
        let entry = Entry { at: now, event };
        let mut run = match apply::first(Some(&entry)) {
            Ok(run) => run,
            Err(_) => unreachable!("the entry is a RunStarted"),
        };
        run.settle();
        let record = run.record;
        Commit { expected_length: 0, token: None, entries: vec![entry], logs: Vec::new(), record }
    }
}

/// Decides what a wish means for a run.
///
/// # Errors
/// When the run's state does not allow it, or it is so already.
pub fn external(record: &Record, input: External, now: Timestamp) -> Result<Commit, Refusal> {
    let from = record.state.kind();
    let trigger = match input {
        External::Cancel { .. } => Trigger::Cancel,
        External::Retry => Trigger::Retry,
    };
    if !transitions::accepts(from, trigger) {
        return Err(Refusal::IllegalTransition { state: from, action: trigger.participle() });
    }
    let at = now.max(record.updated_at);
    let mut after = record.clone();
    let mut entries = Vec::new();
    match input {
        External::Cancel { .. } if record.cancel.is_some() && !is_stuck(record) => {
            return Err(Refusal::AlreadySo("being cancelled"));
        }
        External::Cancel { reason, grace_ms } => {
            let event = cancel(&mut after, reason, at.plus(grace_ms));
            entries.push(Entry { at, event });
            after.updated_at = at;
        }
        External::Retry => {
            after.state = RunState::Queued { reason: QueueReason::Resumption };
            after.ready = true;
        }
    }
    after.length += entries.len() as u64;
    debug_assert!(transitions::allows(from, trigger, after.state.kind()));
    let expected_length = record.length;
    Ok(Commit { expected_length, token: None, entries, logs: Vec::new(), record: after })
}

/// A run whose guest is not under way ends at once; another is told and gets time to clean up.
fn cancel(after: &mut Record, reason: String, deadline: Timestamp) -> JournalEvent {
    let between_attempts = after.attempt == 0 || is_between_attempts(&after.state);
    if between_attempts || is_stuck(after) {
        after.state = RunState::Cancelled { reason: reason.clone() };
        after.pending = 0;
        after.undelivered = 0;
        after.wake_at = None;
        after.ready = false;
        return JournalEvent::RunCancelled { reason };
    }
    after.cancel = Some(CancelRequest { reason: reason.clone(), deadline });
    after.state = RunState::Queued { reason: QueueReason::Resumption };
    after.undelivered += 1;
    after.wake_at = Some(after.wake_at.map_or(deadline, |at| at.min(deadline)));
    after.ready = true;
    JournalEvent::CancelRequested { reason, deadline }
}

fn is_stuck(record: &Record) -> bool {
    matches!(record.state, RunState::Stuck { .. })
}

fn is_between_attempts(state: &RunState) -> bool {
    use crate::record::RetryCause;
    matches!(state, RunState::AwaitingRetry { cause: RetryCause::Run, .. })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{Digest, Input, Limits, Next, Payload, RunId, StartOptions};

    #[test]
    fn the_time_limit_of_a_delayed_run_counts_from_when_it_is_due() {
        let at = Timestamp::from_millis;
        let options = StartOptions { timeout_ms: Some(100), ..StartOptions::default() };
        let request = StartRequest {
            id: RunId::from_key("w", "k"),
            workflow: "w".into(),
            version: "1".into(),
            digest: Digest::of(b""),
            engine: 1,
            limits: Limits::default(),
            input: Payload::null(),
            options,
            due: Some(at(5_000)),
        };
        for (due, begins) in [(Some(at(5_000)), 5_000), (Some(at(1)), 1_000), (None, 1_000)] {
            let commit = Run::start(StartRequest { due, ..request.clone() }, at(1_000));
            assert_eq!(commit.record.timeout_at(), Some(at(begins + 100)), "{due:?}");
            let mut run = Run::fold(commit.entries).unwrap();
            if begins > 1_000 {
                assert_eq!(run.next(at(begins - 1)), Next::Wait(Some(at(begins))));
            }
            assert!(matches!(run.next(at(begins + 99)), Next::Deliver(_)));
            assert_eq!(run.next(at(begins + 100)), Next::Decide(Input::Expired));
        }
    }
}
