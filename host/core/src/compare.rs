//! Two runs side by side: how far their histories are the same, and the first thing in which they
//! differ. `everstep runs diff` shows it. Times are no part of what is compared, nor is who a run is.

use crate::activation::Completion;
use crate::difference::{Unequal, unequal};
use crate::event::{Entry, JournalEvent};
use crate::replay::RecordedCommand;
use crate::{OpId, OpResult, Payload, Refusal, Step, Steps, Timestamp};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Something in a history that two runs can have in common.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Moment {
    /// Its position in the journal.
    pub seq: u64,
    /// When it was.
    pub at: Timestamp,
    /// Who did what: `begins`, `told`, `asks` or `ends`.
    pub what: What,
    /// What it is about: `task`, `child run`, `completed`, …
    pub kind: String,
    /// Its name: that of the task, the workflow, the event …
    pub name: String,
    /// The operation, when it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub op: Option<OpId>,
    /// The input, output, data or failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
}

/// Who did what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The run began.
    Begins,
    /// The guest was told something.
    Told,
    /// The guest asked for something.
    Asks,
    /// The host ended the run.
    Ends,
}

impl What {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begins => "begins",
            Self::Told => "told",
            Self::Asks => "asks",
            Self::Ends => "ends",
        }
    }
}

impl Moment {
    fn is_like(&self, other: &Self) -> bool {
        let own = |it: &Self| (it.what, it.kind.clone(), it.name.clone(), it.op);
        own(self) == own(other) && self.value == other.value
    }
}

/// How far two histories are the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The moments that they have in common from the beginning.
    pub common: u64,
    /// The journal position of each behind what is common.
    pub positions: (u64, u64),
    /// The first difference; none when they are the same to the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub difference: Option<FirstDifference>,
}

/// The first moment that is not the same.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FirstDifference {
    /// What the one has; none when it ends before.
    pub left: Option<Moment>,
    /// What the other has.
    pub right: Option<Moment>,
    /// Where their values differ.
    pub fields: Vec<Unequal>,
}

/// What happened in a run, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Counts {
    /// Journal entries.
    pub entries: u64,
    /// Activations of the guest.
    pub steps: u64,
    /// Attempts of the run.
    pub attempts: u64,
    /// Tasks that the guest asked for.
    pub tasks: u64,
    /// Attempts of tasks that failed.
    pub task_attempts_failed: u64,
    /// Sleeps.
    pub timers: u64,
    /// Events that came.
    pub events: u64,
    /// Child runs.
    pub children: u64,
    /// From the first entry to the last, in milliseconds.
    pub duration_ms: u64,
}

/// Compares two journals that begin at these positions.
///
/// # Errors
/// When one of them cannot have come about.
pub fn compare(left: (&[Entry], u64), right: (&[Entry], u64)) -> Result<Comparison, Refusal> {
    let (one, other) = (moments(left.0, left.1)?, moments(right.0, right.1)?);
    let common = one.iter().zip(&other).take_while(|(a, b)| a.is_like(b)).count();
    let position = |moments: &[Moment], (entries, first): (&[Entry], u64)| {
        moments.get(common).map_or(first + entries.len() as u64, |moment| moment.seq)
    };
    let positions = (position(&one, left), position(&other, right));
    let (left, right) = (one.get(common).cloned(), other.get(common).cloned());
    let difference = (left.is_some() || right.is_some()).then(|| {
        let value = |side: &Option<Moment>| side.as_ref().and_then(|it| it.value.clone());
        let fields = match (value(&left), value(&right)) {
            (Some(a), Some(b)) => unequal("value", &a, &b),
            _ => Vec::new(),
        };
        FirstDifference { left, right, fields }
    });
    Ok(Comparison { common: common as u64, positions, difference })
}

/// What happened in a journal, in numbers.
#[must_use]
pub fn counts(entries: &[Entry]) -> Counts {
    let mut counts = Counts { entries: entries.len() as u64, ..Counts::default() };
    for entry in entries {
        counts.steps += u64::from(entry.event.begins_step());
        match &entry.event {
            JournalEvent::AttemptStarted { .. } => counts.attempts += 1,
            JournalEvent::TaskScheduled { .. } => counts.tasks += 1,
            JournalEvent::TaskAttemptFailed { .. } => counts.task_attempts_failed += 1,
            JournalEvent::TaskFailed { .. } => counts.task_attempts_failed += 1,
            JournalEvent::TimerStarted { .. } => counts.timers += 1,
            JournalEvent::EventReceived { .. } => counts.events += 1,
            JournalEvent::ChildScheduled { .. } => counts.children += 1,
            _ => {}
        }
    }
    if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
        counts.duration_ms = last.at.since(first.at);
    }
    counts
}

