//! Makes the state of a component's core instances readable and writable: what a guest is between two
//! activations is its linear memories and its mutable globals, and wasmtime shows neither unless they are
//! exported. [`instrument`] adds a small core module to the component that has access to them, and exports
//! its functions; `image.rs` calls these.
//!
//! Invariant: nothing is taken away or renumbered and no code of the guest changes, so a component
//! with probes does what it does without. One whose state is somewhere else, too, gets none.

mod accessors;
mod soundness;

pub(crate) use accessors::{SEEK, SINK, capture_name, get_name, grow_name, poke_name, set_name};

use accessors::{Kind, REALLOC, accessor_module, accessors, component_types, sink_type};
use wasm_encoder as enc;
use wasmparser::{Instance, Parser, Payload, TypeRef, ValType, Validator};

/// Changes whenever components with probes are made in another way.
pub(crate) const PROBES: u32 = 2;

/// Why a component is not given probes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProbeError {
    /// The bytes are no valid component.
    #[error(transparent)]
    Invalid(#[from] wasmparser::BinaryReaderError),
    /// Its state is where no probe reaches.
    #[error("{0}")]
    Unreachable(&'static str),
}

/// What a core module defines that a probe reads, by the number that the module knows it by.
#[derive(Default)]
struct State {
    memories: Vec<u32>,
    globals: Vec<(u32, enc::ValType)>,
}

/// A component with probes, made from one without.
pub(crate) fn instrument(bytes: &[u8], mut validator: Validator) -> Result<Vec<u8>, ProbeError> {
    let types = validator.validate_all(bytes)?;
    let types = types.as_ref();
    let mut component = enc::Component::new();
    let (mut modules, mut instances) = (Vec::new(), Vec::new());
    let mut nested = Vec::new();
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        soundness::check(&payload)?;
        let top = nested.is_empty();
        match &payload {
            Payload::ModuleSection { unchecked_range, .. } if top => {
                let (module, state) = export_state(slice(bytes, unchecked_range))?;
                component.section(&enc::ModuleSection(&module));
                modules.push(state);
            }
            Payload::InstanceSection(reader) if top => {
                for instance in reader.clone() {
                    instances.push(match instance? {
                        Instance::Instantiate { module_index, .. } => Some(module_index),
                        Instance::FromExports(_) => None,
                    });
                }
                copy(&mut component, bytes, &payload);
            }
            Payload::ModuleSection { .. } if nested.contains(&true) => {
                return Err(ProbeError::Unreachable("a component inside of it has core modules"));
            }
            _ if top => copy(&mut component, bytes, &payload),
            _ => {}
        }
        match payload {
            Payload::ModuleSection { .. } => nested.push(false),
            Payload::ComponentSection { .. } => nested.push(true),
            Payload::End(_) => drop(nested.pop()),
            _ => {}
        }
    }
    let counts = Counts {
        modules: types.module_count(),
        instances: types.core_instance_count(),
        functions: types.function_count(),
        memories: types.memory_count(),
        globals: types.global_count(),
        types: types.component_type_count(),
        lifted: types.component_function_count(),
    };
    add_probes(&mut component, &counts, &modules, &instances);
    Ok(component.finish())
}

fn slice<'b>(bytes: &'b [u8], range: &std::ops::Range<u64>) -> &'b [u8] {
    let place = |at| usize::try_from(at).unwrap_or(usize::MAX);
    bytes.get(place(range.start)..place(range.end)).unwrap_or_default()
}

fn copy(component: &mut enc::Component, bytes: &[u8], payload: &Payload<'_>) {
    if let Some((id, range)) = payload.as_section() {
        component.section(&enc::RawSection { id, data: slice(bytes, &range) });
    }
}

fn memory_name(index: u32) -> String {
    format!("everstep:memory:{index}")
}

fn global_name(index: u32) -> String {
    format!("everstep:global:{index}")
}

/// The same core module with its memories and mutable globals exported.
fn export_state(bytes: &[u8]) -> Result<(enc::Module, State), ProbeError> {
    let mut state = State::default();
    let (mut memories, mut globals) = (0, 0);
    let (mut before, mut exports, mut behind) = (Vec::new(), enc::ExportSection::new(), Vec::new());
    for payload in Parser::new(0).parse_all(bytes) {
        let payload = payload?;
        match &payload {
            Payload::ImportSection(reader) => {
                for import in reader.clone().into_imports() {
                    match import?.ty {
                        TypeRef::Memory(_) => memories += 1,
                        TypeRef::Global(_) => globals += 1,
                        _ => {}
                    }
                }
            }
            Payload::MemorySection(reader) => {
                state.memories.extend(memories..memories + reader.count());
            }
            Payload::GlobalSection(reader) => {
                for (index, global) in (globals..).zip(reader.clone()) {
                    let ty = global?.ty;
                    if ty.mutable {
                        state.globals.push((index, value_type(ty.content_type)?));
                    }
                }
            }
            Payload::ExportSection(reader) => {
                for export in reader.clone() {
                    let export = export?;
                    exports.export(export.name, kind(export.kind), export.index);
                }
                continue;
            }
            _ => {}
        }
        let Some((id, range)) = payload.as_section() else { continue };
        let section = enc::RawSection { id, data: slice(bytes, &range) };
        // Custom sections stay where they are; those of code and data stand behind the exports.
        let late = !behind.is_empty() || (8..=12).contains(&id);
        if late { behind.push(section) } else { before.push(section) }
    }
    for index in &state.memories {
        exports.export(&memory_name(*index), enc::ExportKind::Memory, *index);
    }
    for (index, _) in &state.globals {
        exports.export(&global_name(*index), enc::ExportKind::Global, *index);
    }
    let mut module = enc::Module::new();
    for section in &before {
        module.section(section);
    }
    module.section(&exports);
    for section in &behind {
        module.section(section);
    }
    Ok((module, state))
}

