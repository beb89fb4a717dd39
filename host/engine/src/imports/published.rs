//! `everstep:workflow/state`: what a run shows of itself, and values that a replay takes from the
//! journal.

use crate::bindings::everstep::workflow::state::Host;
use crate::fault::Fault;
use crate::state::WorkflowState;
use everstep_core::Command;

/// The largest published value, in bytes: it is written again with every step of the run.
const PUBLISHED_BYTES: usize = 16 << 10;

impl Host for WorkflowState {
    fn publish(&mut self, value: Vec<u8>) -> wasmtime::Result<()> {
        self.check_active("publishing a value")?;
        if value.len() > PUBLISHED_BYTES {
            let size = value.len();
            let message =
                format!("the published value has {size} bytes; the limit is {PUBLISHED_BYTES}");
            return Err(Fault::limit("limit.published_bytes", message).into());
        }
        self.published = Some(self.payload(&value, "the published value")?);
        Ok(())
    }

    fn recall(&mut self, name: String) -> wasmtime::Result<Option<Vec<u8>>> {
        self.check_active("recalling a value")?;
        let known = self.values.front().is_some_and(|(recorded, _)| *recorded == name);
        let recorded = if known { self.values.pop_front() } else { None };
        let Some((name, value)) = recorded else {
            // What is computed now is not computed in a replay, so its random numbers must not
            // shift those that follow.
            self.computing.push((name, self.random.clone(), self.wasi.fork()));
            self.random = self.random.fork();
            self.computed = true;
            return Ok(None);
        };
        let bytes = value.as_str().as_bytes().to_vec();
        // The command is asked for again, so that the journal can be compared.
        self.record_value(name, value)?;
        Ok(Some(bytes))
    }

    fn record(&mut self, name: String, value: Vec<u8>) -> wasmtime::Result<()> {
        self.check_active("recording a value")?;
        self.check_name(&name, "a value")?;
        if let Some(at) = self.computing.iter().rposition(|(computing, ..)| *computing == name)
            && let Some((_, random, wasi)) = self.computing.drain(at..).next()
        {
            self.random = random;
            self.wasi.restore(wasi);
        }
        let value = self.payload(&value, "a recorded value")?;
        Ok(self.record_value(name, value)?)
    }
}

impl WorkflowState {
    fn record_value(&mut self, name: String, value: everstep_core::Payload) -> Result<(), Fault> {
        if self.outcome.is_some() {
            return Err(Fault::contract("recording a value after the outcome of the run"));
        }
        self.check_room()?;
        self.commands.push(Command::RecordValue { name, value });
        Ok(())
    }
}
