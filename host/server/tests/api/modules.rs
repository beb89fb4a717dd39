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
