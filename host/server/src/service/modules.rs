//! Modules: upload, list, show. An upload is checked completely (by the engine, which compiles it
//! and asks it to describe itself, by its schemas, and by the open runs that it is to take over) before
//! anything is stored.

use super::publish::{Plan, Replaced, refused};
use super::registry::Index;
use super::{Service, ServiceError, on_thread, schema};
use everstep_core::api::{InterfaceChange, ModuleView, UpgradeProgress, UploadOptions, Uploaded};
use everstep_core::compat::{self, Verdict};
use everstep_core::manifest::WorkflowDefinition;
use everstep_core::{Digest, Manifest};
use everstep_engine::Module;
use everstep_store::{ModuleRecord, NewModule};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// A module that was checked and is not stored yet.
pub(super) struct Accepted {
    pub(super) stored: NewModule,
    pub(super) compiled: Arc<Module>,
}

/// A place among the uploads that are received at once. Take it before receiving the bytes: it
/// bounds the memory that uploads need.
pub struct UploadPermit(#[expect(dead_code, reason = "held, not read")] OwnedSemaphorePermit);

impl Service {
    /// Asks for a place among the uploads.
    ///
    /// # Errors
    /// [`ServiceError::Busy`] when there is none.
    pub fn upload_permit(&self) -> Result<UploadPermit, ServiceError> {
        Arc::clone(&self.uploads)
            .try_acquire_owned()
            .map(UploadPermit)
            .map_err(|_| ServiceError::Busy("too many modules are uploaded at once"))
    }

    /// Accepts a module and publishes its workflows. The same bytes again change nothing. With
    /// `replace` it may take the place of other modules; their open runs are tried on it first, and
    /// then moved.
    ///
    /// # Errors
    /// When the module is too large, not a module that this server can run, or has a version that
    /// another module has and is not to replace it; when open runs do not pass. Nothing has changed
    /// then.
    pub async fn upload(
        self: &Arc<Self>,
        bytes: Vec<u8>,
        _permit: UploadPermit,
        options: UploadOptions,
        observer: impl Fn(UpgradeProgress) + Send + Sync + 'static,
    ) -> Result<Uploaded, ServiceError> {
        let most = self.options.module_bytes_max;
        if bytes.len() as u64 > most {
            return Err(ServiceError::ModuleTooLarge { most });
        }
        let (module, new) = self.accept(bytes).await?;
        let index = self.registry.refresh(&*self.parts.store).await?;
        let plan = self.plan(&index, &module, options.replace).await?;
        if plan.changes.is_empty() && new.is_none() {
            let (created, active, upgrade, changes) = (false, true, None, Vec::new());
            let module = self.module_view(&module).await?;
            return Ok(Uploaded { created, active, module, changes, upgrade });
        }
        let changes = interface_changes(&index, &module);
        check_changes(&changes, options)?;
        let created = new.is_some();
        let activated = self.activate(new, plan, options, Arc::new(observer)).await?;
        tracing::info!(digest = %module.digest, size = module.size, "module uploaded");
        let module = self.module_view(&module).await?;
        let active = !options.dry_run;
        Ok(Uploaded { created, active, module, changes, upgrade: activated })
    }

    /// The module with these bytes, and what is to be stored when it is not there.
    async fn accept(
        &self,
        bytes: Vec<u8>,
    ) -> Result<(ModuleRecord, Option<Accepted>), ServiceError> {
        let digest = Digest::of(&bytes);
        if let Some(module) = self.parts.store.module(digest).await? {
            return Ok((module, None));
        }
        let new = self.check(bytes).await?;
        Ok((new.stored.record(digest), Some(new)))
    }

    /// What publishing the module changes.
    async fn plan(
        &self,
        index: &Index,
        module: &ModuleRecord,
        replace: bool,
    ) -> Result<Plan, ServiceError> {
        let mut plan = Plan::default();
        let now = crate::clock::now();
        for WorkflowDefinition { name, version, .. } in &module.manifest.workflows {
            let published = index.publications().find(|it| it.workflow == *name);
            let publication = plan.publication(name, published);
            let before = publication.version(version).map(|it| it.digest);
            let changed = if replace {
                publication.replace(version, module.digest, now)
            } else {
                publication.publish(version, module.digest, now)
            };
            changed.map_err(|error| refused(name, publication, error))?;
            if let Some(from) = before.filter(|it| *it != module.digest) {
                let (workflow, version) = (name.clone(), version.clone());
                plan.replaced.push(Replaced { workflow, version, from, to: module.digest });
            }
        }
        plan.changes.retain(|change| change.publication.revision != change.expected);
        Ok(plan)
    }

    /// Compiles the module and lets it describe itself, on a thread that may take its time.
    async fn check(&self, bytes: Vec<u8>) -> Result<Accepted, ServiceError> {
        let permit = Arc::clone(&self.compiling).acquire_owned().await;
        let permit = permit.map_err(|e| ServiceError::Internal(e.to_string()))?;
        let engine = Arc::clone(&self.parts.engine);
        on_thread(move || {
            // The thread goes on when the client hangs up, so it is what holds the place.
            let _permit = permit;
            let module = engine.compile(&bytes)?;
            let manifest = Manifest::clone(module.manifest());
            schema::check_manifest(&manifest)?;
            let uploaded_at = crate::clock::now();
            let engine = everstep_engine::CONFIG_VERSION;
            let stored = NewModule { bytes, uploaded_at, engine, manifest };
            Ok(Accepted { stored, compiled: module })
        })
        .await
    }

    /// All modules, in the order of their upload.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn modules(&self) -> Result<Vec<ModuleView>, ServiceError> {
        let open = self.parts.store.open_runs().await?;
        let modules = self.parts.store.modules().await?;
        Ok(modules.iter().map(|module| view(module, &open)).collect())
    }

    /// A module.
    ///
    /// # Errors
    /// When there is no such module or the store cannot be read.
    pub async fn module(&self, digest: Digest) -> Result<ModuleView, ServiceError> {
        let module = self.parts.store.module(digest).await?;
        self.module_view(&module.ok_or(ServiceError::ModuleNotFound(digest))?).await
    }

    async fn module_view(&self, module: &ModuleRecord) -> Result<ModuleView, ServiceError> {
        Ok(view(module, &self.parts.store.open_runs().await?))
    }

    /// The bytes of a module, as they were uploaded.
    ///
    /// # Errors
    /// When there is no such module or the store cannot be read.
    pub async fn module_content(&self, digest: Digest) -> Result<Vec<u8>, ServiceError> {
        let bytes = self.parts.store.module_bytes(digest).await?;
        bytes.ok_or(ServiceError::ModuleNotFound(digest))
    }
}

