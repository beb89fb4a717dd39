//! Hand-made runs and journals for the tests of the timeline and of waits.
#![allow(clippy::unwrap_used)]

use everstep_client::{EntryView, RunView, Timestamp};

/// So many milliseconds after the start of the samples.
pub(crate) fn at(millis: u64) -> Timestamp {
    "2026-05-01T09:30:00Z".parse::<Timestamp>().unwrap().plus(millis)
}

/// A journal from events and the milliseconds at which they happened.
pub(crate) fn entries(events: &[(u64, &str)]) -> Vec<EntryView> {
    let views = events.iter().zip(0..).map(|((millis, event), seq)| {
        let entry =
            format!(r#"{{"seq":{seq},"entry":{{"at":"{}","event":{event}}}}}"#, at(*millis));
        serde_json::from_str(&entry).unwrap_or_else(|e| panic!("{e}: {entry}"))
    });
    views.collect()
}

/// A completed run.
pub(crate) fn run() -> RunView {
    serde_json::from_str(
        r#"{"id":"0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f","workflow":"onboarding","version":"1.0",
        "digest":"sha256:0707070707070707070707070707070707070707070707070707070707070707",
        "state":"completed","attempt":1,"started_at":"2026-05-01T09:30:00.000Z",
        "updated_at":"2026-05-01T09:30:09.050Z","pending":0,"journal_length":9,"log_lines":2,
        "options":{"idempotency_key":"ada","tags":{"env":"test","team":"growth"}},
        "input":{"email":"ada@example.com"},"output":{"user":7}}"#,
    )
    .unwrap()
}

/// A run that sleeps while two other operations are pending.
pub(crate) fn sleeping() -> RunView {
    serde_json::from_str(
        r#"{"id":"0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f","workflow":"onboarding","version":"1.0",
        "digest":"sha256:0707070707070707070707070707070707070707070707070707070707070707",
        "state":"sleeping","attempt":1,"started_at":"2026-05-01T09:30:00.000Z",
        "updated_at":"2026-05-01T09:30:00.003Z","pending":53,"journal_length":5,"log_lines":0,
        "timer":"a day","wakeup_at":"2026-05-02T09:30:00.002Z","options":{},"operations":[
        {"op":1,"kind":"timer","name":"a day","due":"2026-05-02T09:30:00.002Z"},
        {"op":2,"kind":"task","name":"load","attempt":2,"due":"2026-05-01T09:31:05.000Z"},
        {"op":3,"kind":"task","name":"load","attempt":1}]}"#,
    )
    .unwrap()
}

/// A run whose code has changed under it.
pub(crate) fn stuck() -> RunView {
    let cause = r#"{"code":"divergence","message":"at journal position 2\n  the journal has   timer\n  the code asks for task load","remedy":"upload the code that started the run"}"#;
    RunView {
        state: everstep_client::StateKind::Stuck,
        stuck: Some(serde_json::from_str(cause).unwrap()),
        operations: None,
        ..sleeping()
    }
}

/// The first entry.
pub(crate) const STARTED: &str = r#"{"type":"RunStarted","data":{"origin":{
    "id":"0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f","workflow":"onboarding","version":"1.0",
    "digest":"sha256:0707070707070707070707070707070707070707070707070707070707070707","engine":1,
    "limits":{},"input_hash":"00000000000000000000000000000000","options":{},
    "started_at":"2026-05-01T09:30:00.000Z"},
    "input":{"email":"ada@example.com"},"due":"2026-05-01T09:30:00.000Z"}}"#;
/// The second.
pub(crate) const ATTEMPT: &str = r#"{"type":"AttemptStarted","data":{"attempt":1}}"#;
const SEND: &str = r#"{"type":"TaskScheduled","data":{"op":1,"name":"send-email",
    "input":{"to":"ada@example.com","subject":"Please confirm that this address is yours"},
    "input_hash":"00000000000000000000000000000000","options":{}}}"#;
const SEND_FAILED: &str = r#"{"type":"TaskAttemptFailed","data":{"op":1,"attempt":1,
    "failure":{"code":"smtp.busy","message":"try later"},"retry_at":"2026-05-01T09:30:01.020Z"}}"#;
const SENT: &str = r#"{"type":"TaskCompleted","data":{"op":1,"output":null,"attempts":2}}"#;

/// A task that needed two attempts, and a sleep.
pub(crate) const COMPLETED: &[(u64, &str)] = &[
    (0, STARTED),
    (1, ATTEMPT),
    (1, SEND),
    (20, SEND_FAILED),
    (1_050, SENT),
    (
        1_050,
        r#"{"type":"TimerStarted","data":{"op":2,"name":"a while","due":"2026-05-01T09:30:09.050Z"}}"#,
    ),
    (9_050, r#"{"type":"TimerFired","data":{"op":2}}"#),
    (9_050, r#"{"type":"RunCompleted","data":{"output":{"user":7}}}"#),
];

/// Three pending operations.
pub(crate) const SLEEPING: &[(u64, &str)] = &[
    (0, STARTED),
    (1, ATTEMPT),
    (
        2,
        r#"{"type":"TimerStarted","data":{"op":1,"name":"a day","due":"2026-05-02T09:30:00.002Z"}}"#,
    ),
    (
        2,
        r#"{"type":"TaskScheduled","data":{"op":2,"name":"load","input":1,
        "input_hash":"00000000000000000000000000000000","options":{}}}"#,
    ),
    (
        3,
        r#"{"type":"TaskScheduled","data":{"op":3,"name":"load","input":2,
        "input_hash":"00000000000000000000000000000000","options":{}}}"#,
    ),
];

/// A failed attempt of the run, a second one that reuses its results, and a cancel.
pub(crate) const RETRIED: &[(u64, &str)] = &[
    (0, STARTED),
    (1, ATTEMPT),
    (1, SEND),
    (9, r#"{"type":"TaskCompleted","data":{"op":1,"output":true}}"#),
    (
        9,
        r#"{"type":"AttemptFailed","data":{"attempt":1,"retry_at":"2026-05-01T09:30:05.009Z",
        "failure":{"code":"workflow.error","message":"the second\nstep is broken"}}}"#,
    ),
    (5_009, r#"{"type":"AttemptStarted","data":{"attempt":2}}"#),
    (
        5_009,
        r#"{"type":"TaskScheduled","data":{"op":2,"name":"send-email","input":1,"reuses":1,
        "input_hash":"00000000000000000000000000000000","options":{}}}"#,
    ),
    (
        5_009,
        r#"{"type":"TaskScheduled","data":{"op":3,"name":"charge","input":{"cents":100},
        "input_hash":"00000000000000000000000000000000","options":{}}}"#,
    ),
    (
        5_020,
        r#"{"type":"CancelRequested","data":{"reason":"ordered twice",
        "deadline":"2026-05-01T09:30:35.020Z"}}"#,
    ),
    (5_021, r#"{"type":"Delivered","data":{"seq":8}}"#),
    (5_021, r#"{"type":"OperationCancelled","data":{"op":3}}"#),
    (5_022, r#"{"type":"RunCancelled","data":{"reason":"ordered twice"}}"#),
];
