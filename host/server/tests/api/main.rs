//! The HTTP API over a real listener, with the memory store and the real engine, but without a host:
//! what a host would do to a run is done by the fixture, step by step, so that every state can be
//! looked at for as long as a test wants.
#![allow(clippy::unwrap_used)]

mod bulk;
mod document;
mod errors;
mod fixture;
mod hosts;
mod keys;
mod modules;
mod protocol;
mod runs;
mod schedules;
mod start;
mod streams;
mod wasm;