/// What the module changes for those who use its workflows, compared with what it replaces or with what
/// new runs got before.
fn interface_changes(index: &Index, module: &ModuleRecord) -> Vec<InterfaceChange> {
    let mut changes = Vec::new();
    for new in &module.manifest.workflows {
        let Ok(publication) = index.publication(&new.name) else { continue };
        let same = publication.version(&new.version);
        let Some(before) = same.or_else(|| publication.current()) else { continue };
        let Some(old) = index.definition(before.digest, &new.name, &before.version) else {
            continue;
        };
        let (was, now) = ((&old.module.manifest, old.workflow()), (&module.manifest, new));
        changes.extend(compat::compare(was, now).into_iter().map(|change| InterfaceChange {
            workflow: new.name.clone(),
            was: before.version.clone(),
            version: new.version.clone(),
            change,
        }));
    }
    changes
}

/// Refuses what nobody has allowed. A dry run shows it instead.
fn check_changes(changes: &[InterfaceChange], options: UploadOptions) -> Result<(), ServiceError> {
    if options.dry_run {
        return Ok(());
    }
    let has = |verdict| changes.iter().any(|it| it.change.verdict == verdict);
    if has(Verdict::Narrowing) && !options.allow_narrowing {
        return Err(ServiceError::Narrows(changes.to_vec()));
    }
    if has(Verdict::Grant) && !options.allow_grants {
        return Err(ServiceError::AsksForMore(changes.to_vec()));
    }
    Ok(())
}

fn view(module: &ModuleRecord, open: &BTreeMap<Digest, u64>) -> ModuleView {
    ModuleView {
        digest: module.digest,
        size: module.size,
        uploaded_at: module.uploaded_at,
        engine: module.engine,
        manifest: module.manifest.clone(),
        open_runs: open.get(&module.digest).copied().unwrap_or_default(),
    }
}
