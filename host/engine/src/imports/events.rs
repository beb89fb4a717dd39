//! `everstep:workflow/events`: waiting for events and sending them.

use crate::bindings::everstep::workflow::events::{Host, Target};
use crate::fault::Fault;
use crate::state::WorkflowState;
use everstep_core::{Command, RunId, UserEvent};

impl Host for WorkflowState {
    fn wait(&mut self, name: String, timeout: Option<u64>) -> wasmtime::Result<u64> {
        self.check_name(&name, "an event")?;
        self.check_declared(&name)?;
        let op = self.next_op("waiting for an event")?;
        self.commands.push(Command::AwaitEvent { op, name, timeout_ms: timeout });
        Ok(op.0)
    }

    fn send(
        &mut self,
        to: Target,
        name: String,
        data: Vec<u8>,
        reference: Option<String>,
    ) -> wasmtime::Result<u64> {
        self.check_name(&name, "an event")?;
        if let Some(reference) = &reference {
            self.check_name(reference, "an event's reference")?;
        }
        let to = match to {
            Target::Run(id) => id
                .parse::<RunId>()
                .map_err(|e| Fault::contract(format!("an event goes to a run, but {e}")))?,
            Target::Key(key) => RunId::from_key(&key.workflow, &key.key),
        };
        let data = self.payload(&data, "the data of an event")?;
        let op = self.next_op("sending an event")?;
        let event = Box::new(UserEvent { name, data, reference });
        self.commands.push(Command::SendEvent { op, to, event });
        Ok(op.0)
    }
}

impl WorkflowState {
    /// A workflow that says which events it takes can wait for no others: nobody could send them.
    fn check_declared(&self, name: &str) -> Result<(), Fault> {
        let run = self.run()?;
        let workflow = self.manifest.workflow(&run.workflow, &run.version);
        match workflow.and_then(|workflow| workflow.events.as_ref()) {
            Some(events) if !events.contains_key(name) => Err(Fault {
                code: "event.unknown",
                message: format!("the workflow waits for `{name}`, which it does not declare"),
                remedy: "Declare it in `#[workflow(events(…))]` and upload the module as a \
                         replacement.",
            }),
            _ => Ok(()),
        }
    }
}
