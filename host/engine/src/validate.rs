//! What a module must be before anything runs: a component within the size limit, valid under the
//! fixed feature set, importing only what hosts have, exporting the whole contract. Each refusal
//! has its own code.

use crate::config::FEATURES;
use crate::error::ModuleError;
use crate::imports::short_name;
use crate::probe::SINK;
use wasmparser::{Validator, WasmFeatures};
use wasmtime::Engine;
use wasmtime::component::Component;

/// The interfaces of the contract that a module may import.
const IMPORTS: [&str; 11] = [
    "everstep:workflow/types",
    "everstep:workflow/children",
    "everstep:workflow/context",
    "everstep:workflow/control",
    "everstep:workflow/events",
    "everstep:workflow/logger",
    "everstep:workflow/operations",
    "everstep:workflow/outcome",
    "everstep:workflow/state",
    "everstep:workflow/task",
    "everstep:workflow/timer",
];

/// What it must export.
const EXPORTS: [&str; 3] = ["everstep:workflow/definitions", "everstep:workflow/workflow", "task"];

/// The versions of the contract that this host speaks.
const VERSIONS: &str = "0.1.";

/// Checks the bytes by themselves.
pub(crate) fn check_bytes(bytes: &[u8], limit: usize) -> Result<(), ModuleError> {
    if bytes.len() > limit {
        return Err(ModuleError::TooLarge { size: bytes.len(), limit });
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(ModuleError::NotWasm);
    }
    if bytes.get(4..8) == Some(&[1, 0, 0, 0]) {
        return Err(ModuleError::CoreModule);
    }
    validator()
        .validate_all(bytes)
        .map(drop)
        .map_err(|error| ModuleError::Invalid(error.to_string()))
}

/// A validator for the fixed feature set.
pub(crate) fn validator() -> Validator {
    Validator::new_with_features(features())
}

/// Checks the names of what the component takes and gives. Linking checks the types.
pub(crate) fn check_names(
    engine: &Engine,
    component: &Component,
    probed: bool,
) -> Result<(), ModuleError> {
    let unknown: Vec<String> =
        imports(engine, component, probed).into_iter().filter(|name| !is_known(name)).collect();
    if !unknown.is_empty() {
        return Err(ModuleError::UnknownImport(unknown));
    }
    let component = component.component_type();
    let exports: Vec<&str> = component.exports(engine).map(|(name, _)| short_name(name)).collect();
    let missing: Vec<String> = EXPORTS
        .iter()
        .filter(|name| !exports.contains(*name))
        .map(|name| format!("`{name}`"))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(ModuleError::MissingExport(missing)) }
}

/// The names of a component's imports, in its order, without the one that probes add.
pub(crate) fn imports(engine: &Engine, component: &Component, probed: bool) -> Vec<String> {
    let component = component.component_type();
    let names = component.imports(engine).map(|(name, _)| name);
    names.filter(|name| !probed || *name != SINK).map(str::to_owned).collect()
}

fn is_known(name: &str) -> bool {
    if name.starts_with("wasi:") {
        return true;
    }
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    IMPORTS.contains(&interface) && version.starts_with(VERSIONS)
}

/// The fixed feature set in the terms of the validator, which has a version of its own.
fn features() -> WasmFeatures {
    FEATURES
        .iter_names()
        .filter_map(|(name, _)| WasmFeatures::from_name(name))
        .fold(WasmFeatures::empty(), WasmFeatures::union)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_validator_knows_every_feature_of_the_configuration() {
        assert_eq!(features().iter_names().count(), FEATURES.iter_names().count());
        assert!(!features().contains(WasmFeatures::THREADS));
    }

    #[test]
    fn imports_are_known_by_interface_and_version() {
        assert!(is_known("everstep:workflow/timer@0.1.0"));
        assert!(is_known("wasi:http/types@0.2.4"));
        assert!(!is_known("everstep:workflow/timer@0.2.0"));
        assert!(!is_known("everstep:workflow/teleport@0.1.0"));
        assert!(!is_known("acme:db/query@1.0.0"));
        assert!(!is_known("bare"));
    }
}
