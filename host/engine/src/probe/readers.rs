//! The core module that reads memories and globals: one small function for each thing to know. Made by
//! `probe.rs`, which also calls the functions, by their names.

use wasm_encoder as enc;

/// The functions of the reading module, with their place among the types of functions below.
pub(super) struct Reader {
    pub(super) name: String,
    pub(super) ty: u32,
    code: enc::Function,
}

/// `() -> u32`, `(u32) -> u32`, `(u32) -> u64`, `() -> u64`: of the reading module and, with the
/// same numbers, of the component.
const SIZE: u32 = 0;
const BLANK: u32 = 1;
const WORD: u32 = 2;
const GLOBAL: u32 = 3;

pub(super) fn lifted_types() -> enc::ComponentTypeSection {
    use enc::ComponentValType::Primitive;
    use enc::PrimitiveValType::{U32, U64};
    let mut types = enc::ComponentTypeSection::new();
    for (takes, gives) in [(false, U32), (true, U32), (true, U64), (false, U64)] {
        let parameters = takes.then_some(("at", Primitive(U32)));
        let parameters: Vec<_> = parameters.into_iter().collect();
        types.function().params(parameters).result(Some(Primitive(gives)));
    }
    types
}

/// The module that reads: it imports every memory and global, and defines the readers.
pub(super) fn reading_module(
    memories: u32,
    globals: &[enc::ValType],
    readers: &[Reader],
) -> enc::Module {
    use enc::ValType::{I32, I64};
    let mut types = enc::TypeSection::new();
    types.ty().function([], [I32]);
    types.ty().function([I32], [I32]);
    types.ty().function([I32], [I64]);
    types.ty().function([], [I64]);
    let mut imports = enc::ImportSection::new();
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
    let (mut functions, mut exports, mut code) =
        (enc::FunctionSection::new(), enc::ExportSection::new(), enc::CodeSection::new());
    for (n, reader) in (0..).zip(readers) {
        functions.function(reader.ty);
        exports.export(&reader.name, enc::ExportKind::Func, n);
        code.function(&reader.code);
    }
    let mut module = enc::Module::new();
    module.section(&types).section(&imports).section(&functions).section(&exports).section(&code);
    module
}

pub(super) fn readers(memories: u32, globals: &[enc::ValType]) -> Vec<Reader> {
    let mut readers = Vec::new();
    for memory in 0..memories {
        let mut size = enc::Function::new([]);
        size.instructions().memory_size(memory).end();
        readers.push(Reader {
            name: format!("everstep-memory{memory}-size"),
            ty: SIZE,
            code: size,
        });
        let mut word = enc::Function::new([]);
        word.instructions().local_get(0).i64_load(at(memory)).end();
        readers.push(Reader {
            name: format!("everstep-memory{memory}-word"),
            ty: WORD,
            code: word,
        });
        let name = format!("everstep-memory{memory}-blank");
        readers.push(Reader { name, ty: BLANK, code: blank(memory) });
    }
    let mut named = 0;
    for (n, ty) in (0..).zip(globals) {
        for half in 0..if *ty == enc::ValType::V128 { 2 } else { 1 } {
            let mut code = enc::Function::new([]);
            let mut code_of = code.instructions();
            let read = code_of.global_get(n);
            match ty {
                enc::ValType::I32 => read.i64_extend_i32_u(),
                enc::ValType::F32 => read.i32_reinterpret_f32().i64_extend_i32_u(),
                enc::ValType::F64 => read.i64_reinterpret_f64(),
                enc::ValType::V128 => read.i64x2_extract_lane(half),
                _ => read,
            };
            code_of.end();
            let name = format!("everstep-global{named}");
            named += 1;
            readers.push(Reader { name, ty: GLOBAL, code });
        }
    }
    readers
}

fn at(memory: u32) -> enc::MemArg {
    let target = enc::MemArgTarget::Memory(memory);
    enc::MemArg { offset: 0, align: 3, target, ordering: None }
}

/// Whether a page holds nothing but zeros, as most do; such a page is not read word by word.
fn blank(memory: u32) -> enc::Function {
    let mut function = enc::Function::new([(1, enc::ValType::I32)]);
    let page = i32::try_from(super::PAGE).unwrap_or(i32::MAX);
    // The parameter becomes the address, local 1 where the page ends; both may wrap around together.
    function
        .instructions()
        .local_get(0)
        .i32_const(16)
        .i32_shl()
        .local_tee(0)
        .i32_const(page)
        .i32_add()
        .local_set(1)
        .loop_(enc::BlockType::Empty)
        .local_get(0)
        .i64_load(at(memory))
        .i64_eqz()
        .i32_eqz()
        .if_(enc::BlockType::Empty)
        .i32_const(0)
        .return_()
        .end()
        .local_get(0)
        .i32_const(8)
        .i32_add()
        .local_tee(0)
        .local_get(1)
        .i32_ne()
        .br_if(0)
        .end()
        .i32_const(1)
        .end();
    function
}
