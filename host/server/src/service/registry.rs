//! Which module has which workflow: an index over the stored modules, kept in memory so that a
//! start does not list them. The store decides what is true; the index is read again after every
//! upload and before a name is called unknown.

use super::ServiceError;
use everstep_core::manifest::WorkflowDefinition;
use everstep_store::{ModuleRecord, Store};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::Mutex;

/// The index, loaded when it is first needed.
pub(super) struct Registry {
    index: RwLock<Arc<Index>>,
    /// Held from reading the store to replacing the index, so that a slow reader cannot put an
    /// older list in the place of a newer one.
    refreshing: Mutex<()>,
}

/// Versions by workflow, in the order of their upload.
#[derive(Default)]
struct Index {
    workflows: BTreeMap<String, Vec<Published>>,
}

/// A version of a workflow and the module that has it.
#[derive(Clone)]
pub(super) struct Published {
    pub(super) module: Arc<ModuleRecord>,
    position: usize,
}

impl Published {
    pub(super) fn workflow(&self) -> &WorkflowDefinition {
        &self.module.manifest.workflows[self.position]
    }
}

impl Registry {
    pub(super) fn new() -> Self {
        Self { index: RwLock::default(), refreshing: Mutex::new(()) }
    }

    /// The version of a workflow that has this name, or the newest one.
    ///
    /// # Errors
    /// [`ServiceError::UnknownWorkflow`] and [`ServiceError::UnknownVersion`], with what is known.
    pub(super) async fn find(
        &self,
        store: &dyn Store,
        workflow: &str,
        version: Option<&str>,
    ) -> Result<Published, ServiceError> {
        if let Ok(found) = self.current().find(workflow, version) {
            return Ok(found);
        }
        self.refresh(store).await?;
        self.current().find(workflow, version)
    }

    /// Reads the list of modules again.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn refresh(&self, store: &dyn Store) -> Result<(), ServiceError> {
        let _one_at_a_time = self.refreshing.lock().await;
        let index = Arc::new(Index::of(store.modules().await?));
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = index;
        Ok(())
    }

    fn current(&self) -> Arc<Index> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Index {
    fn of(modules: Vec<ModuleRecord>) -> Self {
        let mut workflows: BTreeMap<String, Vec<Published>> = BTreeMap::new();
        for module in modules.into_iter().map(Arc::new) {
            for (position, workflow) in module.manifest.workflows.iter().enumerate() {
                let published = Published { module: Arc::clone(&module), position };
                workflows.entry(workflow.name.clone()).or_default().push(published);
            }
        }
        Self { workflows }
    }

    fn find(&self, workflow: &str, version: Option<&str>) -> Result<Published, ServiceError> {
        let Some(versions) = self.workflows.get(workflow) else {
            return Err(ServiceError::UnknownWorkflow {
                workflow: shortened(workflow),
                known: self.workflows.keys().cloned().collect(),
            });
        };
        // The newest one is the one uploaded last; within a module, the one listed last.
        let mut newest_first = versions.iter().rev();
        let found = newest_first.find(|one| version.is_none_or(|v| one.workflow().version == v));
        found.cloned().ok_or_else(|| ServiceError::UnknownVersion {
            workflow: workflow.to_owned(),
            version: shortened(version.unwrap_or_default()),
            known: versions.iter().map(|one| one.workflow().version.clone()).collect(),
        })
    }
}

/// A name that is none may be anything; a refusal repeats only the beginning of it.
fn shortened(name: &str) -> String {
    name.chars().take(80).collect()
}
