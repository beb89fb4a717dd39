//! Modules that are scripts: Rust code in this process in the place of a component. The simulation
//! plays them (`tests/src/sim`), so that hosts, replays and the server are the real ones and only the
//! guest is not. No server installs one.

use crate::state::RunContext;
use crate::task::TaskRun;
use everstep_core::{Activation, Delivery, Failure, Payload};
use std::pin::Pin;

/// What executes the workflows and tasks of a scripted module.
pub trait Script: Send + Sync + 'static {
    /// A fresh guest for an attempt of a run.
    fn instantiate(&self, run: RunContext) -> Box<dyn ScriptedGuest>;

    /// One attempt of a task. It is dropped when its time is over or nobody wants it any more.
    fn run_task(
        &self,
        task: TaskRun,
    ) -> Pin<Box<dyn Future<Output = Result<Payload, Failure>> + Send>>;
}

/// A guest of a scripted module. What it does may depend on nothing but what it is told.
pub trait ScriptedGuest: Send + Sync {
    /// Takes in one completion and says what the guest asks for until it waits for the next one.
    /// `recorded` are the values that it recorded in this activation, when it is a replay.
    fn activate(
        &mut self,
        delivery: &Delivery,
        input: &Payload,
        recorded: Vec<(String, Payload)>,
    ) -> Activation;
}
