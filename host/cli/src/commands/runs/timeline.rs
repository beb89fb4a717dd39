//! A run as text: what it is, what happened when, what is pending, what it waits for. Pure, so that
//! tests can draw any journal; `show.rs` fetches and prints.

use super::status;
use crate::durations;
use crate::output::Paint;
use crate::text;
use everstep_client::{
    EntryView, OperationView, Payload, ResumedBy, RunView, StateKind, Timestamp,
};
use everstep_core::{JournalEvent, OpId, OpResult};
use std::collections::BTreeMap;

/// How much of a payload stands in a line.
const PAYLOAD_WIDTH: usize = 60;
/// How many pending operations are listed.
const MAX_PENDING: usize = 50;

/// What to draw.
pub(super) struct Timeline<'a> {
    pub(super) run: &'a RunView,
    /// Entries in order; some may be missing in the middle.
    pub(super) entries: &'a [EntryView],
    /// How many are missing.
    pub(super) omitted: u64,
    pub(super) now: Timestamp,
    pub(super) paint: Paint,
}

/// An operation whose beginning has been drawn.
struct Begun {
    label: String,
    at: Timestamp,
}

impl Timeline<'_> {
    /// The text, with a line break at its end.
    pub(super) fn render(&self) -> String {
        let sections = [self.head(), self.events(), self.pending(), self.end()];
        let sections: Vec<_> = sections.iter().filter(|lines| !lines.is_empty()).collect();
        let drawn: Vec<String> = sections.iter().map(|lines| lines.join("\n") + "\n").collect();
        drawn.join("\n")
    }

    fn head(&self) -> Vec<String> {
        let (run, paint) = (self.run, self.paint);
        let name = text::one_line(&format!("{} {}", run.workflow, run.version), 120);
        let mut rows = vec![
            ("run", run.id.to_string()),
            ("module", run.digest.to_string()),
            ("started", format!("{} ({} ago)", run.started_at, self.ago(run.started_at))),
        ];
        if run.attempt > 1 {
            rows.push(("attempt", run.attempt.to_string()));
        }
        if let Some(parent) = run.parent {
            rows.push(("parent", parent.to_string()));
        }
        if let Some(fork) = &run.forked_from {
            rows.push(("forked from", format!("{} at position {}", fork.run, fork.at)));
        }
        if let Some(resumed) = &run.resumed {
            let by = match resumed.by {
                ResumedBy::Snapshot => "from a snapshot",
                ResumedBy::Replay => "by a replay",
            };
            let (ms, entries) = (resumed.took_us as f64 / 1_000.0, resumed.entries);
            let ago = self.ago(resumed.at);
            rows.push(("resumed", format!("{ago} ago {by}, {entries} entries in {ms:.1} ms")));
        }
        if let Some(published) = &run.published {
            rows.push(("shows", text::one_line(published.as_str(), 120)));
        }
        if let Some(key) = &run.options.idempotency_key {
            rows.push(("key", text::one_line(key, 120)));
        }
        if !run.options.tags.is_empty() {
            let tags = run.options.tags.iter().map(|(key, value)| format!("{key}={value}"));
            rows.push(("tags", text::one_line(&tags.collect::<Vec<_>>().join(" "), 120)));
        }
        if let Some(input) = &run.input {
            rows.push(("input", text::one_line(input.as_str(), 120)));
        }
        let rows = rows.into_iter().map(|(label, value)| vec![paint.faint(label), value]);
        let state = status::painted(run.state, run.state.as_str(), paint);
        let mut lines = vec![format!("{}  {state}", paint.name(&name))];
        lines.extend(text::table(&rows.collect::<Vec<_>>()));
        lines
    }

    fn ago(&self, at: Timestamp) -> String {
        durations::between(at, self.now)
    }

    fn events(&self) -> Vec<String> {
        let mut begun = BTreeMap::new();
        for operation in self.run.operations.iter().flatten() {
            // The beginning of a pending operation may be among the entries that are missing.
            let label = format!("{} {}", kind(&operation.kind), operation.name);
            begun.insert(operation.op, Begun { label, at: Timestamp::default() });
        }
        let mut rows = Vec::new();
        let mut next = 0;
        for view in self.entries {
            if view.seq > next {
                let missing = format!("… {} entries; --limit shows more", self.omitted);
                rows.push(vec![
                    String::new(),
                    String::new(),
                    String::new(),
                    self.paint.faint(&missing),
                ]);
            }
            next = view.seq + 1;
            let at = format!("+{}", durations::between(self.run.started_at, view.entry.at));
            let (op, what, detail) = self.describe(view, &mut begun);
            let op = op.map(|op| format!("#{op}")).unwrap_or_default();
            let what = text::one_line(&what, 60);
            rows.push(vec![self.paint.faint(&format!("{at:>9}")), op, what, detail]);
        }
        text::table(&rows)
    }

    /// The operation, the thing, and what happened to it.
    fn describe(
        &self,
        view: &EntryView,
        begun: &mut BTreeMap<OpId, Begun>,
    ) -> (Option<OpId>, String, String) {
        let (at, paint) = (view.entry.at, self.paint);
        let own = |what: &str, detail: String| (None, what.to_owned(), detail);
        match &view.entry.event {
            JournalEvent::RunStarted { due, .. } if *due > at => {
                own("run", format!("accepted, due after {}", durations::between(at, *due)))
            }
            JournalEvent::RunStarted { .. } => own("run", "accepted".into()),
            JournalEvent::AttemptStarted { attempt } => {
                own("run", format!("attempt {attempt} begins"))
            }
            JournalEvent::AttemptFailed { attempt, failure, retry_at } => {
                let next = durations::between(at, *retry_at);
                let failure = one_line(&status::failure_text(failure));
                let failed = paint.warn(&format!("attempt {attempt} failed:"));
                own("run", format!("{failed} {failure}; the next one after {next}"))
            }
            JournalEvent::CancelRequested { reason, deadline } => {
                let grace = durations::between(at, *deadline);
                own("run", format!("asked to stop within {grace}: {}", one_line(reason)))
            }
            JournalEvent::Delivered { seq, op: None, .. } => {
                own("run", format!("is told of journal entry {seq}"))
            }
            JournalEvent::RunContinued { generation, input, .. } => {
                own("run", format!("begins anew ({generation}) with {}", payload(input)))
            }
            JournalEvent::RunPaused { reason } => {
                own("run", format!("{} {}", paint.warn("paused:"), one_line(reason)))
            }
            JournalEvent::StateHashed { hash, .. } => {
                let hash = hash.map_or_else(|| "not looked at".to_owned(), |it| it.to_string());
                own("run", paint.faint(&format!("left the guest as {hash}")))
            }
            JournalEvent::RunUpgraded { to, was } => {
                let versions = match to.version == was.version {
                    true => String::new(),
                    false => format!(" from version {} to {}", was.version, to.version),
                };
                own("run", format!("upgraded{versions} to module {}", to.digest))
            }
            JournalEvent::RunForked { from, at, .. } => {
                own("run", format!("forked from {from} at position {at}"))
            }
            JournalEvent::RunResumed => own("run", "resumed".into()),
            JournalEvent::WakeRequested => own("run", "woken by an operator".into()),
            JournalEvent::RetryRequested { outcomes } if outcomes.is_empty() => {
                own("run", "tried again by an operator".into())
            }
            JournalEvent::RetryRequested { outcomes } => {
                let given: Vec<_> = outcomes
                    .iter()
                    .map(|it| format!("#{} → {}", it.op, payload(&it.output)))
                    .collect();
                own("run", format!("tried again by an operator with {}", given.join(", ")))
            }
            JournalEvent::RunTerminated { reason } => {
                own("run", format!("{} {}", paint.warn("terminated:"), one_line(reason)))
            }
            JournalEvent::EventReceived { event } => {
                own(&format!("event {}", event.name), format!("received {}", payload(&event.data)))
            }
            JournalEvent::ValueRecorded { name, value } => {
                own(&format!("value {name}"), format!("recorded {}", payload(value)))
            }
            JournalEvent::RunCompleted { output } => {
                own("run", format!("{} → {}", paint.good("completed"), payload(output)))
            }
            JournalEvent::RunFailed { failure } | JournalEvent::RunTimedOut { failure } => {
                let failure = one_line(&status::failure_text(failure));
                own("run", format!("{} {failure}", paint.bad("failed:")))
            }
            JournalEvent::RunCancelled { reason } => {
                own("run", format!("{} {}", paint.warn("cancelled:"), one_line(reason)))
            }
            event => self.describe_operation(at, event, begun),
        }
    }

    fn describe_operation(
        &self,
        at: Timestamp,
        event: &JournalEvent,
        begun: &mut BTreeMap<OpId, Begun>,
    ) -> (Option<OpId>, String, String) {
        let paint = self.paint;
        let mut begin = |op: OpId, label: String| {
            begun.insert(op, Begun { label: label.clone(), at });
            (Some(op), label)
        };
        let ((op, what), detail) = match event {
            JournalEvent::TaskScheduled { op, name, input, reuses, .. } => {
                let detail = match reuses {
                    Some(earlier) => format!("answered by #{earlier} of an earlier attempt"),
                    None => format!("scheduled with {}", payload(input)),
                };
                (begin(*op, format!("task {name}")), detail)
            }
            JournalEvent::TimerStarted { op, name, due, reuses } => {
                let detail = match reuses {
                    Some(earlier) => format!("over since #{earlier} of an earlier attempt"),
                    None => format!("for {}, until {due}", durations::between(at, *due)),
                };
                (begin(*op, format!("sleep {name}").trim_end().to_owned()), detail)
            }
            JournalEvent::EventAwaited { op, name, timeout_at, reuses } => {
                let detail = match (reuses, timeout_at) {
                    (Some(earlier), _) => format!("answered by #{earlier} of an earlier attempt"),
                    (None, Some(until)) => {
                        format!("awaited for {}, until {until}", durations::between(at, *until))
                    }
                    (None, None) => "awaited".into(),
                };
                (begin(*op, format!("event {name}")), detail)
            }
            JournalEvent::EventSent { op, to, event, .. } => {
                let detail = format!("sent to {to} with {}", payload(&event.data));
                (begin(*op, format!("event {}", event.name)), detail)
            }
            JournalEvent::ChildScheduled { op, child, request, reuses } => {
                let detail = match reuses {
                    Some(earlier) => format!("answered by #{earlier} of an earlier attempt"),
                    None => format!("{child} starts with {}", payload(&request.input)),
                };
                (begin(*op, format!("child {}", request.workflow)), detail)
            }
            JournalEvent::ChildEnded { op, result }
            | JournalEvent::OperationEnded { op, result, .. } => {
                let (operation, since) = known(begun, *op);
                (operation, format!("{}{}", self.result(result), after(since, at)))
            }
            JournalEvent::EventTimedOut { op } => {
                let (operation, since) = known(begun, *op);
                (operation, format!("{}{}", paint.warn("timed out"), after(since, at)))
            }
            JournalEvent::Delivered { seq, op: Some(op), .. } => {
                let (operation, since) = known(begun, *op);
                (operation, format!("got the event of entry {seq}{}", after(since, at)))
            }
            JournalEvent::OperationCancelled { op } => (known(begun, *op).0, "given up".into()),
            JournalEvent::TaskAttemptFailed { op, attempt, failure, retry_at, .. } => {
                let next = durations::between(at, *retry_at);
                let failed = paint.warn(&format!("attempt {attempt} failed:"));
                let failure = one_line(&status::failure_text(failure));
                (known(begun, *op).0, format!("{failed} {failure}; the next one after {next}"))
            }
            JournalEvent::TaskCompleted { op, output, attempts, .. } => {
                let (operation, since) = known(begun, *op);
                let tries = if attempts.0 > 1 {
                    format!(", attempt {}", attempts.0)
                } else {
                    String::new()
                };
                let done = paint.good("completed");
                (operation, format!("{done}{}{tries} → {}", after(since, at), payload(output)))
            }
            JournalEvent::TaskFailed { op, attempts, failure, .. } => {
                let (operation, since) = known(begun, *op);
                let failed = paint.bad("failed");
                let failure = one_line(&status::failure_text(failure));
                let tries = attempts.0;
                (
                    operation,
                    format!(
                        "{failed}{}, attempt {tries} was the last: {failure}",
                        after(since, at)
                    ),
                )
            }
            JournalEvent::TimerFired { op } => {
                let (operation, since) = known(begun, *op);
                (operation, format!("ended{}", after(since, at)))
            }
            other => ((None, other.name().to_owned()), String::new()),
        };
        (op, what, detail)
    }

    fn result(&self, result: &OpResult) -> String {
        match result {
            OpResult::Value(value) => {
                format!("{} → {}", self.paint.good("completed"), payload(value))
            }
            OpResult::Failed(failure) => {
                let failure = one_line(&status::failure_text(failure));
                format!("{} {failure}", self.paint.bad("failed:"))
            }
            OpResult::Fired => "ended".into(),
            OpResult::TimedOut => self.paint.warn("timed out"),
            OpResult::Cancelled => self.paint.warn("cancelled"),
        }
    }

    fn pending(&self) -> Vec<String> {
        let Some(operations) = self.run.operations.as_deref().filter(|all| !all.is_empty()) else {
            return Vec::new();
        };
        let shown = &operations[..operations.len().min(MAX_PENDING)];
        let rows: Vec<_> = shown.iter().map(|operation| self.pending_row(operation)).collect();
        let mut lines = vec![self.paint.name("pending")];
        lines.extend(text::table(&rows).iter().map(|line| format!("  {line}")));
        let more = self.run.pending.saturating_sub(shown.len() as u64);
        if more > 0 {
            lines.push(self.paint.faint(&format!("  … and {more} more")));
        }
        lines
    }

    fn pending_row(&self, operation: &OperationView) -> Vec<String> {
        let label = format!("{} {}", kind(&operation.kind), operation.name);
        let due = operation.due.map(|due| status::moment(due, self.now));
        let detail = match (operation.attempt, due) {
            (Some(attempt), Some(due)) => format!("attempt {attempt} {due}"),
            (Some(attempt), None) => format!("attempt {attempt} is being executed"),
            (None, Some(due)) => format!("ends {due}"),
            (None, None) => String::new(),
        };
        vec![format!("#{}", operation.op), text::one_line(label.trim_end(), 60), detail]
    }

    fn end(&self) -> Vec<String> {
        let (run, paint) = (self.run, self.paint);
        let state = status::painted(run.state, run.state.as_str(), paint);
        let mut lines = Vec::new();
        match (&run.stuck, &run.output) {
            (Some(cause), _) if run.state == StateKind::Stuck => {
                lines.push(format!("{state}  [{}]", cause.code));
                lines.extend(text::lines(&cause.message).lines().map(|line| format!("  {line}")));
                lines.push(format!("{} {}", paint.good("fix:"), text::lines(&cause.remedy)));
            }
            (_, Some(output)) => {
                lines.push(format!("{state}  {}", text::one_line(output.as_str(), 2_000)))
            }
            _ => {
                let status = status::explained(run, self.now, 2_000);
                lines.push(format!("{state}  {status}").trim_end().to_owned());
            }
        }
        if let (false, Some(reason)) = (run.state.is_terminal(), &run.cancel_reason) {
            lines.push(paint.warn(&format!("asked to stop: {}", one_line(reason))));
        }
        lines
    }
}

fn known(begun: &BTreeMap<OpId, Begun>, op: OpId) -> ((Option<OpId>, String), Option<Timestamp>) {
    match begun.get(&op) {
        Some(operation) => {
            let since = Some(operation.at).filter(|at| *at != Timestamp::default());
            ((Some(op), operation.label.clone()), since)
        }
        None => ((Some(op), "operation".to_owned()), None),
    }
}

fn after(since: Option<Timestamp>, at: Timestamp) -> String {
    since.map(|since| format!(" after {}", durations::between(since, at))).unwrap_or_default()
}

/// What people call a kind of operation.
fn kind(kind: &str) -> &str {
    if kind == "timer" { "sleep" } else { kind }
}

fn payload(payload: &Payload) -> String {
    text::one_line(payload.as_str(), PAYLOAD_WIDTH)
}

fn one_line(text: &str) -> String {
    text::one_line(text, 200)
}

#[cfg(test)]
#[path = "timeline_samples.rs"]
pub(crate) mod samples;

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod tests;
