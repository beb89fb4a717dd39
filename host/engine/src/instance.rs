//! A workflow instance: one attempt of one run, a wasm component or the script of a simulation. Hosts
//! and replays drive it and cannot tell the two apart.

use crate::component::ComponentInstance;
use crate::error::{ActivationError, SnapshotError};
use crate::module::Module;
use crate::scripted::ScriptedGuest;
use everstep_core::{Activation, Delivery, Digest, Payload, Step};
use std::sync::Arc;

/// One attempt of one run, in memory.
pub struct WorkflowInstance(Kind);

enum Kind {
    Component(Box<ComponentInstance>),
    Scripted { module: Arc<Module>, guest: Box<dyn ScriptedGuest> },
}

impl std::fmt::Debug for WorkflowInstance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkflowInstance").field("module", self.module()).finish_non_exhaustive()
    }
}

impl WorkflowInstance {
    pub(crate) fn of(component: ComponentInstance) -> Self {
        Self(Kind::Component(Box::new(component)))
    }

    pub(crate) fn scripted(module: &Arc<Module>, guest: Box<dyn ScriptedGuest>) -> Self {
        Self(Kind::Scripted { module: Arc::clone(module), guest })
    }

    /// Delivers one completion and lets the guest run until it waits for the next one. `input` is
    /// the run's input; only the first delivery of an attempt looks at it.
    ///
    /// # Errors
    /// See [`ActivationError`]. The instance cannot be used after one.
    pub fn activate(
        &mut self,
        delivery: &Delivery,
        input: &Payload,
    ) -> Result<Activation, ActivationError> {
        match &mut self.0 {
            Kind::Component(component) => component.activate(delivery, input),
            Kind::Scripted { guest, .. } => Ok(guest.activate(delivery, input, Vec::new())),
        }
    }

    /// Delivers what a journal says was delivered. Values that the guest recorded then are given
    /// back to it.
    ///
    /// # Errors
    /// See [`ActivationError`]. The instance cannot be used after one.
    pub fn replay(&mut self, step: &Step, input: &Payload) -> Result<Activation, ActivationError> {
        match &mut self.0 {
            Kind::Component(component) => component.replay(step, input),
            Kind::Scripted { guest, .. } => {
                Ok(guest.activate(&step.delivery, input, step.values()))
            }
        }
    }

    /// Where in its code the guest asked for each command of the last activation, and for its
    /// outcome, in order: a backtrace each. Nothing unless the instance is a traced one.
    pub fn take_traces(&mut self) -> Vec<String> {
        match &mut self.0 {
            Kind::Component(component) => component.take_traces(),
            Kind::Scripted { .. } => Vec::new(),
        }
    }

    /// The hash of all that the guest is between two activations: the contents and sizes of its
    /// linear memories and its mutable globals. Two instances with the same hash go on the same way
    /// from here. None when the module keeps state elsewhere, too (see [`Module::unsound`]), and from
    /// when on the guest has computed a side value: a replay takes that from the journal, and leaves
    /// other memory.
    ///
    /// # Errors
    /// [`ActivationError::Discarded`] after an error; see there for the others.
    pub fn state_hash(&mut self) -> Result<Option<Digest>, ActivationError> {
        match &mut self.0 {
            Kind::Component(component) => component.state_hash(),
            Kind::Scripted { .. } => Ok(None),
        }
    }

    /// The guest as it is between two activations, for [`Module::restore`].
    ///
    /// # Errors
    /// [`SnapshotError::Unsound`] when the guest has something that a snapshot would forget;
    /// [`SnapshotError::Guest`] when the instance is discarded or there is no room to look at it.
    pub fn snapshot(&mut self) -> Result<Vec<u8>, SnapshotError> {
        match &mut self.0 {
            Kind::Component(component) => component.snapshot(),
            Kind::Scripted { .. } => Err(SnapshotError::Unsound("it is a script".into())),
        }
    }

    /// The module that it executes.
    #[must_use]
    pub fn module(&self) -> &Arc<Module> {
        match &self.0 {
            Kind::Component(component) => component.module(),
            Kind::Scripted { module, .. } => module,
        }
    }

    /// The bytes of linear memory that the guest has.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        match &self.0 {
            Kind::Component(component) => component.memory_bytes(),
            Kind::Scripted { .. } => 0,
        }
    }

    /// The fuel that the last activation used; about one unit per wasm instruction.
    #[must_use]
    pub fn fuel_used(&self) -> u64 {
        match &self.0 {
            Kind::Component(component) => component.fuel_used(),
            Kind::Scripted { .. } => 0,
        }
    }
}
