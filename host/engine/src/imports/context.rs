//! `everstep:workflow/context`: what a run knows of itself. The same in every replay.

use crate::bindings::everstep::workflow::context::Host;
use crate::state::WorkflowState;

impl Host for WorkflowState {
    fn id(&mut self) -> wasmtime::Result<String> {
        Ok(self.run()?.run_id.to_string())
    }

    fn name(&mut self) -> wasmtime::Result<String> {
        Ok(self.run()?.workflow.clone())
    }

    fn version(&mut self) -> wasmtime::Result<String> {
        Ok(self.run()?.version.clone())
    }

    fn attempt(&mut self) -> wasmtime::Result<u32> {
        Ok(self.run()?.attempt)
    }

    fn options(&mut self) -> wasmtime::Result<Vec<u8>> {
        Ok(self.run()?.options.as_str().as_bytes().to_vec())
    }

    fn parent(&mut self) -> wasmtime::Result<Option<String>> {
        Ok(self.run()?.parent.map(|parent| parent.to_string()))
    }

    fn now(&mut self) -> wasmtime::Result<u64> {
        self.run()?;
        Ok(self.now.as_millis())
    }

    fn random(&mut self) -> wasmtime::Result<u64> {
        self.run()?;
        Ok(self.random.next())
    }
}
