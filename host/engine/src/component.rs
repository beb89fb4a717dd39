//! A workflow instance that is a wasm component: one attempt of one run as live memory. The host delivers
//! completions to it one by one; between two of them its wasm stack is empty.

use crate::bindings::exports::everstep::workflow::workflow as guest;
use crate::bindings::{Module as Guest, ModulePre};
use crate::config::TICK;
use crate::engine::Shared;
use crate::error::ActivationError;
use crate::fault::{Circumstances, explain};
use crate::image::{self, Changed, Comparison, Image};
use crate::imports::wasi::VirtualWasi;
use crate::module::Module;
use crate::state::{Phase, RunContext, WorkflowState};
use everstep_core::{Activation, Completion, Delivery, Digest, Failure, OpResult, Payload, Step};
use std::sync::Arc;
use std::time::Duration;
use wasmtime::Store;
use wasmtime::component::Instance;

/// Resource handles that one instance may hold: enough for streams and clocks, too few to hurt.
const HANDLES: usize = 10_000;

/// A fresh instance's store, with its bounds in place.
pub(crate) fn new_store(
    shared: &Shared,
    state: WorkflowState,
    fuel: u64,
    timeout: Duration,
) -> Store<WorkflowState> {
    let hostcall_bytes = hostcall_bytes(state.limits.payload_bytes);
    let mut store = Store::new(&shared.wasmtime, state);
    store.limiter(|state| &mut state.budget);
    store.set_max_component_handles(HANDLES);
    store.set_hostcall_fuel(hostcall_bytes);
    refuel(&mut store, fuel, ticks(timeout));
    store
}

/// What one call of the host may bring along: a payload over the limit must get through, so that
/// it is refused with its own message, and nothing that would strain the host.
pub(crate) fn hostcall_bytes(payload_bytes: u64) -> usize {
    let payload = usize::try_from(payload_bytes).unwrap_or(usize::MAX);
    payload.saturating_mul(2).saturating_add(16 << 20)
}

fn refuel(store: &mut Store<WorkflowState>, fuel: u64, ticks: u64) {
    // Fuel is part of the configuration, so this cannot fail.
    let _ = store.set_fuel(fuel);
    store.set_epoch_deadline(ticks);
}

fn ticks(timeout: Duration) -> u64 {
    u64::try_from(timeout.as_nanos() / TICK.as_nanos()).unwrap_or(u64::MAX >> 1).saturating_add(1)
}

/// One attempt of one run, in memory.
pub(crate) struct ComponentInstance {
    module: Arc<Module>,
    store: Store<WorkflowState>,
    guest: Guest,
    /// What the probes are found by; none when the module has none.
    probed: Option<Instance>,
    fuel: u64,
    fuel_used: u64,
    ticks: u64,
    discarded: bool,
}

impl ComponentInstance {
    /// An instance like any new one of its module, that is about to be made another.
    pub(crate) fn blank(module: &Arc<Module>, run: RunContext) -> Result<Self, ActivationError> {
        let mut state = WorkflowState::for_run(run, Arc::clone(module.manifest()));
        let wasi = std::mem::replace(&mut state.wasi, VirtualWasi::new(0));
        let run = state.run.take();
        let mut instance = Self::with_state(module, &module.component()?.workflow, state)?;
        let state = instance.state_mut();
        (state.run, state.wasi) = (run, wasi);
        // What its start-up code said was said when the run began.
        drop(state.logs.take());
        Ok(instance)
    }

    pub(crate) fn new(
        module: &Arc<Module>,
        pre: &ModulePre<WorkflowState>,
        run: RunContext,
    ) -> Result<Self, ActivationError> {
        Self::with_state(module, pre, WorkflowState::for_run(run, Arc::clone(module.manifest())))
    }

