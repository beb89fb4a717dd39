//! Logs in pages and as streams, and what becomes of waiting clients when the server goes down.

use crate::fixture::{Fixture, line};
use everstep_core::activation::{Activation, Command, TimerDue};
use everstep_core::api::{LogLineView, LogPage, RunView};
use everstep_core::{OpId, RunId, StateKind};
use futures::StreamExt;
use serde_json::json;
use std::time::Duration;

/// An activation that logs this and sleeps.
fn logs(op: u64, messages: &[&str]) -> Activation {
    let due = TimerDue::After(0);
    let timer = Command::StartTimer { op: OpId(op), name: String::new(), due };
    let logs = messages.iter().map(|message| line(message)).collect();
    Activation { commands: vec![timer], logs, ..Activation::default() }
}

/// Reads a stream to its end.
async fn follow(fixture: &Fixture, run: RunId, last_event: Option<&str>) -> Vec<(String, String)> {
    let mut request = fixture.client.get(format!("{}/v1/runs/{run}/logs?follow=true", fixture.url));
    if let Some(id) = last_event {
        request = request.header("last-event-id", id);
    }
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let text = response.text().await.unwrap();
    let field = |event: &str, name: &str| {
        let line = event.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim_start_matches([':', ' ']).to_owned()
    };
    let events = text.split("\n\n").filter(|event| event.contains("event"));
    events.map(|event| (field(event, "event"), field(event, "data"))).collect()
}

fn messages(events: &[(String, String)]) -> Vec<(u64, String)> {
    let lines = events.iter().filter(|(name, _)| name == "log");
    lines
        .map(|(_, data)| serde_json::from_str::<LogLineView>(data).unwrap())
        .map(|view| (view.seq, view.line.message))
        .collect()
}

#[tokio::test]
async fn logs_are_read_in_pages() {
    let fixture = Fixture::new().await;
    let run = fixture.run().await;
    fixture.activate(run, logs(1, &["one", "two"])).await;
    fixture.activate(run, logs(2, &["three"])).await;
    let whole: LogPage = fixture.get(&format!("/v1/runs/{run}/logs")).await.good();
    let texts: Vec<_> = whole.lines.iter().map(|l| (l.seq, &*l.line.message)).collect();
    assert_eq!(texts, [(0, "one"), (1, "two"), (2, "three")]);
    assert_eq!(whole.next, None);
    let first: LogPage = fixture.get(&format!("/v1/runs/{run}/logs?limit=1")).await.good();
    let next = first.next.unwrap();
    let rest: LogPage = fixture.get(&format!("/v1/runs/{run}/logs?from={next}")).await.good();
    assert_eq!(rest.lines, whole.lines[usize::try_from(next).unwrap()..]);
}

#[tokio::test]
async fn a_stream_has_every_line_once_and_then_the_end() {
    let fixture = Fixture::new().await;
    let run = fixture.run().await;
    fixture.activate(run, logs(1, &["before"])).await;
    let (events, ()) = tokio::join!(follow(&fixture, run, None), async {
        for op in 2..20 {
            fixture.activate(run, logs(op, &[&format!("line {op}"), "another"])).await;
        }
        fixture.complete(run, r#"{"done":true}"#).await;
    });
    let lines = messages(&events);
    assert_eq!(lines.len(), 37);
    assert!(lines.iter().enumerate().all(|(n, (seq, _))| n as u64 == *seq), "{lines:?}");
    let (name, data) = events.last().unwrap();
    assert_eq!(name, "end");
    let end: RunView = serde_json::from_str(data).unwrap();
    assert_eq!((end.state, end.log_lines), (StateKind::Completed, 37));
    let rest = messages(&follow(&fixture, run, Some("34")).await);
    assert_eq!(rest.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [35, 36]);
}

#[tokio::test]
async fn a_stream_that_cannot_begin_is_a_problem() {
    let fixture = Fixture::new().await;
    let nobody = RunId::from_key("w", "nobody");
    let answer = fixture.get(&format!("/v1/runs/{nobody}/logs?follow=true")).await;
    answer.problem(404, "run.not_found");
    let answer = fixture.get(&format!("/v1/runs/{nobody}/logs?follow=perhaps")).await;
    answer.problem(400, "request.invalid");
}

#[tokio::test]
async fn waiting_clients_are_let_go_when_the_server_drains() {
    let fixture = Fixture::new().await;
    let run = fixture.run().await;
    fixture.get("/readyz").await.good_text("ok\n");
    let wait = format!("/v1/runs/{run}/wait");
    let draining = async {
        while fixture.service.waiting() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        fixture.draining.send_replace(true);
    };
    let all = async { tokio::join!(fixture.get(&wait), follow(&fixture, run, None), draining) };
    let (waited, events, ()) = tokio::time::timeout(Duration::from_secs(5), all).await.unwrap();
    waited.problem(503, "server.draining");
    assert!(events.is_empty());
    fixture.get("/readyz").await.problem(503, "server.draining");
    fixture.get("/healthz").await.good_text("ok\n");
    while fixture.service.waiting() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place() {
    let fixture = Fixture::new().await;
    let run = fixture.run().await;
    let url = format!("{}/v1/runs/{run}/logs?follow=true", fixture.url);
    fixture.activate(run, logs(1, &["hello"])).await;
    let response = fixture.client.get(url).send().await.unwrap();
    let mut body = response.bytes_stream();
    assert!(body.next().await.unwrap().unwrap().starts_with(b"event: log"));
    assert_eq!(fixture.service.waiting(), 1);
    drop(body);
    let freed = async {
        while fixture.service.waiting() > 0 {
            // The server notices when it next has something to write.
            fixture.post_json(&format!("/v1/runs/{run}/cancel"), &json!({})).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), freed).await.unwrap();
}
