//! The checker: holds what was seen against what semantics promise. Pure, so that it can be shown doctored
//! evidence; called at the end of a run of the suite.
//!
//! Invariant: it needs no clock but that of the ledger, and where that does not tell the order of two
//! things, the order of the ledger's lines does.

use super::evidence::{Ending, Evidence, Sighting};
use crate::ledger::Line;
use everstep_client::{EntryView, RunId, StateKind, Timestamp};
use everstep_core::{JournalEvent, OpId};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// What is promised. The order is that of the report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Promise {
    /// What was acknowledged is there.
    Acknowledged,
    /// What was acknowledged ends as its code says.
    Ends,
    /// A result is decided once, and is what the run goes on with.
    Results,
    /// A recorded result is one that an attempt has had.
    Witnessed,
    /// No task begins after its result was recorded.
    NotRepeated,
    /// No task begins before what it depends on was recorded.
    NotBefore,
    /// Timers do not fire early, and fire once.
    Timers,
    /// One owner: a journal only grows, whoever is asked.
    OneHistory,
    /// Programs do not panic.
    Programs,
}

impl Promise {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Acknowledged => "acknowledged starts and events are there",
            Self::Ends => "acknowledged runs complete",
            Self::Results => "results are decided once and never change",
            Self::Witnessed => "recorded results were witnessed",
            Self::NotRepeated => "no task begins after its result was recorded",
            Self::NotBefore => "no task begins before what it depends on",
            Self::Timers => "timers fire once and never early",
            Self::OneHistory => "one owner: journals only grow",
            Self::Programs => "programs do not panic",
        }
    }
}

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub promise: Promise,
    /// Of which run, if of one.
    pub run: Option<RunId>,
    /// What was seen.
    pub what: String,
}

/// What the checker found.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// What was not kept.
    pub violations: Vec<Violation>,
    /// Attempts that were begun too late by a host that had stood still: no lease can call them back.
    pub excused: u64,
}

impl Verdict {
    fn add(&mut self, promise: Promise, run: RunId, what: impl Into<String>) {
        self.violations.push(Violation { promise, run: Some(run), what: what.into() });
    }
}

/// A line of the ledger and its place there.
type Placed<'a> = (usize, &'a Line);

/// What the ledger says of one task of a run.
#[derive(Default)]
struct Witnessed<'a> {
    begins: Vec<Placed<'a>>,
    ends: Vec<Placed<'a>>,
}

/// Checks everything.
#[must_use]
pub fn check(evidence: &Evidence) -> Verdict {
    let mut verdict = Verdict::default();
    for run in &evidence.starts {
        match evidence.endings.get(run) {
            None => verdict.add(Promise::Acknowledged, *run, "an acknowledged start is not there"),
            Some(Ending { state: Some(StateKind::Completed), .. }) => {}
            Some(ending) => {
                let state = ending.state.map_or("out of reach", StateKind::as_str);
                verdict.add(Promise::Ends, *run, format!("it is {state} in the end"));
            }
        }
    }
    events(evidence, &mut verdict);
    let mut ledger: HashMap<&str, Witnessed<'_>> = HashMap::new();
    for (place, line) in evidence.ledger.iter().enumerate() {
        let witnessed = ledger.entry(text(line, "token")).or_default();
        match text(line, "phase") {
            "begin" => witnessed.begins.push((place, line)),
            _ => witnessed.ends.push((place, line)),
        }
    }
    let mut sightings: HashMap<RunId, Vec<&Sighting>> = HashMap::new();
    for sighting in &evidence.sightings {
        sightings.entry(sighting.run).or_default().push(sighting);
    }
    for (run, ending) in evidence.endings.iter().filter(|(_, ending)| ending.state.is_some()) {
        let seen = sightings.remove(run).unwrap_or_default();
        history(*run, ending, &seen, &mut verdict);
        let steps = steps(*run, ending, &ledger, &mut verdict);
        order(evidence, *run, &steps, &seen, &mut verdict);
    }
    verdict
}

fn text<'a>(line: &'a Line, field: &str) -> &'a str {
    line.body[field].as_str().unwrap_or_default()
}

/// An acknowledged event was received, and once.
fn events(evidence: &Evidence, verdict: &mut Verdict) {
    for (run, reference) in &evidence.events {
        let ending = evidence.endings.get(run).filter(|ending| ending.state.is_some());
        let Some(ending) = ending else { continue };
        let received = ending.journal.iter().filter(|view| {
            matches!(&view.entry.event, JournalEvent::EventReceived { event }
                if event.reference.as_ref() == Some(reference))
        });
        let count = received.count();
        if count != 1 {
            let what = format!("the acknowledged event {reference} was received {count} times");
            verdict.add(Promise::Acknowledged, *run, what);
        }
    }
}

/// Every journal that was read is the beginning of the last one, and none is shorter than one that was
/// there before it was asked for.
fn history(run: RunId, ending: &Ending, seen: &[&Sighting], verdict: &mut Verdict) {
    let last = &ending.journal;
    if !last.iter().enumerate().all(|(place, view)| view.seq == place as u64) {
        verdict.add(Promise::OneHistory, run, "its positions have gaps");
    }
    for sighting in seen {
        let length = sighting.journal.len();
        if last.get(..length) != Some(&sighting.journal) {
            let differs = last.iter().zip(&sighting.journal).take_while(|(a, b)| a == b).count();
            let what = format!("position {differs} was another at {}", sighting.seen);
            verdict.add(Promise::OneHistory, run, what);
        }
        let before = seen.iter().filter(|before| before.seen < sighting.asked);
        if let Some(longer) = before.map(|before| before.journal.len()).find(|it| *it > length) {
            let what = format!("{longer} entries were there, and {length} at {}", sighting.seen);
            verdict.add(Promise::OneHistory, run, what);
        }
    }
    let first = last.first().map_or(Timestamp::default(), |view| view.entry.at);
    last.iter().fold(first, |before, EntryView { seq, entry }| {
        if entry.at < before {
            verdict.add(Promise::OneHistory, run, format!("position {seq} goes back in time"));
        }
        entry.at
    });
}

