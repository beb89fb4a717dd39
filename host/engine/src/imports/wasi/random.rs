//! `wasi:random` of a workflow: predictable streams that are seeded by the run's id.

use super::Instance;
use crate::fault::Fault;
use crate::random::Stream;

/// The most bytes that one call may ask for.
const BYTES_PER_CALL: u64 = 1 << 20;

pub(super) fn define(
    instance: &mut Instance<'_>,
    interface: &str,
    function: &str,
) -> wasmtime::Result<bool> {
    match (interface, function) {
        ("random", "get-random-bytes") => instance
            .func_wrap(function, |mut store, (len,): (u64,)| {
                Ok((draw(&mut store.data_mut().wasi.random, len)?,))
            }),
        ("random", "get-random-u64") => {
            instance.func_wrap(function, |mut store, ()| Ok((store.data_mut().wasi.random.next(),)))
        }
        ("insecure", "get-insecure-random-bytes") => instance
            .func_wrap(function, |mut store, (len,): (u64,)| {
                Ok((draw(&mut store.data_mut().wasi.insecure, len)?,))
            }),
        ("insecure", "get-insecure-random-u64") => instance
            .func_wrap(function, |mut store, ()| Ok((store.data_mut().wasi.insecure.next(),))),
        ("insecure-seed", "insecure-seed" | "get-insecure-seed") => {
            instance.func_wrap(function, |store, ()| Ok((store.data().wasi.seed,)))
        }
        _ => return Ok(false),
    }?;
    Ok(true)
}

fn draw(stream: &mut Stream, len: u64) -> Result<Vec<u8>, Fault> {
    if len > BYTES_PER_CALL {
        let message = format!("the workflow asked for {len} random bytes at once");
        return Err(Fault::limit("limit.random_bytes", message));
    }
    Ok(stream.bytes(usize::try_from(len).unwrap_or(0)))
}
