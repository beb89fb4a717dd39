//! Uploads: what is good is kept, what is bad is refused with a code, a reason and a fix, and
//! leaves nothing behind.

use crate::fixture::Fixture;
use crate::wasm;
use everstep_core::Digest;
use everstep_core::api::{ModuleList, ModuleView, Uploaded};
use everstep_server::service::ServiceOptions;
use serde_json::json;

#[tokio::test]
async fn a_good_module_is_kept_and_the_same_bytes_again_change_nothing() {
    let fixture = Fixture::new().await;
    let bytes = wasm::module(&wasm::manifest("w", "1", &json!({"timeout_ms": 5})));
    let digest = Digest::of(&bytes);
    let first = fixture.upload(bytes.clone()).await;
    assert_eq!(first.status, 201, "{}", first.text());
    let first: Uploaded = first.good();
    assert!(first.created && first.module.digest == digest);
    assert_eq!(first.module.size, bytes.len() as u64);
    assert_eq!(first.module.manifest.workflows[0].timeout_ms, Some(5));
    let again = fixture.upload(bytes.clone()).await;
    assert_eq!(again.status, 200);
    let again: Uploaded = again.good();
    assert_eq!((again.created, again.module), (false, first.module.clone()));
    let list: ModuleList = fixture.get("/v1/modules").await.good();
    assert_eq!(list.modules, std::slice::from_ref(&first.module));
    let shown: ModuleView = fixture.get(&format!("/v1/modules/{digest}")).await.good();
    assert_eq!(shown, first.module);
    let content = fixture.get(&format!("/v1/modules/{digest}/content")).await;
    assert_eq!((content.bytes, content.media_type.as_str()), (bytes, "application/wasm"));
}

#[tokio::test]
async fn bad_modules_are_refused_and_nothing_is_stored() {
    let fixture = Fixture::new().await;
    let bad_schema = wasm::manifest("w", "1", &json!({"input": {"type": "no-such-type"}}));
    let cases = [
        (b"hello".to_vec(), "module.not_wasm", "not WebAssembly"),
        (Vec::new(), "module.not_wasm", "not WebAssembly"),
        (wasm::core_module(), "module.core_module", "core WebAssembly module"),
        (wasm::with_unknown_import(), "module.unknown_import", "acme:rocket/launch"),
        (wasm::empty_component(), "module.missing_export", "definitions"),
        (wasm::described_by("unreachable"), "module.describe_trapped", "describe"),
        (
            wasm::described_by("(loop (br 0)) (i32.const 0)"),
            "module.describe_timeout",
            "did not end",
        ),
        (wasm::module(&json!({"format": 1})), "module.manifest_invalid", "workflows"),
        (wasm::module(&bad_schema), "module.schema", "`w`"),
    ];
    for (bytes, code, reason) in cases {
        let problem = fixture.upload(bytes).await.problem(422, code);
        assert!(problem.detail.contains(reason), "{problem:?}");
    }
    assert!(fixture.store.modules().await.unwrap().is_empty());
    let list: ModuleList = fixture.get("/v1/modules").await.good();
    assert!(list.modules.is_empty());
}

