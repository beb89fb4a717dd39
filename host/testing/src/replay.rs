//! Replaying journals: feeding a guest what it was told before, and checking that it asks for the
//! same again. A crash is survived by it, and a test can ask for it.

use everstep_core::{
    Entry, JournalEvent, Origin, Payload, Refusal, RunId, Step, Steps, StuckCause,
};
use everstep_engine::{ActivationError, Module, RunContext, WorkflowInstance};
use std::sync::Arc;

/// A replay under way.
pub(crate) struct Replay {
    module: Arc<Module>,
    origin: Arc<Origin>,
    /// The only attempt that matters; none for all of them.
    only: Option<u32>,
    steps: Steps,
    seq: u64,
    first: u64,
    input: Payload,
    attempt: u32,
    instance: Option<WorkflowInstance>,
    activations: u64,
}

impl Replay {
    /// A replay of a journal that begins at position `first`.
    pub(crate) fn new(
        module: Arc<Module>,
        origin: &Arc<Origin>,
        first: u64,
        only: Option<u32>,
    ) -> Self {
        Self {
            module,
            origin: Arc::clone(origin),
            only,
            steps: Steps::from(first),
            seq: first,
            first,
            input: Payload::null(),
            attempt: 0,
            instance: None,
            activations: 0,
        }
    }

    /// Goes through these entries to their end. Gives the instance of the last attempt and the
    /// number of activations.
    pub(crate) fn through(
        mut self,
        journal: &[Entry],
    ) -> Result<(Option<WorkflowInstance>, u64), StuckCause> {
        for entry in journal {
            if let Some(step) = self.steps.push(entry).map_err(|e| self.corrupt(&e))? {
                self.step(&step)?;
            }
            if let JournalEvent::RunStarted { input, .. }
            | JournalEvent::RunContinued { input, .. } = &entry.event
            {
                self.input = input.clone();
                self.first = self.seq;
                self.attempt = 0;
                self.instance = None;
            }
            self.seq += 1;
        }
        if let Some(step) = self.steps.take_last() {
            self.step(&step)?;
        }
        Ok((self.instance, self.activations))
    }

    fn step(&mut self, step: &Step) -> Result<(), StuckCause> {
        if self.only.is_some_and(|only| only != step.attempt) {
            return Ok(());
        }
        if self.attempt != step.attempt {
            self.attempt = step.attempt;
            self.instance = None;
        }
        let run = self.origin.id;
        let instance = match &mut self.instance {
            Some(instance) => instance,
            none => {
                let context = RunContext::of(&self.origin, self.first, step.attempt);
                none.insert(self.module.instantiate(context).map_err(|e| stuck(run, e))?)
            }
        };
        let activation = instance.replay(step, &self.input).map_err(|e| stuck(run, e))?;
        self.activations += 1;
        step.check(&activation).map_err(|divergence| StuckCause {
            code: "divergence".into(),
            message: divergence.to_string(),
            remedy: "The code does not ask for what the journal has. What it does may depend only \
                     on its input and on what `run` gives."
                .into(),
            divergence: Some(divergence),
        })
    }

    fn corrupt(&self, refusal: &Refusal) -> StuckCause {
        StuckCause {
            code: "journal.corrupt".into(),
            message: refusal.to_string(),
            remedy: "Report it: no journal can be like this.".into(),
            divergence: None,
        }
    }
}

/// What the guest did, as the reason for which its run stops. What the machine did ends the test.
pub(crate) fn stuck(run: RunId, error: ActivationError) -> StuckCause {
    match error {
        ActivationError::Stuck(cause) => cause,
        error => panic!("the workflow of run {run} could not be activated: {error}"),
    }
}
