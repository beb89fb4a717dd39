//! Activations: what a guest asks for comes back as commands, and a guest that breaks the contract
//! or its limits leaves a stuck cause with a stable code, never a broken host.
#![allow(clippy::unwrap_used)]

mod support;

use everstep_core::StuckCause;
use everstep_core::{
    Activation, Command, Completion, Failure, Limits, LogLevel, LogSource, OpId, OpResult, Outcome,
    RetryPolicy, TaskOptions, TimerDue, Timestamp,
};
use everstep_engine::{ActivationError, Engine, EngineOptions};
use std::time::Duration;
use support::{Guest, completed, deliver, engine, instance, options, payload, run, start_at};

const IMPORTS: &str = r#"
    (import "everstep:workflow/timer@0.1.0" "sleep"
      (func $sleep (param i64 i32 i32) (result i64)))
    (import "everstep:workflow/task@0.1.0" "start"
      (func $start (param i32 i32 i32 i32 i32 i32 i32 i64 f64 i64 i32 i32 i64 i32 i64)
        (result i64)))
    (import "everstep:workflow/operations@0.1.0" "cancel" (func $cancel (param i64)))
    (import "everstep:workflow/outcome@0.1.0" "complete" (func $complete (param i32 i32)))
    (import "everstep:workflow/outcome@0.1.0" "cancelled" (func $cancelled))
    (import "everstep:workflow/context@0.1.0" "now" (func $now (result i64)))
    (import "everstep:workflow/context@0.1.0" "random" (func $random (result i64)))
    (import "everstep:workflow/logger@0.1.0" "log" (func $log (param i32 i32 i32 i32 i32)))"#;

/// Registers a sleep of a second with an empty name.
const SLEEP: &str = "(drop (call $sleep (i64.const 1000) (i32.const 0) (i32.const 0)))";

/// Completes with the four bytes at 1000.
const COMPLETE: &str = "(call $complete (i32.const 1000) (i32.const 4))";

fn guest<'a>(start: &'a str, resume: &'a str) -> Guest<'a> {
    Guest { imports: IMPORTS, start, resume, ..Guest::default() }
}

fn first(start: &str) -> Result<Activation, ActivationError> {
    instance(&engine(), &guest(start, "")).activate(&start_at(5), &payload("1"))
}

fn stuck(start: &str) -> StuckCause {
    cause(first(start))
}

fn cause(result: Result<Activation, ActivationError>) -> StuckCause {
    match result.unwrap_err() {
        ActivationError::Stuck(cause) => cause,
        other => panic!("{other:?}"),
    }
}

#[test]
fn commands_come_back_in_order_and_completions_go_in() {
    let start = format!("{SLEEP} {SLEEP} (call $cancel (i64.const 7))");
    let mut instance = instance(&engine(), &guest(&start, COMPLETE));
    let start = Completion::Start { attempt: 2, first_op: OpId(7) };
    let activation = instance.activate(&deliver(5, start), &payload("1")).unwrap();
    let due = TimerDue::After(1_000);
    assert_eq!(
        activation.commands,
        [
            Command::StartTimer { op: OpId(7), name: String::new(), due },
            Command::StartTimer { op: OpId(8), name: String::new(), due },
            Command::CancelOperation { op: OpId(7) },
        ]
    );
    assert_eq!(activation.outcome, None);
    assert!(instance.fuel_used() > 0 && instance.memory_bytes() == 2 << 16);
    let activation = instance.activate(&completed(6, 8, OpResult::Fired), &payload("1")).unwrap();
    assert_eq!(activation.outcome, Some(Outcome::Completed(payload("null"))));
    assert!(activation.commands.is_empty());
}

#[test]
fn every_kind_of_result_reaches_the_guest() {
    let failure = Failure::new("a.b", "c");
    let results = [
        OpResult::Value(payload("[1]")),
        OpResult::Fired,
        OpResult::Failed(Failure { details: Some(payload("{}")), ..failure }),
        OpResult::TimedOut,
        OpResult::Cancelled,
    ];
    // Logs as many bytes of the data as the number of the variant.
    let resume = "(call $log (i32.const 2) (i32.const 1000) (local.get 2) (i32.const 0)
        (i32.const 0))";
    let guest = Guest { data: "0123456789", ..guest(SLEEP, resume) };
    let mut instance = instance(&engine(), &guest);
    instance.activate(&start_at(5), &payload("1")).unwrap();
    for (number, result) in results.into_iter().enumerate() {
        let activation = instance.activate(&completed(9, 1, result), &payload("1")).unwrap();
        assert_eq!(activation.logs[0].message, "0123456789"[..number]);
    }
    let stop = Completion::CancelRequested { reason: "enough".into() };
    instance.activate(&deliver(10, stop), &payload("1")).unwrap();
}

