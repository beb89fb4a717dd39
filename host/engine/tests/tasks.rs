//! Tasks: real clocks, outbound HTTP to granted hosts and no others, logs, bounds.
#![allow(clippy::unwrap_used)]

mod support;

use everstep_core::{LogLevel, LogSource, OpId, Payload, RunId, Timestamp};
use everstep_engine::{Engine, EngineOptions, Module, TaskError, TaskOutcome, TaskRun};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{Guest, engine, example, options, payload};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

fn call(name: &str, input: Payload) -> TaskRun {
    TaskRun {
        name: name.into(),
        input,
        run_id: RunId::from_key("test", "1"),
        op: OpId(3),
        attempt: 2,
        idempotency_token: "token-3".into(),
        limits: everstep_core::Limits::default(),
        timeout: Some(Duration::from_secs(20)),
        progress: None,
        control: everstep_engine::TaskControl::default(),
    }
}

async fn run_guest(guest: &Guest<'_>) -> TaskOutcome {
    engine().compile(&guest.build()).unwrap().run_task(call("t", payload("1"))).await.unwrap()
}

/// Answers every request with 200 and gives the texts of the requests.
async fn server(requests: usize) -> (u16, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = async move {
        let mut seen = Vec::new();
        while seen.len() < requests {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut text, mut buffer) = (String::new(), [0; 4096]);
            while !text.contains("\r\n\r\n") || !text.trim_end().ends_with('}') {
                let read = stream.read(&mut buffer).await.unwrap();
                if read == 0 {
                    break;
                }
                text.push_str(&String::from_utf8_lossy(&buffer[..read]));
            }
            seen.push(text);
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
        }
        seen
    };
    (port, tokio::spawn(serve))
}

