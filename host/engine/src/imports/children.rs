//! `everstep:workflow/children`: starting child runs.

use super::task::policy_of;
use crate::bindings::everstep::workflow::children::{Child, Host, OnParentEnd as Policy, Options};
use crate::fault::Fault;
use crate::state::WorkflowState;
use everstep_core::{ChildRequest, Command, OnParentEnd, StartOptions};

/// The most tags of a run.
const MAX_TAGS: usize = 32;

impl Host for WorkflowState {
    fn start(
        &mut self,
        workflow: String,
        input: Vec<u8>,
        options: Options,
    ) -> wasmtime::Result<Child> {
        self.check_name(&workflow, "a workflow")?;
        let retry = options.retry.as_ref().map(policy_of);
        if let Some(Err(problem)) = retry.map(|policy| policy.check()) {
            let message = format!("the retry of child `{workflow}`: {problem}");
            return Err(Fault::contract(message).into());
        }
        if let Some(version) = &options.version {
            self.check_name(version, "a version")?;
        }
        if options.tags.len() > MAX_TAGS {
            let message = format!("a child run has at most {MAX_TAGS} tags");
            return Err(Fault::contract(message).into());
        }
        for (name, value) in &options.tags {
            self.check_name(name, "a tag")?;
            self.check_name(value, "the value of a tag")?;
        }
        let input = self.payload(&input, "the input of a child run")?;
        let (run, started_at) = (self.run()?.own_id, self.run()?.started_at);
        let op = self.next_op("starting a child run")?;
        let request = Box::new(ChildRequest {
            workflow,
            version: options.version,
            input,
            options: StartOptions {
                idempotency_key: None,
                retry,
                timeout_ms: options.timeout,
                tags: options.tags.into_iter().collect(),
                // It has that of its parent, which the server knows.
                pool: None,
            },
            delay_ms: options.delay,
            on_parent_end: match options.on_parent_end {
                Policy::Cancel => OnParentEnd::Cancel,
                Policy::Abandon => OnParentEnd::Abandon,
            },
        });
        self.commands.push(Command::StartChild { op, request });
        let child = self.children.remove(&op).unwrap_or_else(|| run.child(op, started_at));
        Ok(Child { op: op.0, run_id: child.to_string() })
    }
}
