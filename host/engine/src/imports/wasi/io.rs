//! `wasi:io` of a workflow. Streams never block: stdin is at its end, stdout and stderr take
//! everything. A pollable is ready when its instant has come by the standing clock; waiting for one
//! that is not is the mistake that `guest.blocking` names.

use super::{Instance, clocks};
use crate::fault::Fault;
use crate::logs::Printed;
use crate::state::WorkflowState;
use std::collections::HashMap;
use std::marker::PhantomData;
use wasmtime::component::{ComponentType, Lift, Lower, Resource, ResourceType};

/// The representations of the two output streams.
pub(super) const STDOUT: u32 = 1;
pub(super) const STDERR: u32 = 2;

/// What one write may carry.
const WRITE_BYTES: u64 = 64 << 10;

/// Types that tell resources apart; the values are numbers in the guest's handle table.
pub(super) struct Pollable;
pub(super) struct InputStream;
pub(super) struct OutputStream;
pub(super) struct Descriptor;
pub(super) struct IoError;
pub(super) struct Terminal<T>(PhantomData<T>);

/// The type of a resource that virtual functions pass.
pub(super) fn resource(name: &str) -> Option<ResourceType> {
    Some(match name {
        "pollable" => ResourceType::host::<Pollable>(),
        "input-stream" => ResourceType::host::<InputStream>(),
        "output-stream" => ResourceType::host::<OutputStream>(),
        "error" => ResourceType::host::<IoError>(),
        "descriptor" => ResourceType::host::<Descriptor>(),
        "terminal-input" => ResourceType::host::<Terminal<InputStream>>(),
        "terminal-output" => ResourceType::host::<Terminal<OutputStream>>(),
        _ => return None,
    })
}

/// When each pollable of an instance is ready, by the monotonic clock. Bounded by the limit on
/// handles of the store.
#[derive(Debug, Default)]
pub(super) struct Pollables {
    due: HashMap<u32, u64>,
    last: u32,
}

impl Pollables {
    pub(super) fn add(&mut self, due: u64) -> u32 {
        loop {
            self.last = self.last.wrapping_add(1);
            if !self.due.contains_key(&self.last) {
                break;
            }
        }
        self.due.insert(self.last, due);
        self.last
    }

    pub(super) fn drop(&mut self, rep: u32) {
        self.due.remove(&rep);
    }

    fn is_ready(&self, pollable: &Resource<Pollable>, now: u64) -> bool {
        self.due.get(&pollable.rep()).is_none_or(|due| *due <= now)
    }
}

/// `wasi:io/streams.stream-error`.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

type Streamed<T> = Result<T, StreamError>;
type Out = Resource<OutputStream>;
type In = Resource<InputStream>;

pub(super) fn define(instance: &mut Instance<'_>, function: &str) -> wasmtime::Result<bool> {
    Ok(define_poll(instance, function)?
        || define_input(instance, function)?
        || define_output(instance, function)?)
}

fn define_poll(instance: &mut Instance<'_>, function: &str) -> wasmtime::Result<bool> {
    match function {
        "poll" => instance.func_wrap(function, |store, (list,): (Vec<Resource<Pollable>>,)| {
            let ready: Vec<u32> = (0..)
                .zip(&list)
                .filter(|(_, pollable)| is_ready(store.data(), pollable))
                .map(|(index, _)| index)
                .collect();
            if ready.is_empty() { Err(Fault::blocking().into()) } else { Ok((ready,)) }
        }),
        "[method]pollable.ready" => instance
            .func_wrap(function, |store, (pollable,): (Resource<Pollable>,)| {
                Ok((is_ready(store.data(), &pollable),))
            }),
        "[method]pollable.block" => {
            instance.func_wrap(function, |store, (pollable,): (Resource<Pollable>,)| {
                if is_ready(store.data(), &pollable) {
                    Ok(())
                } else {
                    Err(Fault::blocking().into())
                }
            })
        }
        _ => return Ok(false),
    }?;
    Ok(true)
}

fn define_input(instance: &mut Instance<'_>, function: &str) -> wasmtime::Result<bool> {
    match function {
        "[method]input-stream.read" | "[method]input-stream.blocking-read" => instance
            .func_wrap(function, |_, (_, _): (In, u64)| {
                Ok((Streamed::<Vec<u8>>::Err(StreamError::Closed),))
            }),
        "[method]input-stream.skip" | "[method]input-stream.blocking-skip" => instance
            .func_wrap(function, |_, (_, _): (In, u64)| {
                Ok((Streamed::<u64>::Err(StreamError::Closed),))
            }),
        "[method]input-stream.subscribe" => instance
            .func_wrap(function, |mut store, (_,): (In,)| Ok((subscribed(store.data_mut(), 0),))),
        _ => return Ok(false),
    }?;
    Ok(true)
}

fn define_output(instance: &mut Instance<'_>, function: &str) -> wasmtime::Result<bool> {
    match function {
        "[method]output-stream.check-write" => {
            instance.func_wrap(function, |_, (_,): (Out,)| Ok((Streamed::Ok(WRITE_BYTES),)))
        }
        "[method]output-stream.write" | "[method]output-stream.blocking-write-and-flush" => {
            instance.func_wrap(function, |mut store, (stream, bytes): (Out, Vec<u8>)| {
                print(store.data_mut(), &stream, &bytes);
                Ok((Streamed::Ok(()),))
            })
        }
        "[method]output-stream.write-zeroes"
        | "[method]output-stream.blocking-write-zeroes-and-flush" => {
            instance.func_wrap(function, |mut store, (stream, len): (Out, u64)| {
                let zeroes = vec![0; usize::try_from(len.min(WRITE_BYTES)).unwrap_or(0)];
                print(store.data_mut(), &stream, &zeroes);
                Ok((Streamed::Ok(()),))
            })
        }
        "[method]output-stream.splice" | "[method]output-stream.blocking-splice" => instance
            .func_wrap(function, |_, (_, _, _): (Out, In, u64)| {
                Ok((Streamed::<u64>::Err(StreamError::Closed),))
            }),
        "[method]output-stream.flush" | "[method]output-stream.blocking-flush" => {
            instance.func_wrap(function, |_, (_,): (Out,)| Ok((Streamed::Ok(()),)))
        }
        "[method]output-stream.subscribe" => instance
            .func_wrap(function, |mut store, (_,): (Out,)| Ok((subscribed(store.data_mut(), 0),))),
        _ => return Ok(false),
    }?;
    Ok(true)
}

/// A pollable that is ready at this time of the monotonic clock.
pub(super) fn subscribed(state: &mut WorkflowState, due: u64) -> Resource<Pollable> {
    let rep = state.wasi.pollables.add(due);
    state.wasi.give(rep)
}

fn is_ready(state: &WorkflowState, pollable: &Resource<Pollable>) -> bool {
    state.wasi.pollables.is_ready(pollable, clocks::monotonic(state))
}

fn print(state: &mut WorkflowState, stream: &Out, bytes: &[u8]) {
    let stream = if stream.rep() == STDERR { Printed::Stderr } else { Printed::Stdout };
    state.logs.print(stream, bytes);
}