    fn with_state(
        module: &Arc<Module>,
        pre: &ModulePre<WorkflowState>,
        state: WorkflowState,
    ) -> Result<Self, ActivationError> {
        let (shared, limits) = (&module.shared, state.limits);
        let (fuel, timeout) = (limits.fuel, shared.options.activation_timeout);
        if limits.memory_bytes > shared.options.memory_bytes_max as u64 {
            // Another host may have more; giving the guest less would be another execution.
            return Err(ActivationError::OutOfMemory(format!(
                "the run was promised {} bytes, this host gives at most {}",
                limits.memory_bytes, shared.options.memory_bytes_max
            )));
        }
        let mut store = new_store(shared, state, fuel, timeout);
        match pre.instantiate_whole(&mut store) {
            Ok((guest, instance)) => Ok(Self {
                module: Arc::clone(module),
                store,
                guest,
                probed: module.unsound().is_none().then_some(instance),
                fuel,
                fuel_used: 0,
                ticks: ticks(timeout),
                discarded: false,
            }),
            Err(error) => Err(explain_in(&mut store, &error, fuel)),
        }
    }

    /// Delivers one completion and lets the guest run until it waits for the next one. `input` is
    /// the run's input; only the first delivery of an attempt looks at it.
    ///
    /// # Errors
    /// See [`ActivationError`]. The instance cannot be used after one.
    pub(crate) fn activate(
        &mut self,
        delivery: &Delivery,
        input: &Payload,
    ) -> Result<Activation, ActivationError> {
        if self.discarded {
            return Err(ActivationError::Discarded);
        }
        refuel(&mut self.store, self.fuel, self.ticks);
        let state = self.store.data_mut();
        state.now = delivery.at;
        state.logs.stand_at(delivery.at);
        state.phase = Phase::Active;
        state.taken_bytes = 0;
        state.traces.clear();
        let result = self.call(&delivery.completion, input);
        self.fuel_used = self.fuel.saturating_sub(self.store.get_fuel().unwrap_or(0));
        if let Err(error) = result {
            self.discarded = true;
            return Err(explain_in(&mut self.store, &error, self.fuel));
        }
        let state = self.store.data_mut();
        state.phase = Phase::Setup;
        Ok(Activation {
            commands: std::mem::take(&mut state.commands),
            outcome: state.outcome.take(),
            logs: state.logs.take(),
            published: state.published.take(),
            state: None,
        })
    }

    /// Delivers what a journal says was delivered. Values that the guest recorded then are given
    /// back to it.
    ///
    /// # Errors
    /// See [`ActivationError`]. The instance cannot be used after one.
    pub(crate) fn replay(
        &mut self,
        step: &Step,
        input: &Payload,
    ) -> Result<Activation, ActivationError> {
        self.store.data_mut().values = step.values().into();
        self.store.data_mut().children = step.children();
        let activation = self.activate(&step.delivery, input);
        self.store.data_mut().values.clear();
        self.store.data_mut().children.clear();
        activation
    }

    fn call(&mut self, completion: &Completion, input: &Payload) -> wasmtime::Result<()> {
        let workflow = self.guest.everstep_workflow_workflow();
        let completion = match completion {
            Completion::Start { first_op, .. } => {
                self.store.data_mut().next_op = *first_op;
                let run = self.store.data().run()?;
                let (name, version) = (run.workflow.clone(), run.version.clone());
                let input = input.as_str().as_bytes().to_vec();
                return workflow.call_start(&mut self.store, &name, &version, &input);
            }
            Completion::Operation { op, result } => {
                let result = result_of(result);
                guest::Completion::Operation(guest::OperationCompletion { op: op.0, result })
            }
            Completion::CancelRequested { reason } => {
                guest::Completion::CancelRequested(reason.clone())
            }
        };
        workflow.call_resume(&mut self.store, &completion)
    }

    /// Where in its code the guest asked for each command of the last activation, and for its
    /// outcome, in order: a backtrace each. Nothing unless the instance is a traced one.
    pub(crate) fn take_traces(&mut self) -> Vec<String> {
        std::mem::take(&mut self.store.data_mut().traces)
    }