/// A task of a run: its place among the others, its result, and what the ledger says.
struct Step<'a> {
    op: OpId,
    token: String,
    /// When the timers in front of it were due.
    due: Timestamp,
    /// The line at which the ledger has the recorded result.
    ended: Option<usize>,
    begins: &'a [Placed<'a>],
}

/// Goes through a journal: results, timers, and what the ledger has of each task.
fn steps<'a>(
    run: RunId,
    ending: &Ending,
    ledger: &'a HashMap<&str, Witnessed<'a>>,
    verdict: &mut Verdict,
) -> Vec<Step<'a>> {
    let mut steps: Vec<Step<'a>> = Vec::new();
    let mut results: BTreeMap<OpId, Value> = BTreeMap::new();
    let mut timers: BTreeMap<OpId, (Timestamp, bool)> = BTreeMap::new();
    let mut due = Timestamp::default();
    for EntryView { entry, .. } in &ending.journal {
        match &entry.event {
            JournalEvent::TaskScheduled { op, .. } => {
                let token = format!("{run}/{op}");
                let begins = ledger.get(token.as_str()).map_or(&[][..], |it| &it.begins);
                steps.push(Step { op: *op, token, due, ended: None, begins });
            }
            JournalEvent::TimerStarted { op, due, .. } => {
                timers.insert(*op, (*due, false));
            }
            JournalEvent::TimerFired { op } => {
                let Some((at, fired)) = timers.get_mut(op) else { continue };
                if std::mem::replace(fired, true) {
                    verdict.add(Promise::Timers, run, format!("timer {op} fired twice"));
                }
                if entry.at < *at {
                    verdict.add(Promise::Timers, run, format!("timer {op} fired early"));
                }
                due = due.max(*at);
            }
            JournalEvent::TaskCompleted { op, output, .. } => {
                let value: Value = output.read().unwrap_or_default();
                if results.insert(*op, value.clone()).is_some() {
                    verdict.add(Promise::Results, run, format!("task {op} completed twice"));
                }
                let Some(step) = steps.iter_mut().find(|step| step.op == *op) else { continue };
                // Tasks that tell nobody of themselves have nothing to be compared with.
                let Some(witnessed) = ledger.get(step.token.as_str()) else { continue };
                let same = |(_, line): &&Placed<'_>| line.body["value"] == value;
                step.ended = witnessed.ends.iter().find(same).map(|(place, _)| *place);
                if step.ended.is_none() {
                    let what = format!("nobody witnessed the result {value} of task {op}");
                    verdict.add(Promise::Witnessed, run, what);
                }
            }
            _ => {}
        }
    }
    outcome(run, ending, &results, &timers, verdict);
    steps
}

/// The output has the recorded results, in their order, and every timer has fired.
fn outcome(
    run: RunId,
    ending: &Ending,
    results: &BTreeMap<OpId, Value>,
    timers: &BTreeMap<OpId, (Timestamp, bool)>,
    verdict: &mut Verdict,
) {
    if ending.state != Some(StateKind::Completed) {
        return;
    }
    let output = ending.output.as_ref().unwrap_or(&Value::Null);
    let recorded: Vec<_> = results.values().collect();
    if output.get("values").is_some_and(|values| *values != json!(recorded)) {
        let what = format!("its output is {output}, and recorded is {}", json!(recorded));
        verdict.add(Promise::Results, run, what);
    }
    if let Some((op, _)) = timers.iter().find(|(_, (_, fired))| !fired) {
        verdict.add(Promise::Timers, run, format!("timer {op} never fired"));
    }
}

/// Nothing begins before what it depends on was recorded, nor after its own result was.
fn order(
    evidence: &Evidence,
    run: RunId,
    steps: &[Step<'_>],
    seen: &[&Sighting],
    verdict: &mut Verdict,
) {
    for (number, step) in steps.iter().enumerate() {
        let Step { op, due, begins, .. } = step;
        if let Some((_, line)) = begins.iter().find(|(_, line)| line.at < *due) {
            let what =
                format!("task {op} began at {}, before {due}, when its timer was due", line.at);
            verdict.add(Promise::Timers, run, what);
        }
        let before = number.checked_sub(1).and_then(|before| steps[before].ended);
        if let (Some(ended), Some((place, _))) = (before, begins.first())
            && *place < ended
        {
            let what = format!("task {op} began before the recorded result of the one before it");
            verdict.add(Promise::NotBefore, run, what);
        }
        // The next one begins only when the result of this one is durable.
        let next = steps.get(number + 1).and_then(|next| next.begins.first());
        let known = seen.iter().filter(|it| has_result(it, *op)).map(|it| it.seen).min();
        for (place, line) in *begins {
            let after = next.is_some_and(|(next, _)| place > next);
            if !after && known.is_none_or(|known| line.at <= known) {
                continue;
            }
            let host = line.body["host"].as_str();
            if evidence.is_excused(host, line.at) {
                verdict.excused += 1;
                continue;
            }
            let host = host.unwrap_or("a host");
            let what = format!("{host} began task {op} at {}, after its result", line.at);
            verdict.add(Promise::NotRepeated, run, what);
        }
    }
}

fn has_result(sighting: &Sighting, task: OpId) -> bool {
    let mut entries = sighting.journal.iter();
    entries.any(
        |view| matches!(&view.entry.event, JournalEvent::TaskCompleted { op, .. } if *op == task),
    )
}