/// Starts a task with name and input from the data at 1000, and only a total timeout of 9 ms.
fn start_task(name_len: u32, input: u32, input_len: u32) -> String {
    format!(
        "(drop (call $start (i32.const 1000) (i32.const {name_len})
           (i32.const {input}) (i32.const {input_len})
           (i32.const 0) (i32.const 0) (i32.const 0) (i64.const 0) (f64.const 0) (i64.const 0)
           (i32.const 0) (i32.const 0) (i64.const 0) (i32.const 1) (i64.const 9)))"
    )
}

#[test]
fn a_task_gets_the_options_of_the_guest_and_then_of_the_manifest() {
    let body = start_task(1, 1_001, 2);
    let guest = Guest { data: "t42", ..guest(&body, "") };
    let activation = instance(&engine(), &guest).activate(&start_at(5), &payload("1")).unwrap();
    let options =
        TaskOptions { retry: None, attempt_timeout_ms: Some(7), total_timeout_ms: Some(9) };
    assert_eq!(options.retry_policy(), RetryPolicy::TASK_DEFAULT);
    assert_eq!(
        activation.commands,
        [Command::StartTask { op: OpId(1), name: "t".into(), input: payload("42"), options }]
    );
}

#[test]
fn tasks_that_cannot_be_are_refused() {
    let refused = |data: &str, body: &str| {
        let guest = Guest { data, ..guest(body, "") };
        cause(instance(&engine(), &guest).activate(&start_at(5), &payload("1")))
    };
    let unknown = refused("x1", &start_task(1, 1_001, 1));
    assert_eq!(unknown.code, "task.unknown");
    assert!(unknown.message.contains("no task `x`; it lists t"), "{}", unknown.message);
    let not_json = refused("t{", &start_task(1, 1_001, 1));
    assert_eq!(not_json.code, "guest.contract");
    assert!(not_json.message.contains("not a JSON value"), "{}", not_json.message);
    assert_eq!(refused("t1", &start_task(300, 1_001, 1)).code, "limit.name_bytes");
}

#[test]
fn log_lines_carry_the_time_of_the_completion() {
    let log = "(call $log (i32.const 3) (i32.const 1000) (i32.const 2) (i32.const 1002)
        (i32.const 2))";
    let guest = Guest { data: "hi{}", ..guest(log, "") };
    let activation = instance(&engine(), &guest).activate(&start_at(77), &payload("1")).unwrap();
    let line = &activation.logs[0];
    assert_eq!((line.level, line.source), (LogLevel::Warn, LogSource::Workflow));
    assert_eq!((line.at, line.attempt), (Timestamp::from_millis(77), 1));
    assert_eq!((line.message.as_str(), line.op), ("hi", None));
    assert_eq!(line.fields, Some(payload("{}")));
}

#[test]
fn the_same_run_draws_the_same_numbers_in_every_attempt() {
    // Sleeps for a random and the current number of milliseconds.
    let start = "(drop (call $sleep (i64.and (call $random) (i64.const 0xffff)) (i32.const 0)
        (i32.const 0))) (drop (call $sleep (call $now) (i32.const 0) (i32.const 0)))";
    let module = engine().compile(&guest(start, "").build()).unwrap();
    let commands = |number, attempt| {
        let context = everstep_engine::RunContext { attempt, ..run(number) };
        let mut instance = module.instantiate(context).unwrap();
        instance.activate(&start_at(5), &payload("1")).unwrap().commands
    };
    assert_eq!(commands(1, 1), commands(1, 2));
    assert_ne!(commands(1, 1), commands(2, 1));
    let due = TimerDue::After(5);
    assert_eq!(commands(1, 1)[1], Command::StartTimer { op: OpId(2), name: String::new(), due });
}

#[test]
fn a_run_ends_once() {
    let twice = stuck(&format!("{COMPLETE} (call $cancelled)"));
    assert_eq!(twice.code, "guest.contract");
    assert!(twice.message.contains("second outcome"), "{}", twice.message);
    let after = stuck(&format!("{COMPLETE} {SLEEP}"));
    assert!(after.message.contains("after the outcome"), "{}", after.message);
    // Futures that are dropped after the end cancel their operations: that asks for nothing.
    let ended = first(&format!("{SLEEP} {COMPLETE} (call $cancel (i64.const 1))")).unwrap();
    assert_eq!(ended.commands.len(), 1);
    let unknown = stuck("(call $cancel (i64.const 1))");
    assert!(unknown.message.contains("never registered"), "{}", unknown.message);
}

#[test]
fn traps_name_the_place_and_poison_the_instance() {
    let guest =
        Guest { extra: "(func $deep_inside unreachable)", ..guest("(call $deep_inside)", "") };
    let mut instance = instance(&engine(), &guest);
    let trap = cause(instance.activate(&start_at(5), &payload("1")));
    assert_eq!(trap.code, "guest.trap");
    assert!(trap.message.contains("deep_inside"), "{}", trap.message);
    assert!(trap.remedy.len() > 20);
    let again = instance.activate(&start_at(5), &payload("1")).unwrap_err();
    assert_eq!(again, ActivationError::Discarded);
}

