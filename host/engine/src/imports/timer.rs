//! `everstep:workflow/timer`: durable sleeps.

use crate::bindings::everstep::workflow::timer::Host;
use crate::fault::Fault;
use crate::state::WorkflowState;
use everstep_core::time::CENTURY_MS;
use everstep_core::{Command, TimerDue, Timestamp};

impl Host for WorkflowState {
    fn sleep(&mut self, duration: u64, name: String) -> wasmtime::Result<u64> {
        if duration > CENTURY_MS {
            let message = format!("a sleep of {duration} ms is longer than 100 years");
            return Err(Fault::limit("limit.sleep", message).into());
        }
        Ok(self.start_timer(TimerDue::After(duration), name)?)
    }

    fn sleep_until(&mut self, instant: u64, name: String) -> wasmtime::Result<u64> {
        if instant > self.now.as_millis().saturating_add(CENTURY_MS) {
            let message = format!("a sleep until {instant} ms is longer than 100 years");
            return Err(Fault::limit("limit.sleep", message).into());
        }
        Ok(self.start_timer(TimerDue::At(Timestamp::from_millis(instant)), name)?)
    }
}

impl WorkflowState {
    fn start_timer(&mut self, due: TimerDue, name: String) -> Result<u64, Fault> {
        self.check_name(&name, "a timer")?;
        let op = self.next_op("starting a timer")?;
        self.commands.push(Command::StartTimer { op, name, due });
        Ok(op.0)
    }
}
