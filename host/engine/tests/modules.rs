//! Uploads: every kind of bad module is refused with its own code and a fix, and compiled modules
//! survive the process on disk, verified.
#![allow(clippy::unwrap_used)]

mod support;

use everstep_core::Digest;
use everstep_engine::{Engine, EngineOptions, LoadError, ModuleError};
use std::path::PathBuf;
use support::{Guest, MANIFEST, engine, options};

fn refusal(bytes: &[u8]) -> ModuleError {
    let error = engine().compile(bytes).unwrap_err();
    assert!(error.fix().len() > 20, "{error}");
    error
}

#[test]
fn a_good_module_tells_what_it_is() {
    let bytes = Guest::default().build();
    let module = engine().compile(&bytes).unwrap();
    assert_eq!(module.digest(), Digest::of(&bytes));
    assert_eq!(module.size(), bytes.len());
    assert!(module.manifest().workflow("w", "1").is_some());
    let imports = Guest { imports: LOG, ..Guest::default() }.build();
    let module = engine().compile(&imports).unwrap();
    assert_eq!(
        module.imports(),
        ["everstep:workflow/types@0.1.0", "everstep:workflow/logger@0.1.0"]
    );
}

const LOG: &str = r#"(import "everstep:workflow/logger@0.1.0" "log"
    (func $log (param i32 i32 i32 i32 i32)))"#;

#[test]
fn what_is_no_component_is_refused() {
    assert_eq!(refusal(b"#!/bin/sh").code(), "module.not_wasm");
    assert_eq!(refusal(b"").code(), "module.not_wasm");
    let core = wat::parse_str("(module)").unwrap();
    let error = refusal(&core);
    assert_eq!(error.code(), "module.core_module");
    assert!(error.fix().contains("wasm32-wasip2"));
    let mut broken = Guest::default().build();
    let middle = broken.len() / 2;
    broken.truncate(middle);
    assert_eq!(refusal(&broken).code(), "module.invalid");
    let threads = "(component (core module (memory 1 1 shared)))";
    assert_eq!(refusal(&wat::parse_str(threads).unwrap()).code(), "module.invalid");
}

#[test]
fn a_module_over_the_limit_is_refused() {
    let small = Engine::new(EngineOptions { module_bytes_max: 100, ..options() }).unwrap();
    let error = small.compile(&Guest::default().build()).unwrap_err();
    assert_eq!(error.code(), "module.too_large");
    assert!(error.to_string().contains("the limit is 100"));
}

#[test]
fn foreign_imports_and_missing_exports_are_listed() {
    let foreign = r#"(component (import "acme:db/query@1.0.0" (instance)) (import "f" (func)))"#;
    let error = refusal(&wat::parse_str(foreign).unwrap());
    assert_eq!(error.code(), "module.unknown_import");
    assert!(error.to_string().contains("acme:db/query@1.0.0, f"), "{error}");

    let later = r#"(component (import "everstep:workflow/timer@0.9.0" (instance)))"#;
    assert_eq!(refusal(&wat::parse_str(later).unwrap()).code(), "module.unknown_import");

    let unknown_function = r#"(component (import "everstep:workflow/timer@0.1.0"
        (instance (export "nap" (func)))))"#;
    let mut component = unknown_function.to_owned();
    component.insert_str(
        component.len() - 1,
        r#"(instance $e) (export "everstep:workflow/definitions@0.1.0" (instance $e))
           (export "everstep:workflow/workflow@0.1.0" (instance $e))
           (export "task" (instance $e))"#,
    );
    let error = refusal(&wat::parse_str(&component).unwrap());
    assert_eq!(error.code(), "module.unknown_import");
    assert!(error.to_string().contains("nap"), "{error}");

    let error = refusal(&wat::parse_str("(component)").unwrap());
    assert_eq!(error.code(), "module.missing_export");
    assert!(error.to_string().contains("everstep:workflow/definitions"), "{error}");
    assert!(error.to_string().contains("`task`"), "{error}");

    let empty = r#"(component (instance $e)
        (export "everstep:workflow/definitions@0.1.0" (instance $e))
        (export "everstep:workflow/workflow@0.1.0" (instance $e))
        (export "task" (instance $e)))"#;
    assert_eq!(refusal(&wat::parse_str(empty).unwrap()).code(), "module.missing_export");
}

