//! The chaos suite, tested itself: evidence that is in order passes, every kind of doctored evidence is
//! found out, and half a minute of chaos with real processes breaks no promise. `make chaos` does more of
//! the last.
#![allow(clippy::unwrap_used)]

use everstep_client::{EntryView, RunId, StateKind, Timestamp};
use everstep_tests::Line;
use everstep_tests::chaos::{
    Disturbance, Ending, Evidence, Plan, Promise, Sighting, Stored, check, run,
};
use serde_json::{Value, json};
use std::time::Duration;

const T: u64 = 1_800_000_000_000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(T + millis)
}

fn entry(seq: u64, millis: u64, kind: &str, data: &Value) -> EntryView {
    // Payloads are kept as they are written, so it has to be text, with the type in front of the data.
    let event = format!(r#"{{"type":"{kind}","data":{data}}}"#);
    let entry = format!(r#"{{"at":{},"event":{event}}}"#, json!(at(millis)));
    let view = format!(r#"{{"seq":{seq},"entry":{entry}}}"#);
    serde_json::from_str(&view).unwrap_or_else(|error| panic!("{kind}: {error}"))
}

fn line(run: RunId, op: u64, phase: &str, millis: u64, host: &str) -> Line {
    let value = (phase == "end").then(|| format!("value {op}"));
    let body =
        json!({ "token": format!("{run}/{op}"), "phase": phase, "host": host, "value": value });
    Line { at: at(millis), body }
}

fn scheduled(seq: u64, millis: u64, op: u64) -> EntryView {
    let options = serde_json::to_value(everstep_core::TaskOptions::default()).unwrap();
    let hash = everstep_core::Payload::null().hash();
    let data =
        json!({ "op": op, "name": "step", "input": null, "input_hash": hash, "options": options });
    entry(seq, millis, "TaskScheduled", &data)
}

/// Two steps with a sleep after each, an event, and everything as promised.
fn in_order() -> (Evidence, RunId) {
    let run = RunId::from_key("crash", "1");
    let journal = vec![
        entry(0, 0, "AttemptStarted", &json!({ "attempt": 1 })),
        scheduled(1, 0, 1),
        entry(2, 30, "TaskCompleted", &json!({ "op": 1, "output": "value 1" })),
        entry(3, 30, "TimerStarted", &json!({ "op": 2, "due": at(130) })),
        entry(4, 131, "TimerFired", &json!({ "op": 2 })),
        scheduled(5, 131, 3),
        entry(6, 150, "TaskCompleted", &json!({ "op": 3, "output": "value 3" })),
        entry(7, 150, "TimerStarted", &json!({ "op": 4, "due": at(250) })),
        entry(
            8,
            160,
            "EventReceived",
            &json!({ "event": { "name": "never", "data": null, "reference": "event-1" } }),
        ),
        entry(9, 250, "TimerFired", &json!({ "op": 4 })),
        entry(10, 250, "RunCompleted", &json!({ "output": null })),
    ];
    let ledger = vec![
        line(run, 1, "begin", 10, "host-1"),
        line(run, 1, "end", 20, "host-1"),
        line(run, 3, "begin", 135, "host-2"),
        line(run, 3, "end", 140, "host-2"),
    ];
    let sighting = Sighting { run, asked: at(34), seen: at(40), journal: journal[..4].to_vec() };
    let output = Some(json!({ "values": ["value 1", "value 3"] }));
    let ending = Ending { state: Some(StateKind::Completed), output, journal };
    let evidence = Evidence {
        starts: vec![run],
        events: vec![(run, "event-1".to_owned())],
        sightings: vec![sighting],
        endings: [(run, ending)].into(),
        ledger,
        disturbances: Vec::new(),
    };
    (evidence, run)
}

fn ending(evidence: &mut Evidence) -> &mut Ending {
    evidence.endings.values_mut().next().unwrap()
}

/// Puts an entry in front of a position, and counts the positions anew.
fn insert(evidence: &mut Evidence, place: usize, view: EntryView) {
    let journal = &mut ending(evidence).journal;
    journal.insert(place, view);
    (0..).zip(journal).for_each(|(seq, view)| view.seq = seq);
}

fn remove(evidence: &mut Evidence, place: usize) {
    let journal = &mut ending(evidence).journal;
    journal.remove(place);
    (0..).zip(journal).for_each(|(seq, view)| view.seq = seq);
}

#[test]
fn what_is_in_order_passes() {
    let verdict = check(&in_order().0);
    assert!(verdict.violations.is_empty(), "{verdict:?}");
    assert_eq!(verdict.excused, 0);
}

type Doctor = fn(&mut Evidence, RunId);

/// What is done to the evidence, and the promise that is broken by it.
const DOCTORED: &[(&str, Promise, Doctor)] = &[
    ("a run is not there", Promise::Acknowledged, |evidence, _| evidence.endings.clear()),
    ("an event is not there", Promise::Acknowledged, |evidence, _| remove(evidence, 8)),
    ("an event came twice", Promise::Acknowledged, |evidence, _| {
        let again = ending(evidence).journal[8].clone();
        insert(evidence, 9, again);
    }),
    ("a run does not end", Promise::Ends, |evidence, _| {
        ending(evidence).state = Some(StateKind::Running);
    }),
    ("a run failed", Promise::Ends, |evidence, _| {
        ending(evidence).state = Some(StateKind::Failed);
    }),
    ("nobody answers", Promise::Ends, |evidence, _| *ending(evidence) = Ending::default()),
    ("a task completed twice", Promise::Results, |evidence, _| {
        insert(
            evidence,
            7,
            entry(7, 150, "TaskCompleted", &json!({ "op": 3, "output": "value 3" })),
        );
    }),
    ("the run saw another result", Promise::Results, |evidence, _| {
        ending(evidence).output = Some(json!({ "values": ["value 1", "other"] }));
    }),
    ("the run has no output", Promise::Results, |evidence, _| {
        ending(evidence).output = Some(json!({ "values": [] }));
    }),
    ("a result that no attempt had", Promise::Witnessed, |evidence, _| {
        evidence.ledger[1].body["value"] = "other".into();
    }),
    ("a task began again after the next one", Promise::NotRepeated, |evidence, run| {
        evidence.ledger.push(line(run, 1, "begin", 200, "host-3"));
    }),
    ("a task began again after its result was seen", Promise::NotRepeated, |evidence, run| {
        evidence.ledger.insert(2, line(run, 1, "begin", 60, "host-3"));
    }),
    ("another host was disturbed", Promise::NotRepeated, |evidence, run| {
        evidence.ledger.push(line(run, 1, "begin", 200, "host-3"));
        evidence.disturbances.push(disturbance("host-2", 0, 300));
    }),
    ("the host was disturbed long ago", Promise::NotRepeated, |evidence, run| {
        evidence.ledger.push(line(run, 1, "begin", 200, "host-3"));
        evidence.disturbances.push(disturbance("host-3", 0, 199));
    }),
    ("a task began before the one in front of it ended", Promise::NotBefore, |evidence, run| {
        // Its timer is not what is wrong here.
        remove(evidence, 4);
        remove(evidence, 3);
        evidence.sightings.clear();
        evidence.ledger.insert(1, line(run, 3, "begin", 15, "host-2"));
    }),
    ("a timer fired early", Promise::Timers, |evidence, _| {
        ending(evidence).journal[4].entry.at = at(129);
    }),
    ("the clock of a host was ahead", Promise::Timers, |evidence, _| {
        evidence.ledger[2].at = at(100);
    }),
    ("a timer fired twice", Promise::Timers, |evidence, _| {
        insert(evidence, 5, entry(5, 131, "TimerFired", &json!({ "op": 2 })));
    }),
    ("a timer never fired", Promise::Timers, |evidence, _| remove(evidence, 9)),
    ("an entry changed", Promise::OneHistory, |evidence, _| {
        evidence.sightings[0].journal[2] =
            entry(2, 30, "TaskCompleted", &json!({ "op": 1, "output": "other" }));
    }),
    ("an entry vanished", Promise::OneHistory, |evidence, run| {
        let journal = ending(evidence).journal[..3].to_vec();
        evidence.sightings.push(Sighting { run, asked: at(41), seen: at(45), journal });
    }),
    ("more was seen than there is", Promise::OneHistory, |evidence, run| {
        let journal = ending(evidence).journal.clone();
        evidence.sightings.push(Sighting { run, asked: at(300), seen: at(310), journal });
        let ending = ending(evidence);
        ending.journal.pop();
    }),
    ("a position is missing", Promise::OneHistory, |evidence, _| {
        ending(evidence).journal[10].seq = 11;
    }),
    ("the journal goes back in time", Promise::OneHistory, |evidence, _| {
        ending(evidence).journal[8].entry.at = at(149);
    }),
];

fn disturbance(host: &str, from: u64, until: u64) -> Disturbance {
    Disturbance { host: host.to_owned(), from: at(from), until: at(until) }
}

#[test]
fn whatever_is_doctored_is_found_out() {
    for (name, promise, doctor) in DOCTORED {
        let (mut evidence, run) = in_order();
        doctor(&mut evidence, run);
        let violations = check(&evidence).violations;
        assert!(!violations.is_empty(), "{name}: nothing was found");
        for violation in violations {
            assert_eq!(
                (violation.promise, violation.run),
                (*promise, Some(run)),
                "{name}: {violation:?}"
            );
        }
    }
}

/// No lease can call back what a host had been told before it stood still.
#[test]
fn a_host_that_stood_still_may_be_late_and_that_is_counted() {
    let (mut evidence, run) = in_order();
    evidence.ledger.push(line(run, 1, "begin", 200, "host-3"));
    evidence.disturbances.push(disturbance("host-3", 5, 400));
    let verdict = check(&evidence);
    assert!(verdict.violations.is_empty(), "{verdict:?}");
    assert_eq!(verdict.excused, 1);
}

/// As long as a test may take. Which faults there are follows from the seed; how many, from the machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_minute_of_chaos_breaks_no_promise() {
    let folder = tempfile::tempdir().unwrap();
    let lasts = Duration::from_secs(22);
    let plan = Plan { stored: Stored::Redis, lasts, seed: 7, folder: folder.path().to_path_buf() };
    let report = run(&plan).await;
    eprintln!("{report}");
    if !report.is_good() {
        panic!("promises were broken; what was seen lies in {}", folder.keep().display());
    }
    assert!(report.faults.iter().map(|(_, count)| count).sum::<u64>() >= 3, "too few faults");
    assert!(report.completed >= 5 && report.effects >= 10, "too little was done");
}
