//! `everstep:workflow/outcome`: how a run reports its end, once.

use crate::bindings::everstep::workflow::{outcome::Host, types};
use crate::fault::Fault;
use crate::state::WorkflowState;
use everstep_core::{Failure, Outcome};

impl Host for WorkflowState {
    fn complete(&mut self, output: Vec<u8>) -> wasmtime::Result<()> {
        let output = self.payload(&output, "the output of the run")?;
        Ok(self.report(Outcome::Completed(output))?)
    }

    fn fail(&mut self, failure: types::Failure) -> wasmtime::Result<()> {
        let details = match failure.details {
            Some(details) => Some(self.payload(&details, "the details of the run's failure")?),
            None => None,
        };
        let size = failure.code.len() + failure.message.len();
        let limit = self.limits.payload_bytes;
        if size as u64 > limit {
            let message = format!("the failure of the run has {size} bytes; the limit is {limit}");
            return Err(Fault::limit("limit.payload_bytes", message).into());
        }
        let types::Failure { code, message, retryable, .. } = failure;
        Ok(self.report(Outcome::Failed(Failure { code, message, details, retryable }))?)
    }

    fn continue_as_new(&mut self, input: Vec<u8>) -> wasmtime::Result<()> {
        let input = self.payload(&input, "the input of the continued run")?;
        Ok(self.report(Outcome::Continued(input))?)
    }

    fn cancelled(&mut self) -> wasmtime::Result<()> {
        Ok(self.report(Outcome::Cancelled)?)
    }
}

impl WorkflowState {
    fn report(&mut self, outcome: Outcome) -> Result<(), Fault> {
        self.check_active("reporting an outcome")?;
        if self.outcome.is_some() {
            return Err(Fault::contract("the run reported a second outcome"));
        }
        self.outcome = Some(outcome);
        Ok(())
    }
}