#[test]
fn a_describe_that_misbehaves_is_refused() {
    let describe = |body: &str, imports: &str| {
        refusal(&Guest { describe: body, imports, ..Guest::default() }.build())
    };
    let error = describe("unreachable", "");
    assert_eq!(error.code(), "module.describe_trapped");
    assert!(error.to_string().contains("unreachable"), "{error}");
    assert_eq!(describe("(loop $l (br $l)) unreachable", "").code(), "module.describe_timeout");
    let timer = r#"(import "everstep:workflow/timer@0.1.0" "sleep"
        (func $sleep (param i64 i32 i32) (result i64)))"#;
    let error = describe(
        "(drop (call $sleep (i64.const 1) (i32.const 0) (i32.const 0))) i32.const 16",
        timer,
    );
    assert_eq!(error.code(), "module.describe_trapped");
    assert!(error.to_string().contains("only inside `start` and `resume`"), "{error}");
    let manifest = |manifest: &str| refusal(&Guest { manifest, ..Guest::default() }.build());
    assert_eq!(manifest("{").code(), "module.manifest_invalid");
    assert!(manifest(r#"{"format":1,"workflows":[]}"#).to_string().contains("no workflow"));
}

#[test]
fn describe_may_log() {
    let describe = "(call $log (i32.const 2) (i32.const 1000) (i32.const 4) (i32.const 0)
        (i32.const 0)) (i32.const 16)";
    let guest = Guest { imports: LOG, describe, ..Guest::default() };
    assert!(engine().compile(&guest.build()).is_ok());
}

#[test]
fn a_second_engine_loads_from_disk_without_compiling() {
    let dir = tempfile::tempdir().unwrap();
    let cached = || EngineOptions { cache_dir: Some(dir.path().join("modules")), ..options() };
    let bytes = Guest::default().build();
    let digest = Digest::of(&bytes);
    let first = Engine::new(cached()).unwrap();
    assert!(first.cached(&digest).is_none());
    first.compile(&bytes).unwrap();

    let second = Engine::new(cached()).unwrap();
    let module =
        second.load::<String>(&digest, || panic!("the module should come from disk")).unwrap();
    assert_eq!(module.manifest().tasks.len(), 1);
    assert_eq!(module.size(), bytes.len());
    let mut instance = module.instantiate(support::run(1)).unwrap();
    instance.activate(&support::start_at(1), &support::payload("1")).unwrap();
    assert!(second.cached(&digest).is_some());
}

#[test]
fn a_damaged_cache_file_is_noticed_and_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let cached = || EngineOptions { cache_dir: Some(dir.path().to_owned()), ..options() };
    let bytes = Guest::default().build();
    let digest = Digest::of(&bytes);
    Engine::new(cached()).unwrap().compile(&bytes).unwrap();
    let file = only_file(dir.path());
    let intact = std::fs::read(&file).unwrap();
    for damage in [
        |file: &mut Vec<u8>| {
            let middle = file.len() / 2;
            file[middle] ^= 0x40;
        },
        |file: &mut Vec<u8>| file.truncate(1_000),
        |file: &mut Vec<u8>| file.clear(),
    ] {
        let mut damaged = intact.clone();
        damage(&mut damaged);
        std::fs::write(&file, damaged).unwrap();
        let engine = Engine::new(cached()).unwrap();
        assert!(engine.cached(&digest).is_none());
        assert!(!file.exists(), "a damaged file is deleted");
        let mut fetched = false;
        engine
            .load::<String>(&digest, || {
                fetched = true;
                Ok(bytes.clone())
            })
            .unwrap();
        assert!(fetched && file.exists(), "the module is compiled anew");
    }
}

#[test]
fn the_cache_on_disk_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::new(EngineOptions {
        cache_dir: Some(dir.path().to_owned()),
        cache_bytes_max: 1,
        ..options()
    })
    .unwrap();
    for version in ["1", "2", "3"] {
        let manifest = MANIFEST.replace(r#""version":"1""#, &format!(r#""version":"{version}""#));
        engine.compile(&Guest { manifest: &manifest, ..Guest::default() }.build()).unwrap();
        only_file(dir.path());
    }
}

#[test]
fn what_was_fetched_must_be_what_was_asked_for() {
    let bytes = Guest::default().build();
    let engine = engine();
    let asked = Digest::of(b"something else");
    let error = engine.load::<String>(&asked, || Ok(bytes.clone())).unwrap_err();
    assert!(matches!(error, LoadError::Damaged { found } if found == Digest::of(&bytes)));
    let error = engine.load(&asked, || Err("the store is away")).unwrap_err();
    assert!(error.to_string().contains("the store is away"));
}

fn only_file(dir: &std::path::Path) -> PathBuf {
    let files: Vec<_> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    files[0].clone()
}