#[test]
fn endless_loops_and_recursion_end_deterministically() {
    let module = engine().compile(&guest("(loop $l (br $l))", "").build()).unwrap();
    let limits = Limits { fuel: 1_000_000, ..Limits::default() };
    let used: Vec<u64> = (0..2)
        .map(|_| {
            let context = everstep_engine::RunContext { limits, ..run(1) };
            let mut instance = module.instantiate(context).unwrap();
            let stopped = cause(instance.activate(&start_at(5), &payload("1")));
            assert_eq!(stopped.code, "guest.fuel");
            assert!(stopped.message.contains("1000000"), "{}", stopped.message);
            instance.fuel_used()
        })
        .collect();
    assert_eq!(used[0], used[1]);
    let guest = Guest { extra: "(func $down (call $down))", ..guest("(call $down)", "") };
    let deep = cause(instance(&engine(), &guest).activate(&start_at(5), &payload("1")));
    assert_eq!(deep.code, "guest.stack");
}

#[test]
fn an_activation_over_its_real_time_is_the_hosts_affair() {
    let hurried =
        Engine::new(EngineOptions { activation_timeout: Duration::from_millis(20), ..options() })
            .unwrap();
    let mut instance = hurried
        .compile(&guest("(loop $l (br $l))", "").build())
        .unwrap()
        .instantiate(everstep_engine::RunContext {
            limits: Limits { fuel: u64::MAX / 2, ..Limits::default() },
            ..run(1)
        })
        .unwrap();
    let error = instance.activate(&start_at(5), &payload("1")).unwrap_err();
    assert_eq!(error, ActivationError::Interrupted);
}

#[test]
fn limits_of_a_run_hold() {
    let limited = |limits: Limits, start: &str| {
        let module = engine().compile(&guest(start, "").build()).unwrap();
        let context = everstep_engine::RunContext { limits, ..run(1) };
        let mut instance = module.instantiate(context).unwrap();
        cause(instance.activate(&start_at(5), &payload("1"))).code
    };
    let none = Limits::default();
    let two = Limits { commands_per_activation: 1, ..none };
    assert_eq!(limited(two, &format!("{SLEEP} {SLEEP}")), "limit.commands_per_activation");
    let tiny = Limits { payload_bytes: 3, ..none };
    assert_eq!(limited(tiny, COMPLETE), "limit.payload_bytes");
    let long = "(drop (call $sleep (i64.const -1) (i32.const 0) (i32.const 0)))";
    assert_eq!(limited(none, long), "limit.sleep");
    // Growing fails with -1; a guest that gives up on that has hit its memory limit.
    let greedy = "(if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then unreachable))";
    let small = Limits { memory_bytes: 4 << 16, ..none };
    assert_eq!(limited(small, greedy), "limit.memory");
}

#[test]
fn a_guest_that_needs_more_than_its_memory_does_not_start() {
    let module = engine().compile(&Guest::default().build()).unwrap();
    let with = |memory_bytes| everstep_engine::RunContext {
        limits: Limits { memory_bytes, ..Limits::default() },
        ..run(1)
    };
    let error = module.instantiate(with(1 << 16)).unwrap_err();
    assert!(matches!(&error, ActivationError::Stuck(it) if it.code == "limit.memory"), "{error:?}");
    let error = module.instantiate(with(1 << 40)).unwrap_err();
    assert!(matches!(error, ActivationError::OutOfMemory(_)));
}

#[test]
fn a_full_engine_says_so() {
    let engine =
        Engine::new(EngineOptions { max_instances: 2, max_tasks: 1, ..options() }).unwrap();
    let module = engine.compile(&Guest::default().build()).unwrap();
    let mut held: Vec<_> = (0..3).map(|n| module.instantiate(run(n)).unwrap()).collect();
    assert_eq!(module.instantiate(run(9)).unwrap_err(), ActivationError::Capacity);
    held.pop();
    module.instantiate(run(9)).unwrap();
}

/// What a guest hands over stands in the host's memory until it is durable.
#[test]
fn the_values_of_one_activation_are_bounded_together() {
    let data = format!("\"{}\"", "x".repeat(16_000));
    let publish = r#"(import "everstep:workflow/state@0.1.0" "publish"
        (func $publish (param i32 i32)))"#;
    let flood = Guest {
        imports: publish,
        data: &data,
        start: "(loop $l (call $publish (i32.const 1000) (i32.const 16002)) (br $l))",
        ..Guest::default()
    };
    let stopped = cause(instance(&engine(), &flood).activate(&start_at(5), &payload("1")));
    assert_eq!(stopped.code, "limit.activation_bytes");
    let once = "(call $publish (i32.const 1000) (i32.const 16002))";
    let large = Guest { start: once, imports: publish, data: &data, ..Guest::default() };
    let activation = instance(&engine(), &large).activate(&start_at(5), &payload("1")).unwrap();
    assert_eq!(activation.published, Some(payload(&data)));
}
