//! `wasi:clocks` of a workflow: both clocks stand at the time of the completion that is being
//! delivered, for the whole activation.

use super::Instance;
use super::io::subscribed;
use crate::state::WorkflowState;
use wasmtime::component::{ComponentType, Lower};

/// One millisecond: events have no finer time.
const RESOLUTION_NANOS: u32 = 1_000_000;

/// `wasi:clocks/wall-clock.datetime`.
#[derive(Debug, Clone, Copy, ComponentType, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

pub(super) fn define(
    instance: &mut Instance<'_>,
    interface: &str,
    function: &str,
) -> wasmtime::Result<bool> {
    match (interface, function) {
        ("wall-clock", "now") => instance.func_wrap(function, |store, ()| {
            let millis = store.data().now.as_millis();
            let nanoseconds = (millis % 1_000) as u32 * 1_000_000;
            Ok((Datetime { seconds: millis / 1_000, nanoseconds },))
        }),
        ("wall-clock", "resolution") => instance.func_wrap(function, |_, ()| {
            Ok((Datetime { seconds: 0, nanoseconds: RESOLUTION_NANOS },))
        }),
        ("monotonic-clock", "now") => {
            instance.func_wrap(function, |store, ()| Ok((monotonic(store.data()),)))
        }
        ("monotonic-clock", "resolution") => {
            instance.func_wrap(function, |_, ()| Ok((u64::from(RESOLUTION_NANOS),)))
        }
        ("monotonic-clock", "subscribe-instant") => instance
            .func_wrap(function, |mut store, (instant,): (u64,)| {
                Ok((subscribed(store.data_mut(), instant),))
            }),
        ("monotonic-clock", "subscribe-duration") => {
            instance.func_wrap(function, |mut store, (duration,): (u64,)| {
                let instant = monotonic(store.data()).saturating_add(duration);
                Ok((subscribed(store.data_mut(), instant),))
            })
        }
        _ => return Ok(false),
    }?;
    Ok(true)
}

/// The time of the completion in nanoseconds.
pub(super) fn monotonic(state: &WorkflowState) -> u64 {
    state.now.as_millis().saturating_mul(1_000_000)
}
