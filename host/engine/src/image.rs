//! What a guest is between two activations, as bytes: read and written through the functions that
//! `probe.rs` gives a component. Snapshots and the hashes of audits are made from it.

use crate::probe::{SEEK, SINK, capture_name, get_name, grow_name, poke_name, set_name};
use crate::state::WorkflowState;
use everstep_core::Digest;
use sha2::{Digest as _, Sha256};
use std::sync::Arc;
use wasmtime::component::{Instance, Linker, WasmList};
use wasmtime::{AsContextMut, Store};

/// The size of a page of linear memory, and of the pieces in which snapshots have it.
const WASM_PAGE: usize = 64 << 10;
/// The pieces of memory that a snapshot has or leaves out.
pub(crate) const PAGE: usize = 4 << 10;

/// The memories and globals of a guest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Image {
    pub(crate) memories: Vec<Vec<u8>>,
    pub(crate) globals: Vec<u64>,
}

/// What becomes of a memory that a guest shows.
pub(crate) enum Sink {
    /// It is hashed.
    Hash(Sha256),
    /// It is copied.
    Copy(Vec<Vec<u8>>),
    /// Where it differs from an older one, it is copied.
    Compare(Box<Comparison>),
}

/// The pages in which memories differ from what they were.
#[derive(Default)]
pub(crate) struct Comparison {
    pub(crate) base: Arc<Image>,
    pub(crate) memories: Vec<Changed>,
    /// The pages that differ, one after the other.
    pub(crate) bytes: Vec<u8>,
}

/// How a memory differs from what it was.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Changed {
    /// Its size, in bytes.
    pub(crate) size: u64,
    /// Where pages differ: the number of the first one, and how many follow each other.
    pub(crate) pages: Vec<(u32, u32)>,
}

impl Sink {
    fn take(&mut self, bytes: &[u8]) {
        match self {
            Self::Hash(hash) => hash_memory(hash, bytes),
            Self::Copy(memories) => memories.push(bytes.to_vec()),
            Self::Compare(comparison) => comparison.take(bytes),
        }
    }
}

impl Comparison {
    fn take(&mut self, bytes: &[u8]) {
        let nothing = Vec::new();
        let base = self.base.memories.get(self.memories.len()).unwrap_or(&nothing);
        let mut changed = Changed { size: bytes.len() as u64, pages: Vec::new() };
        for (number, page) in (0_u32..).zip(bytes.chunks(PAGE)) {
            let at = number as usize * PAGE;
            let same = match base.get(at..at + page.len()) {
                Some(before) => before == page,
                // Memory that is new is blank.
                None => is_blank(page),
            };
            if same {
                continue;
            }
            self.bytes.extend_from_slice(page);
            match changed.pages.last_mut() {
                Some((first, count)) if *first + *count == number => *count += 1,
                _ => changed.pages.push((number, 1)),
            }
        }
        self.memories.push(changed);
    }
}

/// A memory as its number of pages and its pages, a mark for a blank one.
fn hash_memory(hash: &mut Sha256, bytes: &[u8]) {
    let pages = u32::try_from(bytes.len() / WASM_PAGE).unwrap_or(u32::MAX);
    hash.update(pages.to_le_bytes());
    for page in bytes.chunks(WASM_PAGE) {
        let blank = is_blank(page);
        hash.update([u8::from(!blank)]);
        if !blank {
            hash.update(page);
        }
    }
}

fn is_blank(page: &[u8]) -> bool {
    // An or over words, which compilers make wide; most pages are told by their first words.
    let (words, rest) = page.as_chunks::<64>();
    words.iter().all(|word| word.iter().fold(0, |or, byte| or | byte) == 0)
        && rest.iter().all(|byte| *byte == 0)
}

/// Defines what accessors show memories to.
pub(crate) fn define_sink(linker: &mut Linker<WorkflowState>) -> wasmtime::Result<()> {
    linker.root().func_wrap(SINK, |mut store, (_, bytes): (u32, WasmList<u8>)| {
        let sink = store.data_mut().sink.take();
        let Some(mut sink) = sink else { return Err(nobody_looks()) };
        sink.take(bytes.as_le_slice(&store));
        store.data_mut().sink = Some(sink);
        Ok(())
    })
}

/// Defines the same for instances that nobody looks into.
pub(crate) fn define_no_sink<T: 'static>(linker: &mut Linker<T>) -> wasmtime::Result<()> {
    linker.root().func_wrap(SINK, |_, (_, _): (u32, WasmList<u8>)| -> wasmtime::Result<()> {
        Err(nobody_looks())
    })
}

