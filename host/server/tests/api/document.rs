//! `/openapi.json` tells the truth: it lists the routes there are, and real answers have the shapes
//! that it promises, with no field that it does not know.

use crate::fixture::{Fixture, line};
use everstep_core::activation::{Activation, Command, TimerDue};
use everstep_core::{Failure, OpId, Outcome, Payload, RunId, TaskOptions};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The routes that users and tests rely on.
const ROUTES: &[&str] = &[
    "POST /v1/modules",
    "GET /v1/modules",
    "GET /v1/modules/{digest}",
    "GET /v1/modules/{digest}/content",
    "POST /v1/modules/{digest}/retire",
    "GET /v1/workflows",
    "GET /v1/workflows/{name}",
    "POST /v1/workflows/{name}/default",
    "POST /v1/workflows/{name}/rollback",
    "POST /v1/upgrades",
    "POST /v1/runs",
    "POST /v1/runs/bulk",
    "GET /v1/runs",
    "GET /v1/runs/{id}",
    "GET /v1/runs/{id}/wait",
    "GET /v1/runs/{id}/journal",
    "GET /v1/runs/{id}/logs",
    "GET /v1/runs/{id}/export",
    "POST /v1/runs/{id}/cancel",
    "POST /v1/runs/{id}/retry",
    "POST /v1/runs/{id}/terminate",
    "POST /v1/runs/{id}/pause",
    "POST /v1/runs/{id}/resume",
    "POST /v1/runs/{id}/wake",
    "POST /v1/runs/{id}/fork",
    "POST /v1/runs/{id}/events",
    "POST /v1/events/multicast",
    "POST /v1/schedules",
    "GET /v1/schedules",
    "GET /v1/schedules/{id}",
    "DELETE /v1/schedules/{id}",
    "POST /v1/schedules/{id}/pause",
    "POST /v1/schedules/{id}/resume",
    "POST /v1/schedules/{id}/trigger",
    "POST /v1/schedules/{id}/backfill",
    "GET /v1/hosts",
    "GET /v1/hosts/connect",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "GET /openapi.json",
];

#[tokio::test]
async fn the_document_lists_the_routes_there_are() {
    let fixture = Fixture::new().await;
    let document = fixture.get("/openapi.json").await.json();
    let mut listed = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method = method.to_uppercase();
            let url = path.replace("{id}", "x").replace("{digest}", "x").replace("{name}", "x");
            let url = format!("{}{url}", fixture.url);
            let request = fixture.client.request(method.parse().unwrap(), url);
            let answer = request.send().await.unwrap().text().await.unwrap();
            assert!(!answer.contains("\"route."), "{method} {path}: {answer}");
            listed.insert(format!("{method} {path}"));
        }
    }
    assert_eq!(listed, ROUTES.iter().map(|route| (*route).to_owned()).collect());
}

/// Closes every object shape, so that a field which is not described is an error.
fn close(schema: &mut Value) {
    if let Value::Object(map) = schema {
        if map.contains_key("properties") && !map.contains_key("additionalProperties") {
            map.insert("additionalProperties".into(), json!(false));
        }
        map.values_mut().for_each(close);
    } else if let Value::Array(values) = schema {
        values.iter_mut().for_each(close);
    }
}