#[tokio::test]
async fn a_module_over_the_size_limit_is_refused() {
    let options = ServiceOptions { module_bytes_max: 10_000, ..ServiceOptions::default() };
    let fixture = Fixture::with(options).await;
    let problem = fixture.upload(vec![0; 10_001]).await.problem(413, "module.too_large");
    assert!(problem.detail.contains("10000"), "{problem:?}");
    assert!(fixture.store.modules().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_version_belongs_to_one_module() {
    let fixture = Fixture::new().await;
    fixture.publish("w", "1", json!({})).await;
    let other = wasm::module(&wasm::manifest("w", "1", &json!({"description": "changed"})));
    let problem = fixture.upload(other).await.problem(409, "module.version_taken");
    assert!(problem.detail.contains("`w`") && problem.detail.contains("`1`"), "{problem:?}");
    assert!(problem.detail.contains("sha256:"), "{problem:?}");
    assert_eq!(fixture.store.modules().await.unwrap().len(), 1);
}

#[tokio::test]
async fn an_upload_says_that_it_is_a_module() {
    let fixture = Fixture::new().await;
    let bytes = wasm::module(&wasm::manifest("w", "1", &json!({})));
    for media_type in ["", "text/plain", "application/x-www-form-urlencoded"] {
        let answer = fixture.post("/v1/modules", media_type, bytes.clone()).await;
        let problem = answer.problem(415, "request.media_type");
        assert!(problem.fix.contains("application/wasm"), "{problem:?}");
    }
    let answer = fixture.post("/v1/modules", "application/octet-stream", bytes).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[tokio::test]
async fn modules_that_are_not_there_are_not_found() {
    let fixture = Fixture::new().await;
    let digest = Digest::of(b"nothing");
    for path in [format!("/v1/modules/{digest}"), format!("/v1/modules/{digest}/content")] {
        fixture.get(&path).await.problem(404, "module.not_found");
    }
    fixture.get("/v1/modules/sha256:12").await.problem(400, "request.invalid");
}

#[tokio::test]
async fn changes_that_break_callers_and_new_grants_need_a_word() {
    let fixture = Fixture::new().await;
    let with_input = |version: &str, required: &[&str]| {
        let properties = json!({"user": {"type": "string"}, "team": {"type": "string"}});
        let input = json!({"type": "object", "properties": properties, "required": required});
        wasm::manifest("w", version, &json!({"input": input}))
    };
    let post = async |query: &str, manifest: &serde_json::Value| {
        let path = format!("/v1/modules{query}");
        fixture.post(&path, "application/wasm", wasm::module(manifest)).await
    };
    assert_eq!(post("", &with_input("1", &["user"])).await.status, 201);
    // Wider is shown and taken.
    let wider: Uploaded = post("", &with_input("2", &[])).await.good();
    assert_eq!((wider.changes.len(), wider.changes[0].was.as_str()), (1, "1"), "{wider:?}");

    let narrower = with_input("3", &["team", "user"]);
    let problem = post("", &narrower).await.problem(409, "module.narrows");
    assert!(problem.detail.contains("w 3: narrowing: input /"), "{problem:?}");
    assert_eq!(problem.changes.len(), 2, "{problem:?}");
    let preview: Uploaded = post("?dry_run=true", &narrower).await.good();
    assert_eq!((preview.active, preview.changes.len()), (false, 2));
    assert_eq!(fixture.store.modules().await.unwrap().len(), 2);
    assert_eq!(post("?allow_narrowing=true", &narrower).await.status, 201);

    let mut greedy = with_input("4", &["team", "user"]);
    greedy["tasks"] = json!([{"name": "pay", "grants": {"hosts": ["pay.example.com"]}}]);
    let problem = post("", &greedy).await.problem(409, "module.asks_for_more");
    assert!(problem.detail.contains("pay.example.com"), "{problem:?}");
    assert_eq!(post("?allow_grants=true", &greedy).await.status, 201);
    post("?replace=maybe", &greedy).await.problem(400, "request.invalid");
}

#[tokio::test]
async fn what_new_runs_get_is_chosen_taken_back_and_closed() {
    let fixture = Fixture::new().await;
    for version in ["1", "2"] {
        fixture.publish("w", version, json!({})).await;
    }
    let show = async || fixture.get("/v1/workflows/w").await.json();
    assert_eq!(show().await["current"], "2");
    let path = "/v1/workflows/w/default";
    fixture.post_json(path, &json!({"version": "1"})).await.good::<serde_json::Value>();
    assert_eq!((&show().await["current"], &show().await["default"]), (&json!("1"), &json!("1")));
    fixture.post_json(path, &json!({"version": "9"})).await.problem(422, "run.unknown_version");
    let listed = fixture.get("/v1/workflows").await.json();
    assert_eq!(listed["workflows"][0]["versions"].as_array().unwrap().len(), 2);

    let rollback = "/v1/workflows/w/rollback";
    let preview = fixture.post_json(rollback, &json!({"dry_run": true})).await.json();
    assert_eq!(
        (&preview["workflow"]["current"], &show().await["current"]),
        (&json!("2"), &json!("1"))
    );
    for current in ["2", "1"] {
        fixture.post_json(rollback, &json!({})).await.good::<serde_json::Value>();
        assert_eq!(show().await["current"], current);
    }
    let nothing = fixture.post_json(rollback, &json!({})).await;
    nothing.problem(409, "workflow.nothing_to_roll_back");

    let digest = show().await["versions"][0]["digest"].as_str().unwrap().to_owned();
    let retire = format!("/v1/modules/{digest}/retire");
    fixture.post_json(&retire, &json!({})).await.problem(409, "version.is_default");
    fixture.post_json(path, &json!({})).await.good::<serde_json::Value>();
    fixture.start(&json!({"workflow": "w", "version": "1"})).await;
    fixture.post_json(&retire, &json!({})).await.problem(409, "module.in_use");
    fixture.get("/v1/workflows/x").await.problem(422, "run.unknown_workflow");
}
