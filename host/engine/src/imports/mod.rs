//! What guests can call, one file per WIT interface. [`workflow_linker`] gives a workflow instance
//! the real `everstep:workflow` and a virtual WASI; [`task_linker`] gives a task instance the real
//! WASI and, of `everstep:workflow`, only the logger and the control line.

mod children;
mod context;
mod control;
mod events;
mod logger;
mod operations;
mod outcome;
mod published;
mod task;
mod timer;
pub(crate) mod wasi;

use crate::bindings::everstep::workflow as interfaces;
use crate::fault::Fault;
use crate::image::{define_no_sink, define_sink};
use crate::state::WorkflowState;
use crate::task::TaskState;
use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, HasSelf, Linker, LinkerInstance};

/// The package of the contract, as in the names of imports.
pub(crate) const CONTRACT: &str = "everstep:workflow/";

impl interfaces::types::Host for WorkflowState {}

/// Everything that a workflow instance of this component may call.
pub(crate) fn workflow_linker(
    engine: &Engine,
    component: &Component,
) -> wasmtime::Result<Linker<WorkflowState>> {
    type Own = HasSelf<WorkflowState>;
    let mut linker = Linker::new(engine);
    interfaces::children::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    interfaces::context::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    interfaces::control::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    interfaces::events::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    interfaces::logger::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    interfaces::operations::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    interfaces::outcome::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    interfaces::state::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    interfaces::task::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    interfaces::timer::add_to_linker::<_, Own>(&mut linker, |state| state)?;
    wasi::define(&mut linker, engine, component)?;
    define_sink(&mut linker)?;
    Ok(linker)
}

/// Everything that a task instance of this component may call.
pub(crate) fn task_linker(
    engine: &Engine,
    component: &Component,
) -> wasmtime::Result<Linker<TaskState>> {
    let mut linker = Linker::new(engine);
    define_no_sink(&mut linker)?;
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    interfaces::logger::add_to_linker::<_, HasSelf<TaskState>>(&mut linker, |state| state)?;
    interfaces::control::add_to_linker::<_, HasSelf<TaskState>>(&mut linker, |state| state)?;
    let given = ["everstep:workflow/logger", "everstep:workflow/control"];
    for (name, item) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(interface) = item.ty else { continue };
        let short = short_name(name);
        if !name.starts_with(CONTRACT) || given.contains(&short) {
            continue;
        }
        let mut instance = linker.instance(name)?;
        for (function, item) in interface.exports(engine) {
            if matches!(item.ty, ComponentItem::ComponentFunc(_)) {
                refuse_in_task(&mut instance, short, function)?;
            }
        }
    }
    Ok(linker)
}

/// The name of an interface without its version.
pub(crate) fn short_name(name: &str) -> &str {
    name.split('@').next().unwrap_or(name)
}

fn refuse_in_task(
    instance: &mut LinkerInstance<'_, TaskState>,
    interface: &str,
    function: &str,
) -> wasmtime::Result<()> {
    let fault = Fault {
        code: "guest.unavailable",
        message: format!("{interface}#{function} is not available in a task"),
        remedy: "Call it from the workflow, which has the run.",
    };
    instance.func_new(function, move |_, _, _, _| Err(fault.clone().into()))
}