/// Checks that an answer has the shape that the document promises for this operation and status.
fn check(document: &Value, operation: &str, status: &str, answer: &Value) {
    let (method, path) = operation.split_once(' ').unwrap();
    let method = method.to_lowercase();
    let content = &document["paths"][path][method]["responses"][status]["content"];
    let promised = &content.as_object().unwrap().values().next().unwrap()["schema"];
    let mut schema = promised.clone();
    schema["components"] = document["components"].clone();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<String> =
        validator.iter_errors(answer).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{operation} {status}: {errors:#?}");
}

/// Runs in as many states as there are, with everything that a view can carry.
async fn populate(fixture: &Fixture) -> RunId {
    let retry = json!({"kind": "exponential", "max_attempts": 3, "initial_ms": 60_000,
        "factor": 2.0, "max_delay_ms": 90_000, "jitter": true});
    let more = json!({"retry": retry, "description": "d", "timeout_ms": 600_000,
        "input": {"type": ["object", "null"]}});
    fixture.publish("w", "1", more).await;
    fixture.publish("plain", "1", json!({})).await;
    let start = async |body: Value| -> RunId {
        let started = fixture.start(&body).await;
        let document = fixture.get("/openapi.json").await.json();
        check(&document, "POST /v1/runs", "202", &started.json());
        started.good::<everstep_core::api::Started>().id
    };
    let task = |op| Command::StartTask {
        op: OpId(op),
        name: "t".into(),
        input: Payload::null(),
        options: TaskOptions::default(),
    };
    let timer =
        Command::StartTimer { op: OpId(2), name: "nap".into(), due: TimerDue::After(60_000) };
    let busy = start(json!({"workflow": "w", "input": {"a": 1}, "idempotency_key": "k",
        "tags": {"team": "blue"}}))
    .await;
    let commands = vec![task(1), timer];
    let logs = vec![line("one"), line("two")];
    fixture.activate(busy, Activation { commands, logs, ..Activation::default() }).await;
    let details = Some(Payload::from_bytes(b"{\"why\": 1}").unwrap());
    let failure = Failure { details, ..Failure::new("card.declined", "no") };
    for workflow in ["w", "plain"] {
        let failing = start(json!({"workflow": workflow})).await;
        let outcome = Some(Outcome::Failed(failure.clone()));
        fixture.activate(failing, Activation { outcome, ..Activation::default() }).await;
    }
    fixture.complete(start(json!({"workflow": "plain"})).await, "[1]").await;
    fixture.stick(start(json!({"workflow": "plain"})).await).await;
    start(json!({"workflow": "plain", "delay_ms": 60_000})).await;
    let cancelled = start(json!({"workflow": "plain"})).await;
    fixture.post_json(&format!("/v1/runs/{cancelled}/cancel"), &json!({"reason": "r"})).await;
    busy
}

/// Schedules with everything that a view can carry.
async fn check_schedules(fixture: &Fixture, document: &Value) {
    let start = json!({"workflow": "plain", "version": "1", "input": [1], "timeout_ms": 5,
        "retry": {"kind": "never"}, "tags": {"a": "b"}});
    let cron = json!({"cron": {"expression": "0 9 * * *", "time_zone": "Europe/Berlin"}});
    let body = json!({"reference": "r", "spec": cron, "start": start, "overlap": "buffer_one"});
    let made = fixture.post_json("/v1/schedules", &body).await;
    check(document, "POST /v1/schedules", "201", &made.json());
    let again = fixture.post_json("/v1/schedules", &body).await;
    check(document, "POST /v1/schedules", "200", &again.json());
    let every = json!({"spec": {"every": {"interval_ms": 1_000}}, "start": start});
    fixture.post_json("/v1/schedules", &every).await;
    let range = json!({"from": "2026-05-01T00:00:00Z", "to": "2026-05-03T00:00:00Z"});
    for (action, body) in [
        ("trigger", json!({})),
        ("trigger", json!({})),
        ("trigger", json!({"overlap": "skip"})),
        ("backfill", range.clone()),
        ("backfill", range),
        ("pause", json!(null)),
        ("resume", json!(null)),
    ] {
        let answer = fixture.post_json(&format!("/v1/schedules/r/{action}"), &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let operation = format!("POST /v1/schedules/{{id}}/{action}");
        check(document, &operation, "200", &answer.json());
    }
    let list = fixture.get("/v1/schedules?limit=1").await;
    check(document, "GET /v1/schedules", "200", &list.json());
    let shown = fixture.get("/v1/schedules/r").await;
    check(document, "GET /v1/schedules/{id}", "200", &shown.json());
}

#[tokio::test]
async fn answers_have_the_promised_shapes() {
    let fixture = Fixture::new().await;
    let run = populate(&fixture).await;
    let mut document = fixture.get("/openapi.json").await.json();
    close(&mut document["components"]["schemas"]);
    check_schedules(&fixture, &document).await;
    let digest = fixture.store.modules().await.unwrap()[0].digest;
    let cases = [
        ("GET /v1/modules", "/v1/modules".to_owned()),
        ("GET /v1/modules/{digest}", format!("/v1/modules/{digest}")),
        ("GET /v1/runs", "/v1/runs?limit=5".to_owned()),
        ("GET /v1/runs", "/v1/runs".to_owned()),
        ("GET /v1/runs/{id}", format!("/v1/runs/{run}")),
        ("GET /v1/runs/{id}/wait", format!("/v1/runs/{run}/wait?timeout_ms=0")),
        ("GET /v1/runs/{id}/journal", format!("/v1/runs/{run}/journal")),
        ("GET /v1/runs/{id}/journal", format!("/v1/runs/{run}/journal?limit=1")),
        ("GET /v1/runs/{id}/logs", format!("/v1/runs/{run}/logs")),
    ];
    for (operation, path) in cases {
        let answer = fixture.get(&path).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        check(&document, operation, "200", &answer.json());
    }
    let nobody = RunId::from_key("w", "nobody");
    for body in [
        json!({"action": "cancel", "all": true, "dry_run": true, "limit": 1}),
        json!({"action": "retry", "runs": [run, nobody]}),
    ] {
        let answer = fixture.post_json("/v1/runs/bulk", &body).await;
        check(&document, "POST /v1/runs/bulk", "200", &answer.json());
    }
    let list = fixture.get("/v1/runs").await.json();
    let states: BTreeSet<&str> =
        list["runs"].as_array().unwrap().iter().map(|run| run["state"].as_str().unwrap()).collect();
    assert_eq!(states.len(), 7, "{states:?}");
    let problem = fixture.get("/v1/runs/x").await;
    check(&document, "GET /v1/runs/{id}", "default", &problem.json());
}
