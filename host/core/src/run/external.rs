//! What comes from outside a host: starts, events, ends of children, operators' wishes. They need
//! only the record, not the journal, so they cost the same however long a run has been going.
//!
//! What the record cannot tell (whether somebody waits for an event, say) is left to the host that
//! takes the run next; it writes the record again where it differs.

use super::{Run, apply};
use crate::event::{Entry, JournalEvent, SetOutcome};
use crate::record::{CancelRequest, Origin, QueueReason, RetryCause};
use crate::transitions::{self, Trigger};
use crate::{
    Commit, InputHash, ModuleRef, OpId, OpResult, Record, Refusal, RunState, StartRequest,
    StateKind, Timestamp, UserEvent,
};
use std::sync::Arc;

/// Something from outside.
#[derive(Debug, Clone, PartialEq)]
pub enum External {
    /// Stop the run, and let it clean up for so long.
    Cancel {
        /// For people.
        reason: String,
        /// Milliseconds until the host ends it.
        grace_ms: u64,
    },
    /// End the run now.
    Terminate {
        /// For people.
        reason: String,
    },
    /// Let the run stand still: what is under way ends, nothing new begins.
    Pause {
        /// For people.
        reason: String,
    },
    /// Let a paused run go on.
    Resume,
    /// End the sleep that would end first.
    Wake,
    /// Continue a run that is stuck, or try a failed one again. Only a failed one takes outcomes.
    Retry {
        /// Results that take the place of those of failed tasks.
        outcomes: Vec<SetOutcome>,
    },
    /// Execute another module from here on. It must have been shown to ask for the same so far.
    Upgrade {
        /// Which.
        to: ModuleRef,
    },
    /// Receive an event.
    Event(Box<UserEvent>),
    /// A child ended.
    ChildEnded {
        /// Which operation it is.
        op: OpId,
        /// How.
        result: OpResult,
    },
}

impl External {
    fn trigger(&self) -> Trigger {
        match self {
            Self::Cancel { .. } => Trigger::Cancel,
            Self::Terminate { .. } => Trigger::Terminate,
            Self::Pause { .. } => Trigger::Pause,
            Self::Resume => Trigger::Resume,
            Self::Wake => Trigger::Wake,
            Self::Retry { .. } => Trigger::Retry,
            Self::Upgrade { .. } => Trigger::Upgrade,
            Self::Event(_) | Self::ChildEnded { .. } => Trigger::Received,
        }
    }

    /// The name under which the run remembers to have received it.
    #[must_use]
    pub fn reference(&self) -> Option<InputHash> {
        let text = match self {
            Self::Event(event) => format!("event {}", event.reference.as_ref()?),
            Self::ChildEnded { op, .. } => format!("child {op}"),
            _ => return None,
        };
        Some(InputHash::of(text.as_bytes()))
    }
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
            parent: request.parent,
            due: (due > now).then_some(due),
            forked_from: None,
        };
        let event =
            JournalEvent::RunStarted { origin: Arc::new(origin), input: request.input, due };
        let entry = Entry { at: now, event };
        let mut run = match apply::first(Some(&entry), 0, false) {
            Ok(run) => run,
            Err(_) => unreachable!("the entry is a RunStarted"),
        };
        run.settle();
        commit(0, vec![entry], run.record, Vec::new())
    }
}

fn commit(
    expected_length: u64,
    entries: Vec<Entry>,
    record: Record,
    references: Vec<InputHash>,
) -> Commit {
    Commit { expected_length, token: None, entries, logs: Vec::new(), record, references }
}

/// Decides what something from outside means for a run.
///
/// # Errors
/// When the run's state does not allow it, or it is so already.
pub fn external(record: &Record, input: External, now: Timestamp) -> Result<Commit, Refusal> {
    let from = record.state.kind();
    let trigger = input.trigger();
    if !transitions::accepts(from, trigger) {
        return Err(Refusal::IllegalTransition { state: from, action: trigger.participle() });
    }
    let at = now.max(record.updated_at);
    let mut after = record.clone();
    let references = input.reference().into_iter().collect();
    let event = match input {
        External::Cancel { .. } if record.cancel.is_some() && from != StateKind::Stuck => {
            return Err(Refusal::AlreadySo("being cancelled"));
        }
        External::Cancel { reason, grace_ms } => {
            Some(cancel(&mut after, reason, at.plus(grace_ms)))
        }
        External::Terminate { reason } => {
            end(&mut after, RunState::Cancelled { reason: reason.clone() });
            Some(JournalEvent::RunTerminated { reason })
        }
        External::Pause { reason } => {
            after.state = RunState::Paused { reason: reason.clone() };
            after.ready = record.outbox > 0;
            after.wake_at = limits(record);
            Some(JournalEvent::RunPaused { reason })
        }
        External::Resume => {
            queue(&mut after, QueueReason::Resumption);
            Some(JournalEvent::RunResumed)
        }
        External::Wake => {
            queue(&mut after, QueueReason::WakeupEarly);
            Some(JournalEvent::WakeRequested)
        }
        External::Retry { outcomes } => retry(&mut after, outcomes, at),
        External::Upgrade { to } => {
            let was = record.origin.module();
            if to == was {
                return Err(Refusal::AlreadySo("on this module"));
            }
            after.origin = Arc::new(record.origin.with_module(to.clone()));
            Some(JournalEvent::RunUpgraded { to, was })
        }
        External::Event(event) => {
            check_room(record)?;
            receive(&mut after, QueueReason::Event);
            Some(JournalEvent::EventReceived { event })
        }
        External::ChildEnded { op, result } => {
            receive(&mut after, QueueReason::Child);
            Some(JournalEvent::ChildEnded { op, result })
        }
    };
    let entries: Vec<Entry> = event.map(|event| Entry { at, event }).into_iter().collect();
    if !entries.is_empty() {
        after.updated_at = at;
    }
    after.length += entries.len() as u64;
    debug_assert!(
        transitions::allows(from, trigger, after.state.kind()),
        "{from:?} --{trigger:?}--> {:?}",
        after.state.kind()
    );
    Ok(commit(record.length, entries, after, references))
}

