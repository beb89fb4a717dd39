//! The history of a run as a list of stops: what the guest was told, what it asked for in answer and
//! from where, what it logged and showed, and what was pending then. Pure, from a journal and what a
//! replay of it heard.

use everstep_core::api::OperationView;
use everstep_core::compare::{Moment, What, moments};
use everstep_core::{Entry, LogLine, Payload, Refusal, Run, RunId, StateKind, Timestamp};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// How many pending operations of a stop are listed.
const MAX_PENDING: usize = 50;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Journey {
    pub(super) run: RunId,
    pub(super) workflow: String,
    pub(super) stops: Vec<Stop>,
    /// Why the replay ended early, if it did.
    pub(super) ending: Option<String>,
}

/// What a replay heard of one activation.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Heard {
    pub(super) logs: Vec<LogLine>,
    pub(super) published: Option<Payload>,
    /// Where in the code each command was asked for, in order.
    pub(super) traces: Vec<String>,
}

/// A point in the history: an activation, or something that needed none.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Stop {
    /// The journal position of what happened.
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) attempt: u32,
    /// What happened: `told completed`, `begins run` …
    pub(super) what: String,
    /// What it is about.
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<Value>,
    /// What the guest asked for in answer.
    pub(super) commands: Vec<Asked>,
    pub(super) logs: Vec<LogLine>,
    /// What the run shows of itself from here on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) published: Option<Payload>,
    pub(super) state: StateKind,
    /// What waits for its end; at most 50.
    pub(super) pending: Vec<OperationView>,
    pub(super) pending_count: u64,
    /// Journal entries behind the commands that the guest hears of later or never.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) behind: Vec<Behind>,
}

/// A command.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Asked {
    pub(super) seq: u64,
    pub(super) kind: String,
    pub(super) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<Value>,
    /// Where in the code, the innermost frame first.
    pub(super) backtrace: Vec<String>,
}

/// An entry that is no part of an activation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Behind {
    pub(super) seq: u64,
    pub(super) at: Timestamp,
    pub(super) event: String,
}

impl Journey {
    /// Puts together what the journal tells and what a replay of it heard, by the position of the
    /// delivery.
    pub(super) fn new(
        entries: &[Entry],
        first: u64,
        mut heard: BTreeMap<u64, Heard>,
        ending: Option<String>,
    ) -> Result<Self, Refusal> {
        let whole = Run::fold(entries, first)?;
        let mut moments = moments(entries, first)?.into_iter().peekable();
        let mut stops: Vec<Stop> = Vec::new();
        let (mut run, mut published) = (None, None);
        for (seq, entry) in (first..).zip(entries) {
            let so_far = Run::fold_on(&mut run, entry, whole.record())?;
            match moments.next_if(|moment| moment.seq == seq) {
                Some(moment) if moment.what != What::Asks => {
                    let heard = heard.remove(&seq).unwrap_or_default();
                    published = heard.published.clone().or(published);
                    let mut stop = Stop::new(moment, so_far.record().attempt, heard);
                    stop.published.clone_from(&published);
                    stops.push(stop);
                }
                Some(moment) => {
                    if let Some(stop) = stops.last_mut() {
                        stop.asked(moment);
                    }
                }
                None => {
                    let event = entry.event.name().to_owned();
                    let behind = Behind { seq, at: entry.at, event };
                    if let Some(stop) = stops.last_mut() {
                        stop.behind.push(behind);
                    }
                }
            }
            if let Some(stop) = stops.last_mut().filter(|stop| stop.behind.is_empty()) {
                stop.state = so_far.record().state.kind();
                stop.pending = so_far.operations(MAX_PENDING);
                stop.pending_count = so_far.record().pending;
            }
        }
        let origin = &whole.record().origin;
        let workflow = format!("{} {}", origin.workflow, origin.version);
        for stop in &mut stops {
            stop.spread_traces();
        }
        Ok(Self { run: origin.id, workflow, stops, ending })
    }

    /// The first stop at or behind a journal position.
    pub(super) fn at_position(&self, seq: u64) -> usize {
        let behind = self.stops.iter().position(|stop| stop.seq > seq);
        behind.unwrap_or(self.stops.len()).saturating_sub(1)
    }

