//! Where in its code a guest asked for something. Only instances made by
//! [`Module::instantiate_traced`](crate::Module::instantiate_traced) note it: their imports capture the
//! guest's stack first, which costs more than all the rest. Everything else about them is the same.

use crate::bindings::everstep::workflow as interfaces;
use crate::fault::{cut, frames};
use crate::imports::{CONTRACT, short_name, workflow_linker};
use crate::state::WorkflowState;
use wasmtime::component::{Component, ComponentNamedList, Lift, Linker, LinkerInstance, Lower};
use wasmtime::{Engine, StoreContextMut, WasmBacktrace};

/// The most bytes of one backtrace.
const TRACE_BYTES: usize = 16 << 10;

/// The imports of workflows, of which those that ask for something note from where.
pub(crate) fn traced_linker(
    engine: &Engine,
    component: &Component,
) -> wasmtime::Result<Linker<WorkflowState>> {
    use interfaces::{children, events, operations, outcome, state, task, timer};
    let mut linker = workflow_linker(engine, component)?;
    linker.allow_shadowing(true);
    let imports: Vec<String> =
        component.component_type().imports(engine).map(|(name, _)| name.to_owned()).collect();
    for name in imports {
        let Some(interface) = short_name(&name).strip_prefix(CONTRACT) else { continue };
        let interface = interface.to_owned();
        let mut into = linker.instance(&name)?;
        match interface.as_str() {
            "task" => traced(&mut into, "start", |s, (name, input, options)| {
                task::Host::start(s, name, input, options).map(|op| (op,))
            })?,
            "timer" => {
                traced(&mut into, "sleep", |s, (duration, name)| {
                    timer::Host::sleep(s, duration, name).map(|op| (op,))
                })?;
                traced(&mut into, "sleep-until", |s, (instant, name)| {
                    timer::Host::sleep_until(s, instant, name).map(|op| (op,))
                })?;
            }
            "events" => {
                traced(&mut into, "wait", |s, (name, timeout)| {
                    events::Host::wait(s, name, timeout).map(|op| (op,))
                })?;
                traced(&mut into, "send", |s, (to, name, data, reference)| {
                    events::Host::send(s, to, name, data, reference).map(|op| (op,))
                })?;
            }
            "children" => traced(&mut into, "start", |s, (workflow, input, options)| {
                children::Host::start(s, workflow, input, options).map(|child| (child,))
            })?,
            "operations" => {
                traced(&mut into, "cancel", |s, (op,)| operations::Host::cancel(s, op))?;
            }
            "state" => {
                traced(&mut into, "recall", |s, (name,)| {
                    state::Host::recall(s, name).map(|value| (value,))
                })?;
                traced(&mut into, "record", |s, (name, value)| {
                    state::Host::record(s, name, value)
                })?;
            }
            "outcome" => {
                traced(&mut into, "complete", |s, (output,)| outcome::Host::complete(s, output))?;
                traced(&mut into, "fail", |s, (failure,)| outcome::Host::fail(s, failure))?;
                traced(&mut into, "continue-as-new", |s, (input,)| {
                    outcome::Host::continue_as_new(s, input)
                })?;
                traced(&mut into, "cancelled", |s, ()| outcome::Host::cancelled(s))?;
            }
            _ => {}
        }
    }
    Ok(linker)
}

/// Puts a function that captures the guest's stack in the place of one that does not.
fn traced<P, R, F>(
    into: &mut LinkerInstance<'_, WorkflowState>,
    name: &str,
    function: F,
) -> wasmtime::Result<()>
where
    P: ComponentNamedList + Lift + 'static,
    R: ComponentNamedList + Lower + 'static,
    F: Fn(&mut WorkflowState, P) -> wasmtime::Result<R> + Send + Sync + 'static,
{
    into.func_wrap(name, move |mut store: StoreContextMut<'_, WorkflowState>, parameters: P| {
        let mut trace = frames(&WasmBacktrace::force_capture(&store).to_string());
        cut(&mut trace, TRACE_BYTES);
        let state = store.data_mut();
        let before = asked(state);
        let result = function(state, parameters)?;
        // Not everything leads to a command: a value may have to be computed first, for example.
        if asked(state) > before {
            state.traces.push(trace);
        }
        Ok(result)
    })
}

/// How much the guest has asked for in this activation.
fn asked(state: &WorkflowState) -> usize {
    state.commands.len() + usize::from(state.outcome.is_some())
}