/// The moments of a journal that begins at this position.
///
/// # Errors
/// When it cannot have come about.
pub fn moments(entries: &[Entry], first: u64) -> Result<Vec<Moment>, Refusal> {
    let mut steps = Steps::from(first);
    let mut found = Vec::new();
    let mut names = BTreeMap::new();
    for (seq, entry) in (first..).zip(entries) {
        if let Some(step) = steps.push(entry)? {
            in_step(&step, &names, &mut found);
        }
        if let Some((op, name)) = registered(&entry.event) {
            names.insert(op, name);
        }
        found.extend(at_the_edge(seq, seq == first, entry));
    }
    if let Some(step) = steps.take_last() {
        in_step(&step, &names, &mut found);
    }
    found.sort_by_key(|moment| moment.seq);
    Ok(found)
}

/// An operation and what it is called.
fn registered(event: &JournalEvent) -> Option<(OpId, String)> {
    let name = match event {
        JournalEvent::TaskScheduled { name, .. } => format!("task {name}"),
        JournalEvent::TimerStarted { name, .. } => format!("timer {name}").trim_end().to_owned(),
        JournalEvent::EventAwaited { name, .. } => format!("event {name}"),
        JournalEvent::EventSent { event, .. } => format!("send {}", event.name),
        JournalEvent::ChildScheduled { request, .. } => format!("child {}", request.workflow),
        _ => return None,
    };
    event.registers().map(|op| (op, name))
}

fn read(payload: &Payload) -> Option<Value> {
    payload.read().ok()
}

/// What begins and ends a run without its guest.
fn at_the_edge(seq: u64, is_first: bool, entry: &Entry) -> Option<Moment> {
    let (what, kind, name, value) = match &entry.event {
        JournalEvent::RunStarted { origin, input, .. } => {
            (What::Begins, "run", origin.workflow.clone(), read(input))
        }
        // In the middle of a journal it is what the guest asks for.
        JournalEvent::RunContinued { origin, input, .. } if is_first => {
            (What::Begins, "run", origin.workflow.clone(), read(input))
        }
        JournalEvent::RunTimedOut { failure } => {
            (What::Ends, "time limit", failure.code.clone(), None)
        }
        JournalEvent::RunCancelled { reason } => (What::Ends, "cancelled", reason.clone(), None),
        JournalEvent::RunTerminated { reason } => (What::Ends, "terminated", reason.clone(), None),
        _ => return None,
    };
    Some(Moment { seq, at: entry.at, what, kind: kind.into(), name, op: None, value })
}

fn in_step(step: &Step, names: &BTreeMap<OpId, String>, found: &mut Vec<Moment>) {
    let at = step.delivery.at;
    let (kind, name, op, value) = match &step.delivery.completion {
        Completion::Start { attempt, .. } => ("attempt", attempt.to_string(), None, None),
        Completion::CancelRequested { reason } => ("cancel request", reason.clone(), None, None),
        Completion::Operation { op, result } => {
            let (kind, value) = match result {
                OpResult::Value(value) => ("completed", read(value)),
                OpResult::Failed(failure) => ("failed", serde_json::to_value(failure).ok()),
                OpResult::Fired => ("fired", None),
                OpResult::TimedOut => ("timed out", None),
                OpResult::Cancelled => ("cancelled", None),
            };
            (kind, names.get(op).cloned().unwrap_or_default(), Some(*op), value)
        }
    };
    let told = Moment { seq: step.seq, at, what: What::Told, kind: kind.into(), name, op, value };
    found.push(told);
    found.extend(step.recorded.iter().map(|command| asked(command, at)));
}

