//! What the whole-system tests share: the program under test as a real process, guests compiled by
//! the real guest compiler, and a ledger outside the system that remembers every effect.
//!
//! Everything here panics with a sentence when the machine is not set up; a test that cannot run
//! must fail, not pass.
#![allow(clippy::unwrap_used)]

pub mod chaos;
mod cli;
mod guests;
mod hosts;
mod ledger;
mod process;
mod redis;
mod runs;
mod snapshots;

pub use cli::{Cli, Said};
pub use guests::{guest, guest_cargo, guest_with_lines};
pub use hosts::HostProcess;
pub use ledger::{Ledger, Line, now};
pub use process::{ServerProcess, everstep};
pub use redis::RedisProcess;
pub use runs::{body, completed, journal, reach, serve, start, upload};
pub use snapshots::through_snapshots;
