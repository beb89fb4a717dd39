//! A guest as bytes that another process can go on with. A snapshot holds what of its memories differs
//! from a new instance of the module, compressed, its globals, and the little that the host knows of it
//! besides: the next operation's number and where the random numbers stand.
//!
//! Invariant: a snapshot is used only for the very module, configuration and probes that it was taken
//! under, and only when its hash shows that it is what was written; everything else is refused, and the
//! run is replayed instead. A guest that has something which is not in the snapshot gives none.

use crate::component::{ComponentInstance, new_store};
use crate::config::CONFIG_VERSION;
use crate::error::{ActivationError, SnapshotError};
use crate::image::{self, Changed, Comparison, Image, PAGE};
use crate::instance::WorkflowInstance;
use crate::module::Module;
use crate::probe::PROBES;
use crate::random::Stream;
use crate::state::{RunContext, WorkflowState};
use everstep_core::{Digest, OpId};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::sync::Arc;

const MAGIC: &[u8; 8] = b"EVSNAP01";
const HASH: usize = 32;

/// What stands in front of the memory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Head {
    module: Digest,
    engine: u32,
    probes: u32,
    next_op: OpId,
    random: Stream,
    wasi: (Stream, Stream),
    computed: bool,
    memories: Vec<Changed>,
    globals: Vec<u64>,
}

impl ComponentInstance {
    /// The guest as it is between two activations, for [`Module::restore`].
    ///
    /// # Errors
    /// [`SnapshotError::Unsound`] when the guest has something that a snapshot would forget;
    /// [`SnapshotError::Guest`] when the instance is discarded or there is no room to look at it.
    pub(crate) fn snapshot(&mut self) -> Result<Vec<u8>, SnapshotError> {
        let module = Arc::clone(self.module());
        if let Some(reason) = module.unsound() {
            return Err(SnapshotError::Unsound(reason.to_owned()));
        }
        let state = self.state();
        if state.wasi.handles() > 0 {
            let reason = format!("it holds {} open handles", state.wasi.handles());
            return Err(SnapshotError::Unsound(reason));
        }
        if !state.computing.is_empty() {
            return Err(SnapshotError::Unsound("it is computing a value".into()));
        }
        let (next_op, random, wasi) = (state.next_op, state.random.clone(), state.wasi.streams());
        let computed = state.computed;
        let (comparison, globals) = self.compare(module.base()?)?;
        let Comparison { memories, bytes, .. } = comparison;
        let (module, engine) = (module.digest(), CONFIG_VERSION);
        let probes = PROBES;
        let head =
            Head { module, engine, probes, next_op, random, wasi, computed, memories, globals };
        seal(&head, &bytes).map_err(SnapshotError::Damaged)
    }
}

impl Module {
    /// An instance that goes on where the snapshot was taken. `run` must be what the instance was made
    /// with that gave the snapshot.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] and [`SnapshotError::Foreign`] when the bytes are not a snapshot of
    /// this module; [`SnapshotError::Guest`] when there is no room. The run is to be replayed then.
    pub fn restore(
        self: &Arc<Self>,
        run: RunContext,
        snapshot: &[u8],
    ) -> Result<WorkflowInstance, SnapshotError> {
        let most = run.limits.memory_bytes;
        let (head, bytes) = open(snapshot, most).map_err(SnapshotError::Damaged)?;
        if head.module != self.digest() {
            return Err(SnapshotError::Foreign("another module"));
        }
        if (head.engine, head.probes) != (CONFIG_VERSION, PROBES) {
            return Err(SnapshotError::Foreign("another version of the engine"));
        }
        let mut instance = ComponentInstance::blank(self, run)?;
        instance.write(&head.memories, &bytes, &head.globals)?;
        let state = instance.state_mut();
        (state.next_op, state.random) = (head.next_op, head.random);
        state.computed = head.computed;
        state.wasi.restore(head.wasi);
        Ok(WorkflowInstance::of(instance))
    }

    /// What a new instance is like. The same for every run: what makes runs differ is not there yet.
    fn base(self: &Arc<Self>) -> Result<Arc<Image>, SnapshotError> {
        let component = self.component()?;
        if let Some(base) = component.base.get() {
            return Ok(Arc::clone(base));
        }
        let options = &self.shared.options;
        let state = WorkflowState::for_describe(options.limits);
        let mut store =
            new_store(&self.shared, state, options.describe_fuel, options.describe_timeout);
        store.set_hostcall_fuel(usize::MAX);
        let image = component
            .workflow
            .instance_pre()
            .instantiate(&mut store)
            .and_then(|instance| image::copy(&mut store, &instance));
        let image = image.map_err(|error| {
            SnapshotError::Guest(ActivationError::OutOfMemory(format!("{error:#}")))
        })?;
        Ok(Arc::clone(component.base.get_or_init(|| Arc::new(image))))
    }
}

/// Magic, hash of all that follows, length of the head, the head, the pages.
fn seal(head: &Head, pages: &[u8]) -> Result<Vec<u8>, String> {
    let head = rmp_serde::to_vec_named(head).map_err(|error| error.to_string())?;
    let head_len = u32::try_from(head.len()).map_err(|error| error.to_string())?;
    let pages = lz4_flex::compress_prepend_size(pages);
    let mut file = Vec::with_capacity(MAGIC.len() + HASH + 4 + head.len() + pages.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&[0; HASH]);
    file.extend_from_slice(&head_len.to_le_bytes());
    file.extend_from_slice(&head);
    file.extend_from_slice(&pages);
    let body = MAGIC.len() + HASH;
    let hash = Sha256::digest(&file[body..]);
    file[MAGIC.len()..body].copy_from_slice(&hash);
    Ok(file)
}

/// Takes a snapshot apart again, if it is intact and its memories fit in so many bytes.
fn open(file: &[u8], most: u64) -> Result<(Head, Vec<u8>), String> {
    let body = file.strip_prefix(MAGIC).ok_or("it is no snapshot of this format")?;
    let (hash, body) = body.split_at_checked(HASH).ok_or("it is cut short")?;
    if Sha256::digest(body)[..] != *hash {
        return Err("its hash does not match".into());
    }
    let (head_len, body) = body.split_first_chunk::<4>().ok_or("it is cut short")?;
    let head_len = usize::try_from(u32::from_le_bytes(*head_len)).unwrap_or(usize::MAX);
    let (head, pages) = body.split_at_checked(head_len).ok_or("it is cut short")?;
    let head: Head = rmp_serde::from_slice(head).map_err(|error| error.to_string())?;
    let size: u64 = head.memories.iter().map(|memory| memory.size).sum();
    let counts = head.memories.iter().flat_map(|memory| &memory.pages).map(|(_, count)| *count);
    let changed = counts.map(u64::from).sum::<u64>().saturating_mul(PAGE as u64);
    let (length, _) =
        lz4_flex::block::uncompressed_size(pages).map_err(|error| error.to_string())?;
    if size > most || changed > size || changed != length as u64 {
        return Err("its memories do not add up".into());
    }
    let pages = lz4_flex::decompress_size_prepended(pages).map_err(|error| error.to_string())?;
    Ok((head, pages))
}
