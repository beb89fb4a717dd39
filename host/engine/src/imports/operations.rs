//! `everstep:workflow/operations`: what can be done to a registered operation.

use crate::bindings::everstep::workflow::operations::Host;
use crate::fault::Fault;
use crate::state::WorkflowState;
use everstep_core::{Command, OpId};

impl Host for WorkflowState {
    fn cancel(&mut self, op: u64) -> wasmtime::Result<()> {
        self.check_active("cancelling an operation")?;
        if op == 0 || op >= self.next_op.0 {
            let message = format!("operation {op} was cancelled but never registered");
            return Err(Fault::contract(message).into());
        }
        // The end of a run gives up whatever is pending, so a guest that drops its futures after
        // it has reported its outcome asks for nothing new.
        if self.outcome.is_none() {
            self.check_room()?;
            self.commands.push(Command::CancelOperation { op: OpId(op) });
        }
        Ok(())
    }
}
