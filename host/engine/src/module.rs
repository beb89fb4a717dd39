//! A module that is ready to run: compiled, linked against the imports of workflows and of tasks,
//! with its manifest read. Shared by all runs that execute it.

use crate::bindings::ModulePre;
use crate::component::{ComponentInstance, new_store};
use crate::engine::Shared;
use crate::error::{ActivationError, ModuleError};
use crate::fault::{describe, host_error};
use crate::image::Image;
use crate::imports::{task_linker, workflow_linker};
use crate::instance::WorkflowInstance;
use crate::scripted::Script;
use crate::state::{RunContext, WorkflowState};
use crate::task::TaskState;
use crate::traces::traced_linker;
use crate::validate;
use everstep_core::{Digest, Manifest};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, OnceLock};
use wasmtime::Trap;
use wasmtime::component::Component;

/// What is known of a module besides its code. Kept with the compiled code on disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) size: usize,
    pub(crate) imports: Vec<String>,
    pub(crate) manifest: Arc<Manifest>,
    /// Why there can be no snapshots of its instances, if there is a reason.
    pub(crate) unsound: Option<String>,
}

/// A module that is ready to run.
pub struct Module {
    pub(crate) shared: Arc<Shared>,
    digest: Digest,
    facts: Facts,
    code: Code,
}

/// What a module executes.
pub(crate) enum Code {
    /// What somebody uploaded.
    Component(Box<Linked>),
    /// What a simulation plays.
    Scripted(Arc<dyn Script>),
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module").field("digest", &self.digest).finish_non_exhaustive()
    }
}

/// A component with its imports resolved.
pub(crate) struct Linked {
    pub(crate) workflow: ModulePre<WorkflowState>,
    pub(crate) task: ModulePre<TaskState>,
    /// What an instance of it is like when it is new; read when it is first needed.
    pub(crate) base: OnceLock<Arc<Image>>,
    image_bytes: usize,
}

impl Linked {
    /// Resolves the imports of a component.
    pub(crate) fn new(
        shared: &Shared,
        component: &Component,
        probed: bool,
    ) -> Result<Self, ModuleError> {
        let engine = &shared.wasmtime;
        validate::check_names(engine, component, probed)?;
        let wrong_import =
            |error: wasmtime::Error| ModuleError::UnknownImport(vec![format!("{error:#}")]);
        let wrong_export = |error: wasmtime::Error| {
            ModuleError::MissingExport(vec![format!("the contract as it is: {error:#}")])
        };
        let workflow = workflow_linker(engine, component)
            .and_then(|linker| linker.instantiate_pre(component))
            .map_err(wrong_import)?;
        let task = task_linker(engine, component)
            .and_then(|linker| linker.instantiate_pre(component))
            .map_err(wrong_import)?;
        let image = component.image_range();
        Ok(Self {
            workflow: ModulePre::new(workflow).map_err(wrong_export)?,
            task: ModulePre::new(task).map_err(wrong_export)?,
            base: OnceLock::new(),
            image_bytes: (image.end as usize).saturating_sub(image.start as usize),
        })
    }

    /// Asks the module what it contains. It may do nothing but log and compute for a moment.
    pub(crate) fn describe(&self, shared: &Shared) -> Result<Manifest, ModuleError> {
        let options = &shared.options;
        let state = WorkflowState::for_describe(options.limits);
        let mut store = new_store(shared, state, options.describe_fuel, options.describe_timeout);
        let answer = self
            .workflow
            .instantiate(&mut store)
            .and_then(|guest| guest.everstep_workflow_definitions().call_describe(&mut store));
        let bytes = answer.map_err(|error| {
            let last_words = store.data_mut().logs.last_words();
            refusal(&error, &last_words)
        })?;
        Manifest::parse(&bytes).map_err(|error| ModuleError::ManifestInvalid(error.to_string()))
    }
}

fn refusal(error: &wasmtime::Error, last_words: &str) -> ModuleError {
    match host_error(error) {
        Some(ActivationError::Interrupted) => return ModuleError::DescribeTimeout,
        Some(host) => return ModuleError::Busy(host.to_string()),
        None => {}
    }
    if matches!(error.downcast_ref::<Trap>(), Some(Trap::OutOfFuel)) {
        return ModuleError::DescribeTimeout;
    }
    ModuleError::DescribeTrapped(describe(error, &error.root_cause().to_string(), last_words))
}

impl Module {
    pub(crate) fn new(shared: Arc<Shared>, digest: Digest, facts: Facts, code: Code) -> Self {
        Self { shared, digest, facts, code }
    }

    pub(crate) fn code(&self) -> &Code {
        &self.code
    }

    /// Its component. A scripted module has none, and nothing asks for it.
    pub(crate) fn component(&self) -> Result<&Linked, ActivationError> {
        match &self.code {
            Code::Component(component) => Ok(component),
            Code::Scripted(_) => Err(ActivationError::Discarded),
        }
    }

    /// The digest of the bytes as uploaded.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What the module says it contains.
    #[must_use]
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.facts.manifest
    }

    /// The size of the module as uploaded, in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.facts.size
    }

    /// The names of the interfaces that it imports.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.facts.imports
    }

    /// Why there can be no snapshots of its instances; none when there can be.
    #[must_use]
    pub fn unsound(&self) -> Option<&str> {
        self.facts.unsound.as_deref()
    }

    /// The bytes that its compiled code takes in memory.
    #[must_use]
    pub fn image_bytes(&self) -> usize {
        match &self.code {
            Code::Component(component) => component.image_bytes,
            Code::Scripted(_) => 0,
        }
    }

    /// Sets up a fresh instance for an attempt of a run.
    ///
    /// # Errors
    /// When there is no slot or no memory for it, or its start-up code fails.
    pub fn instantiate(
        self: &Arc<Self>,
        run: RunContext,
    ) -> Result<WorkflowInstance, ActivationError> {
        match &self.code {
            Code::Component(component) => {
                Ok(WorkflowInstance::of(ComponentInstance::new(self, &component.workflow, run)?))
            }
            Code::Scripted(script) => {
                let guest = script.instantiate(run);
                Ok(WorkflowInstance::scripted(self, guest))
            }
        }
    }

    /// The same, of an instance that notes where in its code the guest asks for what. It does the same
    /// as any other, but takes much longer.
    ///
    /// # Errors
    /// As [`Module::instantiate`].
    pub fn instantiate_traced(
        self: &Arc<Self>,
        run: RunContext,
    ) -> Result<WorkflowInstance, ActivationError> {
        if matches!(self.code, Code::Scripted(_)) {
            return self.instantiate(run);
        }
        let component = self.component()?.workflow.instance_pre().component();
        let traced = traced_linker(&self.shared.wasmtime, component)
            .and_then(|linker| linker.instantiate_pre(component))
            .and_then(ModulePre::new)
            // The same component is linked to the same interfaces already.
            .map_err(|error| ActivationError::OutOfMemory(format!("{error:#}")))?;
        Ok(WorkflowInstance::of(ComponentInstance::new(self, &traced, run)?))
    }
}
