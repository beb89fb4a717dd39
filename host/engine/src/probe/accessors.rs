//! The core module through which the host reads and writes the state of a guest: small functions, made
//! for the memories and globals that there are. `probe.rs` adds it to a component; `image.rs` calls the
//! functions, by the names that are made here.

use wasm_encoder as enc;

/// The import of the component that is shown memories.
pub(crate) const SINK: &str = "everstep-sink";

/// Says where the next bytes are to be written.
pub(crate) const SEEK: &str = "everstep-seek";

/// Shows a memory to the sink.
pub(crate) fn capture_name(memory: u32) -> String {
    format!("everstep-capture{memory}")
}

/// Grows a memory by a number of pages.
pub(crate) fn grow_name(memory: u32) -> String {
    format!("everstep-grow{memory}")
}

/// Takes bytes for a memory.
pub(crate) fn poke_name(memory: u32) -> String {
    format!("everstep-poke{memory}")
}

/// Reads a global, or half of a vector.
pub(crate) fn get_name(global: u32) -> String {
    format!("everstep-get{global}")
}

/// Writes a global, or half of a vector.
pub(crate) fn set_name(global: u32) -> String {
    format!("everstep-set{global}")
}

/// What an accessor does, for one memory where it is about one.
#[derive(Clone, Copy)]
pub(super) enum Kind {
    Capture,
    Grow,
    Seek,
    Poke(u32),
    Get,
    Set,
}

/// An accessor: a function of the module, and of the component.
pub(super) struct Accessor {
    pub(super) name: String,
    pub(super) kind: Kind,
    code: enc::Function,
}

impl Kind {
    /// The place of its type among those of the accessor module and, with one more in front, among
    /// those that the component gets.
    fn ty(self) -> u32 {
        match self {
            Self::Capture => 1,
            Self::Grow => 2,
            Self::Seek => 3,
            Self::Poke(_) => 4,
            Self::Get => 5,
            Self::Set => 6,
        }
    }

    /// The number of its type in a component that had `types` before.
    pub(super) fn component_type(self, types: u32) -> u32 {
        types + 1 + self.ty()
    }
}

const SINK_TYPE: u32 = 0;
const REALLOC_TYPE: u32 = 7;
/// The function by which the canonical ABI finds out where bytes go.
pub(super) const REALLOC: &str = "realloc";

/// The number of the sink's type in a component that had `types` before.
pub(super) fn sink_type(types: u32) -> u32 {
    types + 1 + SINK_TYPE
}

/// The types that a component with `types` of them gets.
pub(super) fn component_types(types: u32) -> enc::ComponentTypeSection {
    use enc::ComponentValType::{Primitive, Type};
    use enc::PrimitiveValType::{U8, U32, U64};
    let (bytes, number, bits) = (Type(types), Primitive(U32), Primitive(U64));
    let mut section = enc::ComponentTypeSection::new();
    section.defined_type().list(U8);
    section.function().params([("memory", number), ("bytes", bytes)]).result(None);
    section.function().params::<[(&str, enc::ComponentValType); 0], _>([]).result(None);
    section.function().params([("pages", number)]).result(Some(number));
    section.function().params([("at", number)]).result(None);
    section.function().params([("bytes", bytes)]).result(None);
    section.function().params::<[(&str, enc::ComponentValType); 0], _>([]).result(Some(bits));
    section.function().params([("bits", bits)]).result(None);
    section
}

/// The accessors for so many memories and these globals.
pub(super) fn accessors(memories: u32, globals: &[enc::ValType]) -> Vec<Accessor> {
    let mut accessors = Vec::new();
    let mut add = |name: String, kind, fill: &dyn Fn(&mut enc::InstructionSink<'_>)| {
        let mut code = enc::Function::new([]);
        fill(&mut code.instructions());
        code.instructions().end();
        accessors.push(Accessor { name, kind, code });
    };
    let cursor = u32::try_from(globals.len()).unwrap_or(u32::MAX);
    add(SEEK.to_owned(), Kind::Seek, &|code| {
        code.local_get(0).global_set(cursor);
    });
    for memory in 0..memories {
        let number = i32::try_from(memory).unwrap_or(i32::MAX);
        add(capture_name(memory), Kind::Capture, &|code| {
            let size = code.i32_const(number).i32_const(0).memory_size(memory);
            size.i32_const(16).i32_shl().call(memory);
        });
        add(grow_name(memory), Kind::Grow, &|code| {
            code.local_get(0).memory_grow(memory);
        });
        // The bytes are where they belong when it is called.
        add(poke_name(memory), Kind::Poke(memory), &|_| {});
    }
    let mut named = 0;
    for (index, ty) in (0..).zip(globals) {
        for half in 0..if *ty == enc::ValType::V128 { 2 } else { 1 } {
            add(get_name(named), Kind::Get, &|code| get(code, index, *ty, half));
            add(set_name(named), Kind::Set, &|code| set(code, index, *ty, half));
            named += 1;
        }
    }
    accessors
}

