//! Keys that templates make: of the workflow or of the start, and what has no key.

use crate::fixture::Fixture;
use crate::wasm;
use everstep_core::RunId;
use everstep_core::api::Started;
use serde_json::{Value, json};

async fn with_key(template: &str) -> Fixture {
    let fixture = Fixture::new().await;
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
    fixture.publish("w", "1", json!({"key": template, "input": schema})).await;
    fixture
}

async fn start(fixture: &Fixture, input: Value, more: Value) -> Started {
    let mut body = json!({"workflow": "w", "input": input});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    fixture.start(&body).await.good()
}

#[tokio::test]
async fn a_template_makes_the_key_from_the_input() {
    let fixture = with_key("order-${order.id}/${n}").await;
    let input = json!({"order": {"id": "a7"}, "n": 3, "rest": 1});
    let first = start(&fixture, input.clone(), json!({})).await;
    assert_eq!(first, Started { id: RunId::from_key("w", "order-a7/3"), created: true });
    let options = fixture.show(first.id).await.options;
    assert_eq!(options.idempotency_key.as_deref(), Some("order-a7/3"));
    let again = start(&fixture, input.clone(), json!({})).await;
    assert_eq!(again, Started { id: first.id, created: false });
    // The same key with another input, and with `error`.
    let other = json!({"workflow": "w", "input": {"order": {"id": "a7"}, "n": 3, "rest": 2}});
    fixture.start(&other).await.problem(409, "key.input_mismatch");
    let strict = json!({"workflow": "w", "input": input, "on_conflict": "error"});
    fixture.start(&strict).await.problem(409, "key.taken");
    // What the start says wins: a key, or another template.
    let named = start(&fixture, input.clone(), json!({"idempotency_key": "mine"})).await;
    assert_eq!(named.id, RunId::from_key("w", "mine"));
    let other = start(&fixture, input.clone(), json!({"key_template": "n${n}"})).await;
    assert_eq!(other.id, RunId::from_key("w", "n3"));
    // A later version whose schema the input violates changes nothing for the key.
    let stricter = json!({"key": "order-${order.id}/${n}", "input": {"type": "string"}});
    fixture.publish("w", "2", stricter).await;
    assert_eq!(start(&fixture, input, json!({})).await.id, first.id);
}

#[tokio::test]
async fn an_input_without_a_key_is_refused_with_the_path() {
    let fixture = with_key("order-${order.id}").await;
    for (input, words) in [
        (json!({}), "nothing at `order.id`"),
        (json!({"order": {"id": null}}), "null at `order.id`"),
        (json!({"order": {"id": [1]}}), "a list at `order.id`"),
    ] {
        let body = json!({"workflow": "w", "input": input});
        let problem = fixture.start(&body).await.problem(422, "key.template");
        assert!(problem.detail.contains(words), "{problem:?}");
    }
    // What violates the schema hears of that.
    let body = json!({"workflow": "w", "input": {"n": "x"}});
    fixture.start(&body).await.problem(422, "input.invalid");
    let body = json!({"workflow": "w", "input": {"order": {"id": "x".repeat(260)}}});
    fixture.start(&body).await.problem(422, "key.invalid");
    let body = json!({"workflow": "w", "input": {}, "key_template": "${"});
    fixture.start(&body).await.problem(422, "key.template");
    let body = json!({"workflow": "w", "idempotency_key": "k", "key_template": "${n}"});
    let problem = fixture.start(&body).await.problem(422, "option.invalid");
    assert!(problem.detail.starts_with("`key_template`"), "{problem:?}");
    fixture.assert_no_runs().await;
}

#[tokio::test]
async fn a_module_with_a_wrong_template_is_refused() {
    let fixture = Fixture::new().await;
    for template in ["order", "${id", "${}"] {
        let manifest = wasm::manifest("w", "1", &json!({"key": template}));
        let problem =
            fixture.upload(wasm::module(&manifest)).await.problem(422, "module.manifest_invalid");
        assert!(problem.detail.contains("the key of workflow `w`"), "{problem:?}");
    }
}