fn asked(command: &RecordedCommand, at: Timestamp) -> Moment {
    let RecordedCommand { seq, identity, input, .. } = command;
    Moment {
        seq: *seq,
        at,
        what: What::Asks,
        kind: identity.kind.as_str().into(),
        name: identity.name.clone(),
        op: None,
        value: input.as_ref().and_then(read),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    /// A journal of one attempt with these events, a second apart.
    fn journal(events: &[(&str, Value)]) -> Vec<Entry> {
        let origin = json!({"id": "0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f", "workflow": "w",
            "version": "1", "digest": format!("sha256:{}", "07".repeat(32)), "engine": 1,
            "limits": {}, "input_hash": "00".repeat(16), "options": {},
            "started_at": "2026-05-01T09:30:00Z"});
        let due = "2026-05-01T09:30:00Z";
        let mut all = vec![
            ("RunStarted", json!({"origin": origin, "input": 1, "due": due})),
            ("AttemptStarted", json!({"attempt": 1})),
        ];
        all.extend_from_slice(events);
        let entry = |(n, (kind, data)): (usize, &(&str, Value))| {
            let event = format!(r#"{{"type":"{kind}","data":{data}}}"#);
            let text = format!(r#"{{"at":"2026-05-01T09:30:{n:02}Z","event":{event}}}"#);
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
        };
        all.iter().enumerate().map(entry).collect()
    }

    fn task(op: u64, input: &Value) -> (&'static str, Value) {
        let hash = "00".repeat(16);
        let data =
            json!({"op": op, "name": "t", "input": input, "input_hash": hash, "options": {}});
        ("TaskScheduled", data)
    }

    fn done(op: u64, output: &Value) -> (&'static str, Value) {
        ("TaskCompleted", json!({"op": op, "output": output}))
    }

    #[test]
    fn the_first_difference_is_found_whoever_made_it() {
        let base = [task(1, &json!({"a": 1})), done(1, &json!([1, 2])), task(2, &json!(3))];
        let change = |at: usize, event: (&'static str, Value)| {
            let mut events = base.to_vec();
            events[at] = event;
            events
        };
        let timer =
            ("TimerStarted", json!({"op": 2, "name": "nap", "due": "2026-05-01T09:40:00Z"}));
        let failed = (
            "TaskFailed",
            json!({"op": 1, "attempts": 3,
            "failure": {"code": "c.d", "message": "m"}}),
        );
        for (name, other, common, kinds, field) in [
            ("same", base.to_vec(), 5, None, ""),
            ("input", change(0, task(1, &json!({"a": 2}))), 2, Some(("task", "task")), "value.a"),
            (
                "output",
                change(1, done(1, &json!([1, 9]))),
                3,
                Some(("completed", "completed")),
                "value[1]",
            ),
            ("failure", change(1, failed), 3, Some(("completed", "failed")), "value"),
            ("kind", change(2, timer), 4, Some(("task", "timer")), ""),
            ("shorter", base[..2].to_vec(), 4, Some(("task", "")), ""),
        ] {
            let (left, right) = (journal(&base), journal(&other));
            let found = compare((&left, 0), (&right, 0)).unwrap();
            assert_eq!(found.common, common, "{name}: {found:?}");
            let Some(difference) = found.difference else {
                assert_eq!(kinds, None, "{name}");
                continue;
            };
            let kind =
                |side: &Option<Moment>| side.as_ref().map_or(String::new(), |it| it.kind.clone());
            let sides = (kind(&difference.left), kind(&difference.right));
            assert_eq!(kinds, Some((sides.0.as_str(), sides.1.as_str())), "{name}");
            let first = difference.fields.first().map_or("", |it| it.path.as_str());
            assert_eq!(first, field, "{name}");
            let back = compare((&right, 0), (&left, 0)).unwrap();
            assert_eq!((back.common, back.difference.is_some()), (common, true), "{name}");
        }
    }

    #[test]
    fn times_and_failed_attempts_are_no_difference_but_counted() {
        let plain = journal(&[task(1, &json!(1)), done(1, &json!(2))]);
        let failed = (
            "TaskAttemptFailed",
            json!({"op": 1, "attempt": 1,
            "failure": {"code": "c.d", "message": "m"}, "retry_at": "2026-05-01T09:30:03Z"}),
        );
        let slow = journal(&[task(1, &json!(1)), failed, done(1, &json!(2))]);
        let found = compare((&plain, 0), (&slow, 0)).unwrap();
        assert_eq!((found.common, found.positions, found.difference), (4, (4, 5), None));
        assert_eq!(counts(&plain).duration_ms, 3_000);
        assert_eq!(
            counts(&slow),
            Counts {
                entries: 5,
                steps: 2,
                attempts: 1,
                tasks: 1,
                task_attempts_failed: 1,
                duration_ms: 4_000,
                ..Counts::default()
            }
        );
    }
}