    /// The next stop behind this one in which the words occur, from the beginning again at the end.
    pub(super) fn find(&self, words: &str, from: usize) -> Option<usize> {
        let words = words.to_lowercase();
        let order = (from + 1..self.stops.len()).chain(0..=from.min(self.stops.len() - 1));
        order.into_iter().find(|index| {
            let text = serde_json::to_string(&self.stops[*index]).unwrap_or_default();
            text.to_lowercase().contains(&words)
        })
    }
}

impl Stop {
    fn new(moment: Moment, attempt: u32, heard: Heard) -> Self {
        // The traces are handed to the commands when these are known.
        let commands = heard.traces.into_iter().map(|trace| Asked {
            seq: 0,
            kind: String::new(),
            name: String::new(),
            value: None,
            backtrace: trace.lines().map(|line| line.trim_end().to_owned()).collect(),
        });
        Self {
            seq: moment.seq,
            at: moment.at,
            attempt,
            what: format!("{} {}", moment.what.as_str(), moment.kind),
            name: moment.name,
            value: moment.value,
            commands: commands.collect(),
            logs: heard.logs,
            published: None,
            state: StateKind::Queued,
            pending: Vec::new(),
            pending_count: 0,
            behind: Vec::new(),
        }
    }

    /// Takes a command in: the first one that has only a trace so far gets it.
    fn asked(&mut self, moment: Moment) {
        let Moment { seq, kind, name, value, .. } = moment;
        match self.commands.iter_mut().find(|command| command.kind.is_empty()) {
            Some(command) => {
                (command.seq, command.kind) = (seq, kind);
                (command.name, command.value) = (name, value);
            }
            None => self.commands.push(Asked { seq, kind, name, value, backtrace: Vec::new() }),
        }
    }

    /// An outcome that the journal does not compare leaves a trace and no command.
    fn spread_traces(&mut self) {
        self.commands.retain(|command| !command.kind.is_empty());
    }
}

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::commands::runs::timeline::samples;

    /// A task that needed two attempts and a sleep, with everything that a replay can hear.
    pub(crate) fn journey() -> Journey {
        let views = samples::entries(samples::COMPLETED);
        let entries: Vec<_> = views.into_iter().map(|view| view.entry).collect();
        let line = serde_json::from_str(
            r#"{"at":"2026-05-01T09:30:00.001Z","level":"info","source":"workflow",
            "message":"asking for an email","attempt":1}"#,
        );
        let trace = "    0: 0x1f2 - onboarding.wasm!send_email::start\n      at src/lib.rs:12:5\n    \
            1: 0x3a0 - onboarding.wasm!onboarding";
        let first = Heard {
            logs: vec![line.unwrap()],
            published: Some(Payload::from_bytes(b"\"asking\"").unwrap()),
            traces: vec![trace.into()],
        };
        Journey::new(&entries, 0, [(1, first)].into(), None).unwrap()
    }

    #[test]
    fn each_activation_is_a_stop_with_what_happened_in_it() {
        let journey = journey();
        let stops: Vec<_> = journey
            .stops
            .iter()
            .map(|stop| {
                let commands = stop.commands.iter().map(|it| format!("{} {}", it.kind, it.name));
                let commands = commands.collect::<Vec<_>>().join(",");
                let behind = stop.behind.iter().map(|it| it.event.as_str()).collect::<Vec<_>>();
                format!(
                    "{} {} {} [{commands}] {} {} {behind:?}",
                    stop.seq,
                    stop.what,
                    stop.name,
                    stop.state.as_str(),
                    stop.pending_count
                )
            })
            .collect();
        insta::assert_snapshot!(stops.join("\n"));
        let asking = &journey.stops[1];
        assert_eq!(asking.commands[0].backtrace.len(), 3);
        assert_eq!(asking.logs[0].message, "asking for an email");
        // What is shown stays until something else is.
        assert!(journey.stops[0].published.is_none());
        assert!(journey.stops[1..].iter().all(|stop| stop.published.is_some()));
    }

    #[test]
    fn stops_are_found_by_position_and_by_words() {
        let journey = journey();
        let last = journey.stops.len() - 1;
        assert_eq!((journey.at_position(0), journey.at_position(3)), (0, 1));
        assert_eq!(journey.at_position(9_999), last);
        assert_eq!(journey.find("ADA@example", 1), Some(0), "it goes round");
        assert_eq!(journey.find("asking for an email", 0), Some(1));
        assert_eq!(journey.find("nowhere", 0), None);
    }
}
