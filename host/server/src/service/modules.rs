//! Modules: upload, list, show. An upload is checked completely (by the engine, which compiles it
//! and asks it to describe itself, and by its schemas) before anything is stored.

use super::{Service, ServiceError, schema};
use everstep_core::api::{ModuleView, Uploaded};
use everstep_core::{Digest, Manifest};
use everstep_store::{ModuleRecord, NewModule, Registered, StoreError};
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

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

    /// Accepts a module. The same bytes again change nothing.
    ///
    /// # Errors
    /// When the module is too large, not a module that this server can run, or has a version that
    /// another module has; nothing is stored then.
    pub async fn upload(
        &self,
        bytes: Vec<u8>,
        _permit: UploadPermit,
    ) -> Result<Uploaded, ServiceError> {
        let most = self.options.module_bytes_max;
        if bytes.len() as u64 > most {
            return Err(ServiceError::ModuleTooLarge { most });
        }
        let store = &self.parts.store;
        if let Some(module) = store.module(Digest::of(&bytes)).await? {
            self.registry.refresh(&**store).await?;
            return Ok(Uploaded { created: false, module: module_view(&module) });
        }
        let module = self.check(bytes).await?;
        let registered = self.keep(module).await?;
        let module = module_view(&registered.module);
        tracing::info!(digest = %module.digest, size = module.size, "module uploaded");
        Ok(Uploaded { created: registered.created, module })
    }

    /// Stores a module and makes it known to starts, even when the client hangs up meanwhile.
    async fn keep(&self, module: NewModule) -> Result<Registered, ServiceError> {
        let (store, registry) = (Arc::clone(&self.parts.store), Arc::clone(&self.registry));
        let keeping = tokio::spawn(async move {
            let registered = match store.put_module(module).await {
                Err(StoreError::VersionTaken { workflow, version, digest }) => {
                    return Err(ServiceError::VersionTaken { workflow, version, digest });
                }
                other => other?,
            };
            registry.refresh(&*store).await?;
            Ok(registered)
        });
        keeping.await.map_err(|e| ServiceError::Internal(format!("keeping a module: {e}")))?
    }

    /// Compiles the module and lets it describe itself, on a thread that may take its time.
    async fn check(&self, bytes: Vec<u8>) -> Result<NewModule, ServiceError> {
        let permit = Arc::clone(&self.compiling).acquire_owned().await;
        let permit = permit.map_err(|e| ServiceError::Internal(e.to_string()))?;
        let engine = Arc::clone(&self.parts.engine);
        let checking = tokio::task::spawn_blocking(move || {
            // The thread goes on when the client hangs up, so it is what holds the place.
            let _permit = permit;
            let module = engine.compile(&bytes)?;
            let manifest = Manifest::clone(module.manifest());
            schema::check_manifest(&manifest)?;
            let uploaded_at = crate::clock::now();
            Ok(NewModule { bytes, uploaded_at, engine: everstep_engine::CONFIG_VERSION, manifest })
        });
        checking.await.map_err(|e| ServiceError::Internal(format!("checking a module: {e}")))?
    }

    /// All modules, in the order of their upload.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn modules(&self) -> Result<Vec<ModuleView>, ServiceError> {
        Ok(self.parts.store.modules().await?.iter().map(module_view).collect())
    }

    /// A module.
    ///
    /// # Errors
    /// When there is no such module or the store cannot be read.
    pub async fn module(&self, digest: Digest) -> Result<ModuleView, ServiceError> {
        let module = self.parts.store.module(digest).await?;
        module.as_ref().map(module_view).ok_or(ServiceError::ModuleNotFound(digest))
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

fn module_view(module: &ModuleRecord) -> ModuleView {
    ModuleView {
        digest: module.digest,
        size: module.size,
        uploaded_at: module.uploaded_at,
        engine: module.engine,
        manifest: module.manifest.clone(),
    }
}
