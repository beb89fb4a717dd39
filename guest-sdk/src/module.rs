//! From the author's list of workflows and tasks to the exports of a component.
//! [`module!`](crate::module!) implements [`Module`]; the host calls [`Exports`].

use crate::bindings::exports::{everstep::workflow as exports, task as task_export};
use crate::host::{outcome, types};
use crate::payload::{decode, encode};
use crate::runtime::{self, Root};
use crate::{
    Failure, Payload, Run, Task, TaskContext, TaskDefinition, Workflow, WorkflowDefinition,
    manifest, payload,
};
use exports::workflow::Completion;
use std::marker::PhantomData;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// What a crate exports.
pub trait Module: 'static {
    /// Its workflows.
    const WORKFLOWS: &'static [WorkflowEntry];
    /// Its tasks.
    const TASKS: &'static [TaskEntry];
}

/// A workflow of a module.
#[derive(Debug)]
pub struct WorkflowEntry {
    name: &'static str,
    version: &'static str,
    pub(crate) describe: fn() -> manifest::Workflow,
    begin: fn(&[u8]) -> Result<Root, Failure>,
}

impl WorkflowEntry {
    /// The entry of this workflow.
    #[must_use]
    pub const fn of<W: Workflow>(_: W) -> Self {
        Self {
            name: W::Definition::NAME,
            version: W::Definition::VERSION,
            describe: manifest::Workflow::of::<W::Definition>,
            begin: begin::<W::Definition>,
        }
    }
}

/// A task of a module.
#[derive(Debug)]
pub struct TaskEntry {
    name: &'static str,
    pub(crate) describe: fn() -> manifest::Task,
    run: fn(TaskContext, &[u8]) -> Result<Vec<u8>, Failure>,
}

impl TaskEntry {
    /// The entry of this task.
    #[must_use]
    pub const fn of<T: Task>(_: T) -> Self {
        Self {
            name: T::Definition::NAME,
            describe: manifest::Task::of::<T::Definition>,
            run: run::<T::Definition>,
        }
    }
}

/// Nobody outside of this crate has one, so nobody calls the function that stands for a task or a
/// workflow; its name is what the compiler says to those who try. Use `.start(&run, input)` in a
/// workflow, and `.call(input)` in a unit test.
#[derive(Debug)]
pub struct StartInsteadOfCalling(());

/// The output type of what a task or workflow function returns. Only the macros use it.
#[diagnostic::on_unimplemented(
    message = "a task returns `TaskResult<T>` and a workflow `WorkflowResult<T>`, not `{Self}`",
    label = "return `TaskResult<…>` or `WorkflowResult<…>` here"
)]
pub trait Returned {
    /// The output.
    type Output: Payload;
}

impl<T: Payload> Returned for Result<T, Failure> {
    type Output = T;
}

fn begin<W: WorkflowDefinition>(input: &[u8]) -> Result<Root, Failure> {
    let input = decode(input, "workflow.input", "the input of the workflow")?;
    Ok(Box::pin(async move {
        let output = W::execute(Run::new(), input).await?;
        encode(&output, "workflow.output", "the output of the workflow")
    }))
}

fn run<T: TaskDefinition>(context: TaskContext, input: &[u8]) -> Result<Vec<u8>, Failure> {
    let input = decode(input, "task.input", "the input of the task")?;
    let output = block_on(T::execute(context, input))??;
    payload::encode(&output, "task.output", "the output of the task")
}

/// Runs a task's future to its end. Everything that a task awaits is ready at once, because the
/// calls that take time (HTTP, sleeping) block.
fn block_on<F: Future>(future: F) -> Result<F::Output, Failure> {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Ok(output),
        Poll::Pending => Err(Failure::new(
            "task.stalled",
            "the task awaits something that nothing will ever wake; in a task use blocking calls, \
             such as `everstep_sdk::http` and `std::thread::sleep`",
        )
        .not_retryable()),
    }
}

/// The exports of a module.
#[derive(Debug)]
pub struct Exports<M>(PhantomData<M>);

impl<M: Module> exports::definitions::Guest for Exports<M> {
    fn describe() -> Vec<u8> {
        manifest::Manifest::of::<M>().to_json()
    }
}

impl<M: Module> exports::workflow::Guest for Exports<M> {
    fn start(name: String, version: String, input: Vec<u8>) {
        let entry = M::WORKFLOWS.iter().find(|w| w.name == name && w.version == version);
        let root = match entry {
            Some(entry) => (entry.begin)(&input),
            None => Err(missing("workflow", &format!("{name}` version `{version}"))),
        };
        match root {
            Ok(root) => runtime::begin(root),
            Err(failure) => outcome::fail(&failure.into()),
        }
    }

    fn resume(completion: Completion) {
        match completion {
            Completion::Operation(ended) => runtime::complete(ended.op, ended.result),
            Completion::CancelRequested(reason) => runtime::request_cancel(reason),
        }
    }
}

impl<M: Module> task_export::Guest for Exports<M> {
    fn run(
        name: String,
        input: Vec<u8>,
        attempt: task_export::AttemptInfo,
    ) -> Result<Vec<u8>, types::Failure> {
        let Some(entry) = M::TASKS.iter().find(|task| task.name == name) else {
            return Err(missing("task", &name).into());
        };
        let context = TaskContext::new(attempt.run_id, attempt.attempt, attempt.idempotency_token);
        (entry.run)(context, &input).map_err(Into::into)
    }
}

fn missing(kind: &str, name: &str) -> Failure {
    let message = format!("no {kind} `{name}` in this module; list it in `module!({kind}s: […])`");
    Failure::new(format!("{kind}.unknown"), message).not_retryable()
}

/// Makes the crate a module: exports its workflows and tasks to the host. Once per crate, which
/// must have `crate-type = ["cdylib"]`.
///
/// ```ignore
/// everstep_sdk::module!(workflows: [onboarding], tasks: [send_email, mark_verified]);
/// ```
#[macro_export]
macro_rules! module {
    (workflows: [$($workflow:expr),+ $(,)?] $(, tasks: [$($task:expr),* $(,)?])? $(,)?) => {
        const _: () = {
            #[allow(dead_code)]
            struct ThisModule;
            impl $crate::module::Module for ThisModule {
                const WORKFLOWS: &'static [$crate::module::WorkflowEntry] =
                    &[$($crate::module::WorkflowEntry::of($workflow)),+];
                const TASKS: &'static [$crate::module::TaskEntry] =
                    &[$($($crate::module::TaskEntry::of($task)),*)?];
            }
            #[cfg(target_arch = "wasm32")]
            #[allow(unsafe_code)]
            const _: () = {
                type Exported = $crate::module::Exports<ThisModule>;
                $crate::bindings::export_module!(Exported with_types_in $crate::bindings);
            };
        };
    };
    ($($other:tt)*) => {
        ::core::compile_error!(
            "write `everstep_sdk::module!(workflows: [a_workflow], tasks: [a_task, another]);` \
             with at least one workflow"
        );
    };
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_task_that_would_wait_for_ever_is_told() {
        let failure = block_on(std::future::pending::<()>()).unwrap_err();
        assert_eq!(failure.code(), "task.stalled");
        assert_eq!(block_on(async { 1 }), Ok(1));
    }
}
