//! A host for unit tests: it writes down what the guest asks, numbers operations 1, 2, 3 … as the
//! real one does, and answers nothing by itself. One per thread, so tests do not meet.

use std::cell::RefCell;

/// What has been asked so far, one line per call.
#[derive(Default)]
struct Record {
    calls: Vec<String>,
    operations: u64,
}

thread_local! {
    static RECORD: RefCell<Record> = RefCell::default();
}

/// Takes the calls made since the last time.
pub(crate) fn calls() -> Vec<String> {
    RECORD.with_borrow_mut(|record| std::mem::take(&mut record.calls))
}

/// A destructor may run while the thread ends; then nobody is left to read the record.
fn note(call: String) {
    let _ = RECORD.try_with(|record| record.borrow_mut().calls.push(call));
}

fn register(call: &str) -> u64 {
    RECORD.with_borrow_mut(|record| {
        record.operations += 1;
        record.calls.push(format!("{} = {call}", record.operations));
        record.operations
    })
}

fn text(payload: &[u8]) -> &str {
    std::str::from_utf8(payload).unwrap_or("not UTF-8")
}

pub(crate) mod context {
    pub(crate) fn id() -> String {
        "run-1".into()
    }
    pub(crate) fn name() -> String {
        "recorded".into()
    }
    pub(crate) fn version() -> String {
        "1.0".into()
    }
    pub(crate) fn attempt() -> u32 {
        1
    }
    pub(crate) fn options() -> Vec<u8> {
        br#"{"idempotency_key":"k","retry":{"kind":"fixed","max_attempts":2,"delay_ms":5}}"#.into()
    }
    pub(crate) fn parent() -> Option<String> {
        None
    }
    pub(crate) fn now() -> u64 {
        1_000
    }
    pub(crate) fn random() -> u64 {
        0x0123_4567_89ab_cdef
    }
}

pub(crate) mod logger {
    pub(crate) use crate::bindings::everstep::workflow::logger::Level;
    pub(crate) fn log(level: Level, message: &str, fields: &[u8]) {
        super::note(format!("log {level:?} {message} {}", super::text(fields)));
    }
}

pub(crate) mod operations {
    pub(crate) fn cancel(op: u64) {
        super::note(format!("cancel {op}"));
    }
}

pub(crate) mod outcome {
    use crate::bindings::everstep::workflow::types::Failure;
    pub(crate) fn complete(output: &[u8]) {
        super::note(format!("complete {}", super::text(output)));
    }
    pub(crate) fn fail(failure: &Failure) {
        super::note(format!("fail {}: {}", failure.code, failure.message));
    }
    pub(crate) fn cancelled() {
        super::note("cancelled".into());
    }
    pub(crate) fn continue_as_new(input: &[u8]) {
        super::note(format!("continue {}", super::text(input)));
    }
}

pub(crate) mod events {
    pub(crate) use crate::bindings::everstep::workflow::events::{RunKey, Target};
    pub(crate) fn wait(name: &str, timeout: Option<u64>) -> u64 {
        let timeout = timeout.map(|ms| format!(" within {ms}")).unwrap_or_default();
        super::register(&format!("wait {name}{timeout}"))
    }
    pub(crate) fn send(to: &Target, name: &str, data: &[u8], _: Option<&str>) -> u64 {
        super::register(&format!("send {name} {} to {to:?}", super::text(data)))
    }
}

pub(crate) mod children {
    pub(crate) use crate::bindings::everstep::workflow::children::{Child, OnParentEnd, Options};
    pub(crate) fn start(workflow: &str, input: &[u8], options: &Options) -> Child {
        let version = options.version.as_deref().unwrap_or("newest");
        let call = format!("child {workflow} {version} {}", super::text(input));
        let op = super::register(&call);
        Child { op, run_id: format!("child-{op}") }
    }
}

pub(crate) mod state {
    pub(crate) fn publish(value: &[u8]) {
        super::note(format!("publish {}", super::text(value)));
    }
    pub(crate) fn recall(_: &str) -> Option<Vec<u8>> {
        None
    }
    pub(crate) fn record(name: &str, value: &[u8]) {
        super::note(format!("record {name} {}", super::text(value)));
    }
}

pub(crate) mod control {
    pub(crate) fn heartbeat(progress: &[u8]) {
        super::note(format!("heartbeat {}", super::text(progress)));
    }
    pub(crate) fn progress() -> Option<Vec<u8>> {
        Some(b"7".to_vec())
    }
    pub(crate) fn is_cancelled() -> bool {
        false
    }
    pub(crate) fn secret(_: &str) -> Option<String> {
        None
    }
}

pub(crate) mod task {
    pub(crate) use crate::bindings::everstep::workflow::task::{
        ExponentialRetry, FixedRetry, Options, RetryPolicy,
    };
    pub(crate) fn start(name: &str, input: &[u8], options: Options) -> u64 {
        let timeout = options.attempt_timeout.map(|ms| format!(" within {ms}")).unwrap_or_default();
        super::register(&format!("{name} {}{timeout}", super::text(input)))
    }
}

pub(crate) mod timer {
    pub(crate) fn sleep(duration: u64, name: &str) -> u64 {
        super::register(&format!("sleep {duration}{name}"))
    }
    pub(crate) fn sleep_until(instant: u64, name: &str) -> u64 {
        super::register(&format!("sleep until {instant}{name}"))
    }
}