async fn step(module: &Arc<Module>, ledger: String) -> TaskOutcome {
    let input = Payload::from_value(&json!({ "step": 1, "ledger": ledger })).unwrap();
    module.run_task(call("step", input)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_granted_host_is_reached() {
    let (port, server) = server(2).await;
    let outcome = step(&example("crash"), format!("http://127.0.0.1:{port}/ledger")).await;
    let value: String = outcome.result.unwrap().read().unwrap();
    assert!(value.starts_with("1#2@"), "{value}");
    let seen = server.await.unwrap();
    assert!(seen[0].starts_with("POST /ledger HTTP/1.1"), "{}", seen[0]);
    assert!(seen[0].contains("token-3") && seen[1].contains(&value), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_without_a_grant_is_refused_and_the_grant_is_named() {
    let (port, server) = server(1).await;
    let outcome = step(&example("crash"), format!("http://localhost:{port}/ledger")).await;
    assert!(outcome.result.is_err());
    let line = outcome.logs.iter().find(|line| line.message.contains("refused")).unwrap();
    assert!(line.message.contains(&format!("add \"localhost:{port}\"")), "{}", line.message);
    assert!(line.message.contains("task `step` has no grant"), "{}", line.message);
    assert!(!server.is_finished());
    server.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authority_cannot_pretend_to_be_a_granted_host() {
    for disguise in ["127.0.0.1:80@localhost:9", "127.0.0.1.nip.example:9", "localhost:9#127.0.0.1"]
    {
        let outcome = step(&example("crash"), format!("http://{disguise}/")).await;
        assert!(outcome.result.is_err(), "{disguise}");
    }
}

#[tokio::test]
async fn a_task_has_the_real_time_and_its_output_is_logged() {
    let module = example("sandbox-probe");
    let outcome = module.run_task(call("real-time", payload("null"))).await.unwrap();
    let time: Value = outcome.result.unwrap().read().unwrap();
    let time: Timestamp = serde_json::from_value(time.clone())
        .unwrap_or_else(|_| Timestamp::from_millis(time.as_u64().unwrap()));
    assert!(time.as_millis() > 1_700_000_000_000, "{time}");

    let module = example("onboarding");
    let outcome = module.run_task(call("mark-verified", payload("\"u1\""))).await.unwrap();
    outcome.result.unwrap();
    let line = outcome.logs.iter().find(|line| line.message == "u1 is verified").unwrap();
    assert_eq!((line.source, line.level), (LogSource::Task, LogLevel::Info));
    assert_eq!((line.op, line.attempt), (Some(OpId(3)), 2));
    assert!(line.at.as_millis() > 1_700_000_000_000);
}

#[tokio::test]
async fn a_failure_of_a_task_is_data() {
    let input = json!({ "amount_cents": 5, "succeeds_at_attempt": 1, "declined": true });
    let input = Payload::from_value(&input).unwrap();
    let outcome = example("payment").run_task(call("charge", input)).await.unwrap();
    let failure = outcome.result.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("card.declined", false));
    assert_eq!(failure.details, Some(payload(r#"{"amount_cents":5}"#)));
}

#[tokio::test]
async fn an_unknown_task_lists_those_known() {
    let module = engine().compile(&Guest::default().build()).unwrap();
    let failure = module.run_task(call("nope", payload("1"))).await.unwrap().result.unwrap_err();
    assert_eq!(failure.code, "task.unknown");
    assert!(!failure.retryable && failure.message.contains("lists t"), "{}", failure.message);
}

#[tokio::test]
async fn a_trap_is_a_failure_with_the_place() {
    let guest = Guest {
        run: "(call $in_the_task) i32.const 0",
        extra: "(func $in_the_task unreachable)",
        ..Guest::default()
    };
    let failure = run_guest(&guest).await.result.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.retryable), ("task.trap", true));
    assert!(failure.message.contains("in_the_task"), "{}", failure.message);
}

#[tokio::test]
async fn outputs_are_checked() {
    assert_eq!(run_guest(&Guest::default()).await.result.unwrap(), payload("null"));
    let not_json = run_guest(&Guest { data: "nul!", ..Guest::default() }).await;
    assert_eq!(not_json.result.unwrap_err().code, "task.output");
    let mut small = call("t", payload("1"));
    small.limits.payload_bytes = 3;
    let module = engine().compile(&Guest::default().build()).unwrap();
    let failure = module.run_task(small).await.unwrap().result.unwrap_err();
    assert_eq!(failure.code, "limit.payload_bytes");
}

#[tokio::test]
async fn a_task_cannot_drive_the_run() {
    let guest = Guest {
        imports: r#"(import "everstep:workflow/timer@0.1.0" "sleep"
            (func $sleep (param i64 i32 i32) (result i64)))"#,
        run: "(drop (call $sleep (i64.const 1) (i32.const 0) (i32.const 0))) i32.const 0",
        ..Guest::default()
    };
    let failure = run_guest(&guest).await.result.unwrap_err();
    assert!(failure.message.contains("timer#sleep is not available in a task"), "{failure:?}");
}

/// On one thread: a task that computes for ever must let the timeout, and other tasks, come.
#[tokio::test]
async fn a_task_that_computes_yields_and_runs_into_its_time_limit() {
    let guest = Guest {
        imports: r#"(import "everstep:workflow/logger@0.1.0" "log"
            (func $log (param i32 i32 i32 i32 i32)))"#,
        run: "(call $log (i32.const 2) (i32.const 1000) (i32.const 4) (i32.const 0) (i32.const 0))
            (loop $l (br $l)) unreachable",
        ..Guest::default()
    };
    let module = engine().compile(&guest.build()).unwrap();
    let mut endless = call("t", payload("1"));
    endless.timeout = Some(Duration::from_millis(300));
    let begin = Instant::now();
    let beats = async {
        for _ in 0..5 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        begin.elapsed()
    };
    let (outcome, beats) = tokio::join!(module.run_task(endless), beats);
    assert!(beats < Duration::from_millis(290), "{beats:?}");
    let outcome = outcome.unwrap();
    assert_eq!(outcome.result.unwrap_err().code, "task.timeout");
    assert_eq!(outcome.logs[0].message, "null");
}

#[tokio::test]
async fn a_task_has_a_memory_limit() {
    let guest = Guest {
        run: "(if (i32.eq (memory.grow (i32.const 100)) (i32.const -1)) (then unreachable))
            unreachable",
        ..Guest::default()
    };
    let mut run = call("t", payload("1"));
    run.limits.memory_bytes = 1 << 16;
    let module = engine().compile(&guest.build()).unwrap();
    let failure = module.run_task(run).await.unwrap().result.unwrap_err();
    assert_eq!(failure.code, "task.trap");
}

#[tokio::test]
async fn when_all_slots_are_taken_the_task_is_to_be_repeated() {
    let options = EngineOptions { max_instances: 1, max_tasks: 1, ..options() };
    let guest = Guest { run: "(loop $l (br $l)) unreachable", ..Guest::default() };
    let module = Engine::new(options).unwrap().compile(&guest.build()).unwrap();
    let mut endless = call("t", payload("1"));
    endless.timeout = Some(Duration::from_millis(200));
    let second = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        module.run_task(call("t", payload("1"))).await
    };
    let (first, second) = tokio::join!(module.run_task(endless), second);
    assert_eq!(first.unwrap().result.unwrap_err().code, "task.timeout");
    assert_eq!(second.unwrap_err(), TaskError::Capacity);
}