fn nobody_looks() -> wasmtime::Error {
    wasmtime::Error::msg("a memory is shown to nobody")
}

/// Shows every memory to the sink and gives it back.
fn show(
    store: &mut Store<WorkflowState>,
    instance: &Instance,
    sink: Sink,
) -> wasmtime::Result<Sink> {
    store.data_mut().sink = Some(sink);
    let mut shown = Ok(());
    for memory in 0.. {
        let Some(capture) = instance.get_func(&mut *store, capture_name(memory)) else { break };
        shown = capture.typed::<(), ()>(&mut *store).and_then(|it| it.call(&mut *store, ()));
        if shown.is_err() {
            break;
        }
    }
    let sink = store.data_mut().sink.take();
    shown?;
    sink.ok_or_else(nobody_looks)
}

fn globals(store: &mut Store<WorkflowState>, instance: &Instance) -> wasmtime::Result<Vec<u64>> {
    let mut globals = Vec::new();
    for global in 0.. {
        let Some(read) = instance.get_func(&mut *store, get_name(global)) else { break };
        let (bits,) = read.typed::<(), (u64,)>(&mut *store)?.call(&mut *store, ())?;
        globals.push(bits);
    }
    Ok(globals)
}

/// The hash of all memories and globals.
pub(crate) fn hash(
    store: &mut Store<WorkflowState>,
    instance: &Instance,
) -> wasmtime::Result<Digest> {
    let Sink::Hash(mut hash) = show(store, instance, Sink::Hash(Sha256::new()))? else {
        return Err(nobody_looks());
    };
    for bits in globals(store, instance)? {
        hash.update(bits.to_le_bytes());
    }
    Ok(Digest::from_bytes(hash.finalize().into()))
}

/// A copy of all memories and globals.
pub(crate) fn copy(
    store: &mut Store<WorkflowState>,
    instance: &Instance,
) -> wasmtime::Result<Image> {
    let Sink::Copy(memories) = show(store, instance, Sink::Copy(Vec::new()))? else {
        return Err(nobody_looks());
    };
    Ok(Image { memories, globals: globals(store, instance)? })
}

/// What of the memories differs from the base, and all globals.
pub(crate) fn compare(
    store: &mut Store<WorkflowState>,
    instance: &Instance,
    base: Arc<Image>,
) -> wasmtime::Result<(Comparison, Vec<u64>)> {
    let sink = Sink::Compare(Box::new(Comparison { base, ..Comparison::default() }));
    let Sink::Compare(comparison) = show(store, instance, sink)? else {
        return Err(nobody_looks());
    };
    Ok((*comparison, globals(store, instance)?))
}

/// Makes an instance that is like the base what it was when it was compared with it.
pub(crate) fn write(
    store: &mut Store<WorkflowState>,
    instance: &Instance,
    (memories, mut bytes): (&[Changed], &[u8]),
    globals: &[u64],
) -> wasmtime::Result<()> {
    let wrong = || wasmtime::Error::msg("the image does not fit the module");
    let function = |store: &mut Store<WorkflowState>, name: String| {
        instance.get_func(store.as_context_mut(), name).ok_or_else(wrong)
    };
    let seek = function(store, SEEK.to_owned())?.typed::<(u32,), ()>(&mut *store)?;
    for (memory, changed) in (0..).zip(memories) {
        let grow = function(store, grow_name(memory))?.typed::<(u32,), (u32,)>(&mut *store)?;
        let poke = function(store, poke_name(memory))?.typed::<(&[u8],), ()>(&mut *store)?;
        let (pages,) = grow.call(&mut *store, (0,))?;
        let wanted = u32::try_from(changed.size / WASM_PAGE as u64).map_err(|_| wrong())?;
        let more = wanted.checked_sub(pages).ok_or_else(wrong)?;
        if more > 0 && grow.call(&mut *store, (more,))?.0 != pages {
            return Err(wasmtime::Error::msg("there is no room for the memory"));
        }
        for (first, count) in &changed.pages {
            let part;
            let length = *count as usize * PAGE;
            (part, bytes) = bytes.split_at_checked(length).ok_or_else(wrong)?;
            let at = first.checked_mul(PAGE as u32).ok_or_else(wrong)?;
            seek.call(&mut *store, (at,))?;
            poke.call(&mut *store, (part,))?;
        }
    }
    if !bytes.is_empty() || function(store, get_name(globals.len() as u32)).is_ok() {
        return Err(wrong());
    }
    for (global, bits) in (0..).zip(globals) {
        let set = function(store, set_name(global))?.typed::<(u64,), ()>(&mut *store)?;
        set.call(&mut *store, (*bits,))?;
    }
    Ok(())
}
