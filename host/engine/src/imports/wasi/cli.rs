//! `wasi:cli` of a workflow: no arguments, no environment, no terminal, an empty stdin; stdout and
//! stderr become log lines; exiting is an error of the workflow.

use super::Instance;
use super::io::{InputStream, OutputStream, STDERR, STDOUT, Terminal};
use crate::fault::Fault;
use wasmtime::component::Resource;

pub(super) fn define(
    instance: &mut Instance<'_>,
    interface: &str,
    function: &str,
) -> wasmtime::Result<bool> {
    match (interface, function) {
        ("environment", "get-environment") => {
            instance.func_wrap(function, |_, ()| Ok((Vec::<(String, String)>::new(),)))
        }
        ("environment", "get-arguments") => {
            instance.func_wrap(function, |_, ()| Ok((Vec::<String>::new(),)))
        }
        ("environment", "initial-cwd" | "get-initial-cwd") => {
            instance.func_wrap(function, |_, ()| Ok((None::<String>,)))
        }
        ("exit", "exit") => instance
            .func_wrap(function, |_, (_,): (Result<(), ()>,)| -> wasmtime::Result<()> {
                Err(Fault::exit().into())
            }),
        ("exit", "exit-with-code") => instance
            .func_wrap(function, |_, (_,): (u8,)| -> wasmtime::Result<()> {
                Err(Fault::exit().into())
            }),
        ("stdin", "get-stdin") => instance.func_wrap(function, |mut store, ()| {
            Ok((store.data_mut().wasi.give::<InputStream>(0),))
        }),
        ("stdout", "get-stdout") => instance.func_wrap(function, |mut store, ()| {
            Ok((store.data_mut().wasi.give::<OutputStream>(STDOUT),))
        }),
        ("stderr", "get-stderr") => instance.func_wrap(function, |mut store, ()| {
            Ok((store.data_mut().wasi.give::<OutputStream>(STDERR),))
        }),
        ("terminal-stdin", "get-terminal-stdin") => {
            instance.func_wrap(function, |_, ()| Ok((None::<Resource<Terminal<InputStream>>>,)))
        }
        ("terminal-stdout", "get-terminal-stdout") | ("terminal-stderr", "get-terminal-stderr") => {
            instance.func_wrap(function, |_, ()| Ok((None::<Resource<Terminal<OutputStream>>>,)))
        }
        _ => return Ok(false),
    }?;
    Ok(true)
}
