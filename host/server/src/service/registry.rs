//! Which module stands behind which version of which workflow: an index over what is published, kept
//! in memory so that a start does not read it. The store decides what is true; the index is read again
//! after every change, also by another server, and before a name is called unknown.

use super::ServiceError;
use everstep_core::manifest::WorkflowDefinition;
use everstep_core::{Digest, Origin, Publication};
use everstep_store::{ModuleRecord, Store};
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::Mutex;

/// The index, loaded when it is first needed.
pub(super) struct Registry {
    index: RwLock<Arc<Index>>,
    /// Somebody else has changed what is published.
    outdated: AtomicBool,
    /// Held from reading the store to replacing the index, so that a slow reader cannot put an
    /// older list in the place of a newer one.
    refreshing: Mutex<()>,
}

/// What is published, and the modules that there are.
#[derive(Default)]
pub(super) struct Index {
    publications: BTreeMap<String, Publication>,
    modules: HashMap<Digest, Arc<ModuleRecord>>,
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
        Self {
            index: RwLock::default(),
            outdated: AtomicBool::new(false),
            refreshing: Mutex::new(()),
        }
    }

    /// The version of a workflow that has this name, or the one that new runs get.
    ///
    /// # Errors
    /// [`ServiceError::UnknownWorkflow`], [`ServiceError::UnknownVersion`] and
    /// [`ServiceError::VersionRetired`], with what is known.
    pub(super) async fn find(
        &self,
        store: &dyn Store,
        workflow: &str,
        version: Option<&str>,
    ) -> Result<Published, ServiceError> {
        if let Ok(found) = self.current(store).await?.find(workflow, version) {
            return Ok(found);
        }
        self.refresh(store).await?.find(workflow, version)
    }

    /// What a run executes.
    ///
    /// # Errors
    /// [`ServiceError::ModuleNotFound`] when its module is not there.
    pub(super) async fn of_run(
        &self,
        store: &dyn Store,
        origin: &Origin,
    ) -> Result<Published, ServiceError> {
        let find =
            |index: &Index| index.definition(origin.digest, &origin.workflow, &origin.version);
        match find(&*self.current(store).await?) {
            Some(found) => Ok(found),
            None => find(&*self.refresh(store).await?)
                .ok_or(ServiceError::ModuleNotFound(origin.digest)),
        }
    }

    /// Reads what is published again.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub(super) async fn refresh(&self, store: &dyn Store) -> Result<Arc<Index>, ServiceError> {
        let _one_at_a_time = self.refreshing.lock().await;
        // What is changed from here on may or may not be read; then it is said again.
        let outdated = self.outdated.swap(false, Ordering::SeqCst);
        self.read(store).await.inspect_err(|_| {
            self.outdated.fetch_or(outdated, Ordering::SeqCst);
        })
    }

    async fn read(&self, store: &dyn Store) -> Result<Arc<Index>, ServiceError> {
        // In this order: a publication names only modules that were there before it.
        let publications = store.publications().await?;
        let modules = store.modules().await?;
        let index = Arc::new(Index {
            publications: publications.into_iter().map(|it| (it.workflow.clone(), it)).collect(),
            modules: modules.into_iter().map(|it| (it.digest, Arc::new(it))).collect(),
        });
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&index);
        Ok(index)
    }

    /// Has the index read again before it is used.
    pub(super) fn outdate(&self) {
        self.outdated.store(true, Ordering::SeqCst);
    }

    async fn current(&self, store: &dyn Store) -> Result<Arc<Index>, ServiceError> {
        if self.outdated.load(Ordering::SeqCst) {
            return self.refresh(store).await;
        }
        Ok(self.index())
    }

    fn index(&self) -> Arc<Index> {
        Arc::clone(&self.index.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Index {
    /// What is published of all workflows, by name.
    pub(super) fn publications(&self) -> impl Iterator<Item = &Publication> {
        self.publications.values()
    }

    /// What is published of a workflow.
    ///
    /// # Errors
    /// [`ServiceError::UnknownWorkflow`], with the names that are known.
    pub(super) fn publication(&self, workflow: &str) -> Result<&Publication, ServiceError> {
        self.publications.get(workflow).ok_or_else(|| ServiceError::UnknownWorkflow {
            workflow: shortened(workflow),
            known: self.publications.keys().cloned().collect(),
        })
    }

    /// The definition of a workflow in a module.
    pub(super) fn definition(
        &self,
        digest: Digest,
        workflow: &str,
        version: &str,
    ) -> Option<Published> {
        let module = self.modules.get(&digest)?;
        let wanted = |it: &WorkflowDefinition| it.name == workflow && it.version == version;
        let position = module.manifest.workflows.iter().position(wanted)?;
        Some(Published { module: Arc::clone(module), position })
    }

    /// A version that runs may be started with, or that they may be moved to.
    pub(super) fn find(
        &self,
        workflow: &str,
        version: Option<&str>,
    ) -> Result<Published, ServiceError> {
        let publication = self.publication(workflow)?;
        let found = match version {
            Some(version) => publication.version(version),
            None => publication.current(),
        };
        let unknown = || ServiceError::UnknownVersion {
            workflow: workflow.to_owned(),
            version: shortened(version.unwrap_or("(any)")),
            known: publication.versions.iter().map(|one| one.version.clone()).collect(),
        };
        let found = found.ok_or_else(unknown)?;
        if found.retired_at.is_some() {
            let (workflow, version) = (workflow.to_owned(), found.version.clone());
            return Err(ServiceError::VersionRetired { workflow, version });
        }
        self.definition(found.digest, workflow, &found.version).ok_or_else(unknown)
    }
}

/// A name that is none may be anything; a refusal repeats only the beginning of it.
fn shortened(name: &str) -> String {
    name.chars().take(80).collect()
}
