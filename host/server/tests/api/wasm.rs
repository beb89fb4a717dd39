//! Modules made by hand: one that is good, and for every way to be bad one that is bad in just
//! that way.

use serde_json::{Value, json};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// A manifest with one workflow and no tasks.
pub(crate) fn manifest(workflow: &str, version: &str, more: &Value) -> Value {
    let mut definition = json!({"name": workflow, "version": version});
    for (key, value) in more.as_object().unwrap() {
        definition[key] = value.clone();
    }
    json!({"format": 1, "sdk": "by hand", "workflows": [definition], "tasks": []})
}

/// A module with this manifest, of whose functions only `describe` works.
pub(crate) fn module(manifest: &Value) -> Vec<u8> {
    let text = manifest.to_string();
    let data: String = text.bytes().map(|byte| format!("\\{byte:02x}")).collect();
    let length: String =
        (text.len() as u32).to_le_bytes().iter().map(|byte| format!("\\{byte:02x}")).collect();
    let data = format!(
        "(data (i32.const 16) \"\\00\\04\\00\\00{length}\") (data (i32.const 1024) \"{data}\")"
    );
    component(&data, "(i32.const 16)")
}

/// A module whose `describe` has this body.
pub(crate) fn described_by(body: &str) -> Vec<u8> {
    component("", body)
}

/// A component that exports the world of `wit/`.
fn component(data: &str, describe: &str) -> Vec<u8> {
    let core = format!(
        r#"(module
            (memory (export "memory") 2)
            {data}
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (i32.const 65536))
            (func (export "everstep:workflow/definitions@0.1.0#describe") (result i32)
                {describe})
            (func (export "everstep:workflow/workflow@0.1.0#start")
                (param i32 i32 i32 i32 i32 i32)
                unreachable)
            (func (export "everstep:workflow/workflow@0.1.0#resume")
                (param i32 i64 i32 i32 i32 i32 i32 i32 i32 i32 i32)
                unreachable)
            (func (export "task#run")
                (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32)
                unreachable))"#
    );
    let mut bytes = wat::parse_str(core).unwrap();
    let mut resolve = Resolve::default();
    let contract = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");
    let (package, _) = resolve.push_dir(contract).unwrap();
    let world = resolve.select_world(&[package], Some("module")).unwrap();
    embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8, false).unwrap();
    ComponentEncoder::default().module(&bytes).unwrap().validate(true).encode().unwrap()
}

/// A component that wants something of a stranger.
pub(crate) fn with_unknown_import() -> Vec<u8> {
    let text = r#"(component (import "acme:rocket/launch@1.0.0"
        (instance (export "launch" (func)))))"#;
    wat::parse_str(text).unwrap()
}

/// A component that has nothing of the contract.
pub(crate) fn empty_component() -> Vec<u8> {
    wat::parse_str("(component)").unwrap()
}

/// Not a component.
pub(crate) fn core_module() -> Vec<u8> {
    wat::parse_str("(module)").unwrap()
}