fn value_type(ty: ValType) -> Result<enc::ValType, ProbeError> {
    Ok(match ty {
        ValType::I32 => enc::ValType::I32,
        ValType::I64 => enc::ValType::I64,
        ValType::F32 => enc::ValType::F32,
        ValType::F64 => enc::ValType::F64,
        ValType::V128 => enc::ValType::V128,
        ValType::Ref(_) => {
            return Err(ProbeError::Unreachable("a global that changes holds a reference"));
        }
    })
}

fn kind(kind: wasmparser::ExternalKind) -> enc::ExportKind {
    use wasmparser::ExternalKind::{Func, FuncExact, Global, Memory, Table, Tag};
    match kind {
        Func | FuncExact => enc::ExportKind::Func,
        Table => enc::ExportKind::Table,
        Memory => enc::ExportKind::Memory,
        Global => enc::ExportKind::Global,
        Tag => enc::ExportKind::Tag,
    }
}

/// How many of each there are in the component without probes; the next one has this index.
struct Counts {
    modules: u32,
    instances: u32,
    functions: u32,
    memories: u32,
    globals: u32,
    types: u32,
    lifted: u32,
}

fn add_probes(
    component: &mut enc::Component,
    counts: &Counts,
    modules: &[State],
    instances: &[Option<u32>],
) {
    let mut aliases = enc::ComponentAliasSection::new();
    let (mut memories, mut globals) = (0, Vec::new());
    for (instance, module) in (0..).zip(instances) {
        let Some(state) = module.and_then(|module| modules.get(module as usize)) else { continue };
        let mut alias = |kind, name: &str| {
            aliases.alias(enc::Alias::CoreInstanceExport { instance, kind, name });
        };
        for index in &state.memories {
            alias(enc::ExportKind::Memory, &memory_name(*index));
            memories += 1;
        }
        for (index, ty) in &state.globals {
            alias(enc::ExportKind::Global, &global_name(*index));
            globals.push(*ty);
        }
    }
    component.section(&component_types(counts.types));
    let mut imports = enc::ComponentImportSection::new();
    imports.import(SINK, enc::ComponentTypeRef::Func(sink_type(counts.types)));
    component.section(&imports);
    component.section(&aliases);
    let of_memory = |memory: u32| enc::CanonicalOption::Memory(counts.memories + memory);
    let mut sinks = enc::CanonicalFunctionSection::new();
    for memory in 0..memories {
        sinks.lower(counts.lifted, [of_memory(memory)]);
    }
    component.section(&sinks);
    let accessors = accessors(memories, &globals);
    component.section(&enc::ModuleSection(&accessor_module(memories, &globals, &accessors)));

    let mut made = enc::InstanceSection::new();
    let named = |first: u32, count: u32, kind| {
        (0..count).map(move |n| (n.to_string(), kind, first + n)).collect::<Vec<_>>()
    };
    made.export_items(named(counts.functions, memories, enc::ExportKind::Func));
    made.export_items(named(counts.memories, memories, enc::ExportKind::Memory));
    let count = u32::try_from(globals.len()).unwrap_or(u32::MAX);
    made.export_items(named(counts.globals, count, enc::ExportKind::Global));
    let given = |n: u32| enc::ModuleArg::Instance(counts.instances + n);
    let arguments = [("sink", given(0)), ("memory", given(1)), ("global", given(2))];
    made.instantiate(counts.modules, arguments);
    component.section(&made);

    let instance = counts.instances + 3;
    let mut aliases = enc::ComponentAliasSection::new();
    let mut alias = |name: &str| {
        let kind = enc::ExportKind::Func;
        aliases.alias(enc::Alias::CoreInstanceExport { instance, kind, name });
    };
    alias(REALLOC);
    accessors.iter().for_each(|accessor| alias(&accessor.name));
    let realloc = counts.functions + memories;
    let mut lifts = enc::CanonicalFunctionSection::new();
    let mut exports = enc::ComponentExportSection::new();
    for (n, accessor) in (1..).zip(&accessors) {
        let options = match accessor.kind {
            Kind::Poke(memory) => vec![of_memory(memory), enc::CanonicalOption::Realloc(realloc)],
            _ => Vec::new(),
        };
        lifts.lift(realloc + n, accessor.kind.component_type(counts.types), options);
        // The sink is a function of the component, too.
        let function = enc::ComponentExportKind::Func;
        exports.export(accessor.name.as_str(), function, counts.lifted + n, None);
    }
    component.section(&aliases);
    component.section(&lifts);
    component.section(&exports);
}
