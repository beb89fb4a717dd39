//! The sandbox as a real guest sees it: time stands still, chance repeats, the outside is not
//! there, and whatever a workflow does wrong ends in a clear error that harms nobody else.
#![allow(clippy::unwrap_used)]

mod support;

use everstep_core::StuckCause;
use everstep_core::{
    Activation, Command, Limits, LogLevel, LogSource, OpId, OpResult, Outcome, Payload, TimerDue,
    Timestamp,
};
use everstep_engine::{ActivationError, RunContext, WorkflowInstance};
use serde_json::Value;
use support::{completed, example, payload, run, start_at};

/// A quarter past midnight, 2024.
const BEGIN: u64 = 1_704_067_200_000;

fn context(number: u64, limits: Limits) -> RunContext {
    let (workflow, version) = ("sandbox-probe".into(), "1.0".into());
    RunContext { workflow, version, limits, ..run(number) }
}

fn probe(number: u64) -> WorkflowInstance {
    example("sandbox-probe").instantiate(context(number, Limits::default())).unwrap()
}

/// Does one deed and tells why the run got stuck.
fn deed(name: &str, limits: Limits) -> StuckCause {
    let mut instance = example("sandbox-probe").instantiate(context(1, limits)).unwrap();
    let input = payload(&format!(r#"{{"deed":"{name}"}}"#));
    match instance.activate(&start_at(BEGIN), &input) {
        Err(ActivationError::Stuck(cause)) => cause,
        other => panic!("{other:?}"),
    }
}

/// Executes the observing workflow to its end.
fn observe(number: u64) -> Vec<Activation> {
    let (mut instance, input) = (probe(number), payload("{}"));
    let deliveries = [
        start_at(BEGIN),
        completed(BEGIN + 61, 1, OpResult::Fired),
        completed(BEGIN + 70, 2, OpResult::Value(payload("\"2024-01-01T00:00:00.000Z\""))),
    ];
    deliveries.iter().map(|delivery| instance.activate(delivery, &input).unwrap()).collect()
}

fn output(activations: &[Activation]) -> Value {
    match &activations.last().unwrap().outcome {
        Some(Outcome::Completed(output)) => output.read().unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_executions_of_a_run_are_equal_to_the_last_bit() {
    let (first, second) = (observe(1), observe(1));
    assert_eq!(first, second);
    assert_eq!(
        first[0].commands,
        [Command::StartTimer { op: OpId(1), name: String::new(), due: TimerDue::After(50) }]
    );
    assert!(matches!(&first[1].commands[..], [Command::StartTask { op: OpId(2), .. }]));
    let other = output(&observe(2));
    for chance in ["random", "uuid", "getrandom", "random_state"] {
        assert_ne!(output(&first)[chance], other[chance], "{chance}");
    }
    assert_eq!(output(&first)["float_bits"], other["float_bits"]);
}

#[test]
fn time_is_the_time_of_the_completion() {
    let seen = output(&observe(1));
    assert_eq!(seen["now"], seen["system_time"]);
    let now: Timestamp = serde_json::from_value(seen["now"].clone())
        .unwrap_or_else(|_| Timestamp::from_millis(seen["now"].as_u64().unwrap()));
    assert_eq!(now.as_millis(), BEGIN + 70);
    assert_eq!((&seen["instant_moved_ms"], &seen["now_moved_ms"]), (&61.into(), &70.into()));
}

#[test]
fn the_outside_is_not_there() {
    let seen = output(&observe(1));
    assert_eq!(seen["environment"], Value::Array(vec![]));
    assert_eq!(seen["arguments"], Value::Array(vec![]));
    assert_eq!(seen["refused"].as_array().map(Vec::len), Some(1), "{}", seen["refused"]);
}

#[test]
fn printed_lines_are_logged_with_their_source() {
    let logs = &observe(1)[0].logs;
    let lines: Vec<_> = logs
        .iter()
        .filter(|line| line.source != LogSource::Workflow)
        .map(|line| (line.source, line.level, line.message.as_str()))
        .collect();
    assert_eq!(
        lines,
        [
            (LogSource::Stdout, LogLevel::Info, "a line on stdout"),
            (LogSource::Stderr, LogLevel::Warn, "a line on stderr"),
        ]
    );
    assert!(logs.iter().all(|line| line.at == Timestamp::from_millis(BEGIN)));
}

#[test]
fn a_panic_is_a_trap_with_the_message_and_the_place() {
    let cause = deed("trap", Limits::default());
    assert_eq!(cause.code, "guest.trap");
    for part in ["this workflow panics on purpose", "guest backtrace", "sandbox_probe"] {
        assert!(cause.message.contains(part), "no `{part}` in:\n{}", cause.message);
    }
}

#[test]
fn blocking_is_named_and_says_what_to_use() {
    let cause = deed("block", Limits::default());
    assert_eq!(cause.code, "guest.blocking");
    assert!(cause.message.contains("run.sleep"), "{}", cause.message);
    assert!(cause.message.contains("sleep"), "{}", cause.message);
}

#[test]
fn http_outside_of_a_task_is_refused() {
    let cause = deed("http", Limits::default());
    assert_eq!(cause.code, "guest.unavailable");
    assert!(cause.message.contains("do this in a task"), "{}", cause.message);
}

#[test]
fn an_endless_loop_runs_out_of_fuel() {
    let cause = deed("loop", Limits { fuel: 50_000_000, ..Limits::default() });
    assert_eq!(cause.code, "guest.fuel");
    assert!(cause.message.contains("guest backtrace"), "{}", cause.message);
}

#[test]
fn a_memory_bomb_hits_its_limit_and_not_the_host() {
    let cause = deed("memory", Limits { memory_bytes: 32 << 20, ..Limits::default() });
    assert_eq!(cause.code, "limit.memory");
    assert!(cause.message.contains("33554432"), "{}", cause.message);
}

#[test]
fn endless_recursion_is_trapped() {
    let cause = deed("recursion", Limits::default());
    // Rust's own stack lies in linear memory; which of the two ends first is up to its frames.
    assert!(["guest.stack", "guest.trap"].contains(&cause.code.as_str()), "{}", cause.code);
}

#[test]
fn a_missing_file_is_an_ordinary_error() {
    let input = payload(r#"{"deed":"file"}"#);
    let activation = probe(1).activate(&start_at(BEGIN), &input).unwrap();
    assert!(matches!(activation.outcome, Some(Outcome::Failed(_))), "{activation:?}");
}

#[test]
fn instances_move_between_threads() {
    let (mut instance, input): (_, Payload) = (probe(1), payload("{}"));
    let first = instance.activate(&start_at(BEGIN), &input).unwrap();
    let second = std::thread::spawn(move || {
        instance.activate(&completed(BEGIN + 61, 1, OpResult::Fired), &input).unwrap()
    });
    assert_eq!([first, second.join().unwrap()], observe(1)[..2]);
}
