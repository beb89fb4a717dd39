//! Workflows: what `#[workflow]` makes of a function.

use crate::child::{ChildHandle, ChildOptions, ConfiguredChild};
use crate::module::StartInsteadOfCalling;
use crate::{Payload, RetryPolicy, Run, WorkflowResult};
use std::time::Duration;

/// What `#[workflow]` says of a function.
pub trait WorkflowDefinition: 'static {
    /// What it takes.
    type Input: Payload;
    /// What it gives when it succeeds.
    type Output: Payload;
    /// The name under which it is started.
    const NAME: &'static str;
    /// Its version: with the name, it names exactly one module.
    const VERSION: &'static str;

    /// What else the manifest says of it.
    fn settings() -> WorkflowSettings;

    /// Begins an attempt of a run.
    fn execute(
        run: Run,
        input: Self::Input,
    ) -> impl Future<Output = WorkflowResult<Self::Output>> + 'static;
}

/// A workflow: the name of an async fn with `#[workflow]`, to be listed in
/// [`module!`](crate::module!).
pub trait Workflow: Copy {
    /// Its definition.
    type Definition: WorkflowDefinition;

    /// Starts a run of it as a child, in this call. Await the handle for its output; drop it to
    /// stop the child.
    fn start_child(self, run: &Run, input: ChildInput<Self>) -> ChildHandle<ChildOutput<Self>> {
        self.child(ChildOptions::default()).start_child(run, input)
    }

    /// This workflow with options for a child.
    fn child(self, options: ChildOptions) -> ConfiguredChild<Self> {
        ConfiguredChild::new(options)
    }
}

/// What the workflow `W` takes.
pub type ChildInput<W> = <<W as Workflow>::Definition as WorkflowDefinition>::Input;
/// What the workflow `W` gives.
pub type ChildOutput<W> = <<W as Workflow>::Definition as WorkflowDefinition>::Output;

/// `#[workflow]` leaves a function that nobody but this crate can call; its result is the
/// definition.
impl<F, D> Workflow for F
where
    F: Fn(StartInsteadOfCalling) -> D + Copy,
    D: WorkflowDefinition,
{
    type Definition = D;
}

/// What the manifest says of a workflow beside its name, its version and its types.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WorkflowSettings {
    /// For people; empty for none.
    pub description: &'static str,
    /// When to try a failed run again, unless its start says otherwise.
    pub retry: Option<RetryPolicy>,
    /// The longest a run may take, unless its start says otherwise.
    pub timeout: Option<Duration>,
    /// The events that it takes, with the schemas of their data.
    pub events: Vec<(&'static str, schemars::Schema)>,
    /// The template from which starts without an idempotency key get theirs.
    pub key: Option<&'static str>,
}