    /// The hash of all that the guest is between two activations: the contents and sizes of its
    /// linear memories and its mutable globals. Two instances with the same hash go on the same way
    /// from here. None when the module keeps state elsewhere, too (see [`Module::unsound`]), and from
    /// when on the guest has computed a side value: a replay takes that from the journal, and leaves
    /// other memory.
    ///
    /// # Errors
    /// [`ActivationError::Discarded`] after an error; see there for the others.
    pub(crate) fn state_hash(&mut self) -> Result<Option<Digest>, ActivationError> {
        let comparable = self.probed.is_some() && !self.store.data().computed;
        if !comparable && !self.discarded {
            return Ok(None);
        }
        self.look(image::hash).map(Some)
    }

    /// What of the guest differs from the base.
    pub(crate) fn compare(
        &mut self,
        base: Arc<Image>,
    ) -> Result<(Comparison, Vec<u64>), ActivationError> {
        self.look(|store, instance| image::compare(store, instance, base))
    }

    /// Makes the guest of a blank instance what it was when it was compared.
    pub(crate) fn write(
        &mut self,
        memories: &[Changed],
        pages: &[u8],
        globals: &[u64],
    ) -> Result<(), ActivationError> {
        self.look(|store, instance| image::write(store, instance, (memories, pages), globals))
    }

    /// Calls probes.
    fn look<T>(
        &mut self,
        through: impl FnOnce(&mut Store<WorkflowState>, &Instance) -> wasmtime::Result<T>,
    ) -> Result<T, ActivationError> {
        if self.discarded {
            return Err(ActivationError::Discarded);
        }
        refuel(&mut self.store, u64::MAX, self.ticks);
        let Some(instance) = &self.probed else { return Err(ActivationError::Discarded) };
        // All of its memory may pass by, which is bounded by itself.
        self.store.set_hostcall_fuel(usize::MAX);
        let seen = through(&mut self.store, instance);
        let payload_bytes = self.store.data().limits.payload_bytes;
        self.store.set_hostcall_fuel(hostcall_bytes(payload_bytes));
        seen.map_err(|error| explain_in(&mut self.store, &error, u64::MAX))
    }

    pub(crate) fn state(&self) -> &WorkflowState {
        self.store.data()
    }

    pub(crate) fn state_mut(&mut self) -> &mut WorkflowState {
        self.store.data_mut()
    }

    /// The module that it executes.
    #[must_use]
    pub(crate) fn module(&self) -> &Arc<Module> {
        &self.module
    }

    /// The bytes of linear memory that the guest has.
    #[must_use]
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().budget.used()
    }

    /// The fuel that the last activation used; about one unit per wasm instruction.
    #[must_use]
    pub(crate) fn fuel_used(&self) -> u64 {
        self.fuel_used
    }
}

fn explain_in(
    store: &mut Store<WorkflowState>,
    error: &wasmtime::Error,
    fuel: u64,
) -> ActivationError {
    let last_words = store.data_mut().logs.last_words();
    let budget = &store.data().budget;
    explain(error, &Circumstances { budget, last_words, fuel })
}

fn result_of(result: &OpResult) -> guest::OpResult {
    match result {
        OpResult::Value(value) => guest::OpResult::Value(value.as_str().as_bytes().to_vec()),
        OpResult::Fired => guest::OpResult::Fired,
        OpResult::Failed(failure) => guest::OpResult::Failed(failure_of(failure)),
        OpResult::TimedOut => guest::OpResult::TimedOut,
        OpResult::Cancelled => guest::OpResult::Cancelled,
    }
}

fn failure_of(failure: &Failure) -> crate::bindings::everstep::workflow::types::Failure {
    crate::bindings::everstep::workflow::types::Failure {
        code: failure.code.clone(),
        message: failure.message.clone(),
        details: failure.details.as_ref().map(|details| details.as_str().as_bytes().to_vec()),
        retryable: failure.retryable,
    }
}