/// A run whose guest is not under way ends at once; another is told and gets time to clean up.
fn cancel(after: &mut Record, reason: String, deadline: Timestamp) -> JournalEvent {
    let between_attempts = after.attempt == 0 || is_between_attempts(&after.state);
    if between_attempts || after.state.kind() == StateKind::Stuck {
        end(after, RunState::Cancelled { reason: reason.clone() });
        return JournalEvent::RunCancelled { reason };
    }
    after.cancel = Some(CancelRequest { reason: reason.clone(), deadline });
    queue(after, QueueReason::Resumption);
    after.undelivered += 1;
    after.wake_at = Some(after.wake_at.map_or(deadline, |at| at.min(deadline)));
    JournalEvent::CancelRequested { reason, deadline }
}

/// A host is needed once more when other runs may have to be told.
fn end(after: &mut Record, state: RunState) {
    after.ready = after.pending > 0 || after.outbox > 0 || after.origin.parent.is_some();
    after.state = state;
    after.pending = 0;
    after.undelivered = 0;
    after.wake_at = None;
}

fn queue(after: &mut Record, reason: QueueReason) {
    after.state = RunState::Queued { reason };
    after.ready = true;
}

/// Whether anybody waits for what was received is for the host to say; a run that has no guest
/// under way, or must stand still, only keeps it.
fn receive(after: &mut Record, reason: QueueReason) {
    after.undelivered = after.undelivered.saturating_add(1);
    let rests = matches!(
        after.state.kind(),
        StateKind::Scheduled | StateKind::Queued | StateKind::Paused | StateKind::Stuck
    );
    if !rests && !is_between_attempts(&after.state) {
        queue(after, reason);
    }
}

fn check_room(record: &Record) -> Result<(), Refusal> {
    let limit = record.origin.limits.pending_operations;
    if u64::from(record.undelivered) < limit {
        return Ok(());
    }
    let message = format!("{limit} events wait for this run already, which is the most it keeps");
    Err(Refusal::Limit { code: "limit.undelivered_events", message })
}

fn retry(after: &mut Record, outcomes: Vec<SetOutcome>, at: Timestamp) -> Option<JournalEvent> {
    let failed = after.state.kind() == StateKind::Failed;
    queue(after, if failed { QueueReason::Retry } else { QueueReason::Resumption });
    if !failed {
        return None;
    }
    after.keeps_results = true;
    after.limited_from = at;
    after.cancel = None;
    after.wake_at = Some(at);
    Some(JournalEvent::RetryRequested { outcomes })
}

/// The time limits of a run that stands still.
fn limits(record: &Record) -> Option<Timestamp> {
    let cancel = record.cancel.as_ref().map(|cancel| cancel.deadline);
    [cancel, record.timeout_at()].into_iter().flatten().min()
}

fn is_between_attempts(state: &RunState) -> bool {
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
            parent: None,
        };
        for (due, begins) in [(Some(at(5_000)), 5_000), (Some(at(1)), 1_000), (None, 1_000)] {
            let commit = Run::start(StartRequest { due, ..request.clone() }, at(1_000));
            assert_eq!(commit.record.timeout_at(), Some(at(begins + 100)), "{due:?}");
            let mut run = Run::fold(&commit.entries, 0).unwrap();
            if begins > 1_000 {
                assert_eq!(run.next(at(begins - 1)), Next::Wait(Some(at(begins))));
            }
            assert!(matches!(run.next(at(begins + 99)), Next::Deliver(_)));
            assert_eq!(run.next(at(begins + 100)), Next::Decide(Input::Expired));
        }
    }
}
