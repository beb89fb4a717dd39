//! `everstep:workflow/control`: what a running task and its host tell each other.

use crate::bindings::everstep::workflow::control::Host;
use crate::fault::Fault;
use crate::state::WorkflowState;
use crate::task::TaskState;
use everstep_core::Payload;

/// The largest progress, in bytes.
const PROGRESS_BYTES: usize = 64 << 10;

impl Host for TaskState {
    fn heartbeat(&mut self, progress: Vec<u8>) -> wasmtime::Result<()> {
        if progress.len() > PROGRESS_BYTES {
            let size = progress.len();
            let message = format!("the progress has {size} bytes; the limit is {PROGRESS_BYTES}");
            return Err(Fault::limit("limit.progress_bytes", message).into());
        }
        let progress = Payload::from_bytes(&progress)
            .map_err(|e| Fault::contract(format!("the progress of a task is {e}")))?;
        self.control.beat(progress);
        Ok(())
    }

    fn progress(&mut self) -> wasmtime::Result<Option<Vec<u8>>> {
        Ok(self.progress.as_ref().map(|progress| progress.as_str().as_bytes().to_vec()))
    }

    fn is_cancelled(&mut self) -> wasmtime::Result<bool> {
        Ok(self.control.asked_whether_cancelled())
    }

    fn secret(&mut self, name: String) -> wasmtime::Result<Option<String>> {
        Ok(self.secrets.get(&name).cloned())
    }
}

/// A workflow is no task.
impl Host for WorkflowState {
    fn heartbeat(&mut self, _: Vec<u8>) -> wasmtime::Result<()> {
        Err(only_in_tasks("heartbeat").into())
    }

    fn progress(&mut self) -> wasmtime::Result<Option<Vec<u8>>> {
        Err(only_in_tasks("progress").into())
    }

    fn is_cancelled(&mut self) -> wasmtime::Result<bool> {
        Err(only_in_tasks("is-cancelled").into())
    }

    fn secret(&mut self, _: String) -> wasmtime::Result<Option<String>> {
        Err(only_in_tasks("secret").into())
    }
}

fn only_in_tasks(function: &str) -> Fault {
    Fault {
        code: "guest.unavailable",
        message: format!("everstep:workflow/control#{function} is not available in a workflow"),
        remedy: "Call it from a task.",
    }
}
