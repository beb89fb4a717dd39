//! `everstep:workflow/logger`: the one import that is there in every phase of a guest.

use crate::bindings::everstep::workflow::logger::{Host, Level};
use crate::state::WorkflowState;
use crate::task::TaskState;
use everstep_core::LogLevel;

impl Host for WorkflowState {
    fn log(&mut self, level: Level, message: String, fields: Vec<u8>) -> wasmtime::Result<()> {
        self.logs.log(level_of(level), message, &fields);
        Ok(())
    }
}

impl Host for TaskState {
    fn log(&mut self, level: Level, message: String, fields: Vec<u8>) -> wasmtime::Result<()> {
        self.logs.with(|logs| logs.log(level_of(level), message, &fields));
        Ok(())
    }
}

fn level_of(level: Level) -> LogLevel {
    match level {
        Level::Trace => LogLevel::Trace,
        Level::Debug => LogLevel::Debug,
        Level::Info => LogLevel::Info,
        Level::Warn => LogLevel::Warn,
        Level::Error => LogLevel::Error,
    }
}