fn get(code: &mut enc::InstructionSink<'_>, global: u32, ty: enc::ValType, half: u8) {
    let read = code.global_get(global);
    match ty {
        enc::ValType::I32 => read.i64_extend_i32_u(),
        enc::ValType::F32 => read.i32_reinterpret_f32().i64_extend_i32_u(),
        enc::ValType::F64 => read.i64_reinterpret_f64(),
        enc::ValType::V128 => read.i64x2_extract_lane(half),
        _ => read,
    };
}

fn set(code: &mut enc::InstructionSink<'_>, global: u32, ty: enc::ValType, half: u8) {
    if ty == enc::ValType::V128 {
        code.global_get(global);
    }
    let bits = code.local_get(0);
    match ty {
        enc::ValType::I32 => bits.i32_wrap_i64(),
        enc::ValType::F32 => bits.i32_wrap_i64().f32_reinterpret_i32(),
        enc::ValType::F64 => bits.f64_reinterpret_i64(),
        enc::ValType::V128 => bits.i64x2_replace_lane(half),
        _ => bits,
    };
    code.global_set(global);
}

/// The module: it imports every memory, every global and, for each memory, the sink.
pub(super) fn accessor_module(
    memories: u32,
    globals: &[enc::ValType],
    accessors: &[Accessor],
) -> enc::Module {
    let mut imports = enc::ImportSection::new();
    for n in 0..memories {
        imports.import("sink", &n.to_string(), enc::EntityType::Function(SINK_TYPE));
    }
    for n in 0..memories {
        let any = enc::MemoryType {
            minimum: 0,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        };
        imports.import("memory", &n.to_string(), any);
    }
    for (n, val_type) in globals.iter().enumerate() {
        let ty = enc::GlobalType { val_type: *val_type, mutable: true, shared: false };
        imports.import("global", &n.to_string(), ty);
    }
    let cursor = enc::GlobalType { val_type: enc::ValType::I32, mutable: true, shared: false };
    let mut defined = enc::GlobalSection::new();
    defined.global(cursor, &enc::ConstExpr::i32_const(0));
    let (mut functions, mut exports, mut code) =
        (enc::FunctionSection::new(), enc::ExportSection::new(), enc::CodeSection::new());
    let mut realloc = enc::Function::new([]);
    realloc.instructions().global_get(u32::try_from(globals.len()).unwrap_or(u32::MAX)).end();
    functions.function(REALLOC_TYPE);
    exports.export(REALLOC, enc::ExportKind::Func, memories);
    code.function(&realloc);
    for (n, accessor) in (memories + 1..).zip(accessors) {
        functions.function(accessor.kind.ty());
        exports.export(&accessor.name, enc::ExportKind::Func, n);
        code.function(&accessor.code);
    }
    let mut module = enc::Module::new();
    let types = core_types();
    module.section(&types).section(&imports).section(&functions).section(&defined);
    module.section(&exports).section(&code);
    module
}

fn core_types() -> enc::TypeSection {
    use enc::ValType::{I32, I64};
    let mut types = enc::TypeSection::new();
    types.ty().function([I32, I32, I32], []);
    types.ty().function([], []);
    types.ty().function([I32], [I32]);
    types.ty().function([I32], []);
    types.ty().function([I32, I32], []);
    types.ty().function([], [I64]);
    types.ty().function([I64], []);
    types.ty().function([I32, I32, I32, I32], [I32]);
    types
}
