//! `everstep:workflow/task`: registering executions of tasks. Running them is `crate::task`.

use crate::bindings::everstep::workflow::task::{Host, Options, RetryPolicy as Policy};
use crate::fault::Fault;
use crate::state::WorkflowState;
use everstep_core::{Command, Manifest, RetryPolicy, TaskOptions};

impl Host for WorkflowState {
    fn start(&mut self, name: String, input: Vec<u8>, options: Options) -> wasmtime::Result<u64> {
        self.check_name(&name, "a task")?;
        let defaults = self
            .manifest
            .task(&name)
            .map(|task| task.options)
            .ok_or_else(|| unknown(&name, &self.manifest))?;
        let options = options_of(&options)
            .map_err(|e| Fault::contract(format!("the options of task `{name}`: {e}")))?
            .or(defaults);
        let input = self.payload(&input, "the input of a task")?;
        let op = self.next_op("starting a task")?;
        self.commands.push(Command::StartTask { op, name, input, options });
        Ok(op.0)
    }
}

fn unknown(name: &str, manifest: &Manifest) -> Fault {
    let known: Vec<&str> = manifest.tasks.iter().map(|task| task.name.as_str()).collect();
    let known = if known.is_empty() { "no task".into() } else { known.join(", ") };
    Fault {
        code: "task.unknown",
        message: format!("the module has no task `{name}`; it lists {known}"),
        remedy: "List the task in `module!(tasks: […])` and upload the module as a replacement.",
    }
}

fn options_of(options: &Options) -> Result<TaskOptions, String> {
    let retry = options.retry.as_ref().map(policy_of);
    if let Some(policy) = retry {
        policy.check()?;
    }
    Ok(TaskOptions {
        retry,
        attempt_timeout_ms: options.attempt_timeout,
        total_timeout_ms: options.total_timeout,
    })
}

pub(super) fn policy_of(policy: &Policy) -> RetryPolicy {
    match policy {
        Policy::Never => RetryPolicy::Never,
        Policy::Fixed(fixed) => {
            RetryPolicy::Fixed { max_attempts: fixed.max_attempts, delay_ms: fixed.delay }
        }
        Policy::Exponential(exponential) => RetryPolicy::Exponential {
            max_attempts: exponential.max_attempts,
            initial_ms: exponential.initial,
            factor: exponential.factor,
            max_delay_ms: exponential.max_delay,
            jitter: exponential.jitter,
        },
    }
}
