//! The virtual WASI of workflow instances: small, deterministic, and complete in the sense that
//! every import of `wasi:` exists. Clocks stand at the time of the completion, random numbers come
//! from the run's id, printed text becomes log lines, environment and file system are empty; what
//! is not virtual traps with a message that says "do this in a task".
//!
//! Functions are defined one by one for what the component imports, under the version that it
//! imports, so a guest built against a later WASI 0.2 runs as well.

mod cli;
mod clocks;
mod filesystem;
mod io;
mod random;

use super::short_name;
use crate::fault::Fault;
use crate::random::Stream;
use crate::state::WorkflowState;
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, LinkerInstance, Resource, ResourceType};

/// Where functions are defined.
type Instance<'a> = LinkerInstance<'a, WorkflowState>;

/// The virtual WASI's memory of one instance.
#[derive(Debug)]
pub(crate) struct VirtualWasi {
    random: Stream,
    insecure: Stream,
    /// What `insecure-seed` answers, always.
    seed: (u64, u64),
    pollables: io::Pollables,
    /// Resources that the guest has been given and has not dropped.
    handles: u64,
}

impl VirtualWasi {
    pub(crate) fn new(seed: u64) -> Self {
        let mut seeds = Stream::new(seed, 4);
        Self {
            random: Stream::new(seed, 2),
            insecure: Stream::new(seed, 3),
            seed: (seeds.next(), seeds.next()),
            pollables: io::Pollables::default(),
            handles: 0,
        }
    }

    /// Gives a resource to the guest.
    fn give<T: 'static>(&mut self, rep: u32) -> Resource<T> {
        self.handles += 1;
        Resource::new_own(rep)
    }

    /// How many resources the guest has.
    pub(crate) fn handles(&self) -> u64 {
        self.handles
    }

    /// Where the random numbers stand.
    pub(crate) fn streams(&self) -> (Stream, Stream) {
        (self.random.clone(), self.insecure.clone())
    }

    /// Lets the random numbers go another way from here; returns where they stood.
    pub(crate) fn fork(&mut self) -> (Stream, Stream) {
        let stood = self.streams();
        (self.random, self.insecure) = (stood.0.fork(), stood.1.fork());
        stood
    }

    /// Lets the random numbers go on from where they stood.
    pub(crate) fn restore(&mut self, (random, insecure): (Stream, Stream)) {
        (self.random, self.insecure) = (random, insecure);
    }
}

/// Defines every `wasi:` import of a component.
pub(crate) fn define(
    linker: &mut Linker<WorkflowState>,
    engine: &Engine,
    component: &Component,
) -> wasmtime::Result<()> {
    let mut resources = Resources::default();
    for (name, item) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(interface) = item.ty else { continue };
        let short = short_name(name);
        if !short.starts_with("wasi:") {
            continue;
        }
        let mut instance = linker.instance(name)?;
        for (part, item) in interface.exports(engine) {
            match item.ty {
                ComponentItem::ComponentFunc(_) => function(&mut instance, short, part)?,
                ComponentItem::Resource(ty) => resources.define(&mut instance, part, ty)?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// Defines a function: one of the virtual ones, or one that traps.
fn function(instance: &mut Instance<'_>, interface: &str, name: &str) -> wasmtime::Result<()> {
    let is_virtual = match interface.split_once('/') {
        Some(("wasi:cli", interface)) => cli::define(instance, interface, name)?,
        Some(("wasi:clocks", interface)) => clocks::define(instance, interface, name)?,
        Some(("wasi:filesystem", interface)) => filesystem::define(instance, interface, name)?,
        Some(("wasi:io", _)) => io::define(instance, name)?,
        Some(("wasi:random", interface)) => random::define(instance, interface, name)?,
        _ => false,
    };
    if is_virtual {
        return Ok(());
    }
    let fault = Fault::unavailable(&format!("{interface}#{name}"));
    instance.func_new(name, move |_, _, _, _| Err(fault.clone().into()))
}

/// The resources of a component that have been defined. An interface that uses a resource of
/// another one lists it again, perhaps under another name; only the first one is to be defined.
#[derive(Default)]
struct Resources(Vec<ResourceType>);

impl Resources {
    fn define(
        &mut self,
        instance: &mut Instance<'_>,
        name: &str,
        imported: ResourceType,
    ) -> wasmtime::Result<()> {
        if self.0.contains(&imported) {
            return Ok(());
        }
        let number = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0.push(imported);
        let resource = io::resource(name).unwrap_or_else(|| ResourceType::host_dynamic(number));
        let is_pollable = name == "pollable";
        instance.resource(name, resource, move |mut store, rep| {
            let wasi = &mut store.data_mut().wasi;
            wasi.handles = wasi.handles.saturating_sub(1);
            if is_pollable {
                wasi.pollables.drop(rep);
            }
            Ok(())
        })
    }
}
