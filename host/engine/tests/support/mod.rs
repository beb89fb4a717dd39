//! Guests and engines for the tests of the engine: small guests written as WebAssembly text and
//! wrapped by the real contract, and the examples as the guest compiler builds them.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub)]

use everstep_core::{Completion, Delivery, Limits, OpId, OpResult, Payload, RunId, Timestamp};
use everstep_engine::{Engine, EngineOptions, Module, RunContext, WorkflowInstance};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

/// A manifest with one workflow `w` and one task `t`.
pub const MANIFEST: &str = r#"{"format":1,"workflows":[{"name":"w","version":"1"}],
    "tasks":[{"name":"t","attempt_timeout_ms":7,"grants":{"hosts":["127.0.0.1:*"]}}]}"#;

/// A guest in WebAssembly text. Each part is the body of one export; `imports` and `extra` stand
/// beside them. The text at address 1000 is `data`, the manifest is at 20000.
pub struct Guest<'a> {
    pub imports: &'a str,
    pub extra: &'a str,
    pub data: &'a str,
    pub manifest: &'a str,
    pub describe: &'a str,
    pub start: &'a str,
    pub resume: &'a str,
    pub run: &'a str,
}

impl Default for Guest<'_> {
    fn default() -> Self {
        Self {
            imports: "",
            extra: "",
            data: "null",
            manifest: MANIFEST,
            describe: "(i32.const 16)",
            start: "",
            resume: "",
            // An `ok` of four bytes at 1000.
            run: "(i32.store8 (i32.const 64) (i32.const 0))
                  (i32.store (i32.const 68) (i32.const 1000))
                  (i32.store (i32.const 72) (i32.const 4))
                  (i32.const 64)",
        }
    }
}

impl Guest<'_> {
    /// The component.
    pub fn build(&self) -> Vec<u8> {
        component(&self.text(), "module")
    }

    /// The core module.
    pub fn text(&self) -> String {
        let escape = |text: &str| text.bytes().map(|b| format!("\\{b:02x}")).collect::<String>();
        let pointer: String = [20_000_u32, u32::try_from(self.manifest.len()).unwrap()]
            .iter()
            .flat_map(|word| word.to_le_bytes())
            .map(|byte| format!("\\{byte:02x}"))
            .collect();
        format!(
            r#"(module
              {imports}
              (memory (export "memory") 2)
              (global $next (mut i32) (i32.const 70000))
              (data (i32.const 16) "{pointer}")
              (data (i32.const 1000) "{data}")
              (data (i32.const 20000) "{manifest}")
              (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (global.get $next)
                (global.set $next (i32.add (global.get $next)
                  (i32.and (i32.add (local.get 3) (i32.const 15)) (i32.const -16)))))
              (func (export "everstep:workflow/definitions@0.1.0#describe") (result i32)
                {describe})
              (func (export "everstep:workflow/workflow@0.1.0#start")
                (param i32 i32 i32 i32 i32 i32) {start})
              (func (export "everstep:workflow/workflow@0.1.0#resume")
                (param i32 i64 i32 i32 i32 i32 i32 i32 i32 i32 i32) {resume})
              (func (export "task#run")
                (param i32 i32 i32 i32 i32 i32 i32 i32 i32) (result i32) {run})
              {extra})"#,
            imports = self.imports,
            data = escape(self.data),
            manifest = escape(self.manifest),
            describe = self.describe,
            start = self.start,
            resume = self.resume,
            run = self.run,
            extra = self.extra,
        )
    }
}

/// Wraps a core module, given as text, into a component of a world of the contract.
pub fn component(text: &str, world: &str) -> Vec<u8> {
    wrapped(text, None, world)
}

/// The same for a world of this package, which may use the contract and packages of its own.
pub fn component_of(text: &str, package: &str, world: &str) -> Vec<u8> {
    wrapped(text, Some(package), world)
}

fn wrapped(text: &str, own: Option<&str>, world: &str) -> Vec<u8> {
    let wit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit");
    let mut resolve = wit_parser::Resolve::default();
    let (mut package, _) = resolve.push_dir(wit).unwrap();
    if let Some(own) = own {
        package = resolve.push_str("own.wit", own).unwrap();
    }
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut core = wat::parse_str(text).unwrap();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut core, &resolve, world, encoding, false).unwrap();
    let mut encoder = wit_component::ComponentEncoder::default();
    encoder.module(&core).unwrap().encode().unwrap()
}

/// An engine for few instances, so that tests side by side reserve little address space.
pub fn engine() -> Engine {
    Engine::new(options()).unwrap()
}

/// The options of [`engine`].
pub fn options() -> EngineOptions {
    EngineOptions { max_instances: 16, max_tasks: 16, ..EngineOptions::default() }
}

/// The run with this number.
pub fn run(number: u64) -> RunContext {
    RunContext {
        run_id: RunId::from_key("test", &number.to_string()),
        own_id: RunId::from_key("test", &number.to_string()),
        workflow: "w".into(),
        version: "1".into(),
        options: payload("{}"),
        attempt: 1,
        parent: None,
        started_at: everstep_core::Timestamp::default(),
        first: 0,
        limits: Limits::default(),
    }
}

/// A payload.
pub fn payload(json: &str) -> Payload {
    Payload::from_bytes(json.as_bytes()).unwrap()
}

/// The begin of a first attempt.
pub fn start_at(millis: u64) -> Delivery {
    deliver(millis, Completion::Start { attempt: 1, first_op: OpId(1) })
}

/// The completion of an operation.
pub fn completed(millis: u64, op: u64, result: OpResult) -> Delivery {
    deliver(millis, Completion::Operation { op: OpId(op), result })
}

/// A delivery.
pub fn deliver(millis: u64, completion: Completion) -> Delivery {
    Delivery { at: Timestamp::from_millis(millis), completion, deferred: None }
}

/// A fresh instance of a guest in text.
pub fn instance(engine: &Engine, guest: &Guest<'_>) -> WorkflowInstance {
    engine.compile(&guest.build()).unwrap().instantiate(run(1)).unwrap()
}

/// An example, compiled for the host by one engine for all tests of this process.
pub fn example(name: &str) -> Arc<Module> {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    let bytes = std::fs::read(example_path(name)).unwrap();
    ENGINE.get_or_init(engine).compile(&bytes).unwrap()
}

/// The component of an example, built if need be.
pub fn example_path(name: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let path = BUILT.get_or_init(build_examples).join(format!("{}.wasm", name.replace('-', "_")));
    assert!(path.exists(), "there is no example `{name}` ({})", path.display());
    path
}

fn build_examples() -> PathBuf {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let cargo = guest_cargo();
    assert!(
        cargo.exists(),
        "there is no guest compiler at {}; type: scripts/setup-guest-toolchain.sh",
        cargo.display()
    );
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--release", "--target", "wasm32-wasip2"])
        .current_dir(&examples)
        .status()
        .unwrap();
    assert!(status.success(), "the examples do not build");
    let target =
        std::env::var_os("GUEST_TARGET_DIR").map_or(examples.join("target"), PathBuf::from);
    target.join("wasm32-wasip2/release")
}

fn guest_cargo() -> PathBuf {
    let from = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    if let Some(path) = from("EVERSTEP_GUEST_CARGO") {
        return path;
    }
    let directory = from("GUEST_TOOLCHAIN_DIR").unwrap_or_else(|| {
        from("XDG_DATA_HOME")
            .or_else(|| from("HOME").map(|home| home.join(".local/share")))
            .unwrap()
            .join("everstep/guest-toolchain")
    });
    directory.join("bin/guest-cargo")
}
