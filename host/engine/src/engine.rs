//! The engine: one wasmtime engine under the deterministic configuration, and the way from bytes
//! to a module that is ready to run: memory, disk, compiler, in this order. One per process.

use crate::cache::DiskCache;
use crate::config::{EngineOptions, TICK, wasmtime_config};
use crate::error::{EngineError, LoadError, ModuleError};
use crate::module::{Code, Facts, Linked, Module};
use crate::probe;
use crate::resident::Resident;
use crate::scripted::Script;
use crate::validate;
use everstep_core::{Digest, Manifest};
use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use wasmtime::component::Component;

/// Loads of different modules wait for each other only when they fall on the same of these.
const TURNS: usize = 16;

/// What modules and instances need of the engine.
pub(crate) struct Shared {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) options: EngineOptions,
}

/// The sandbox. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    disk: Option<DiskCache>,
    resident: Mutex<Resident>,
    /// Held while a module is read or compiled, so that it happens once.
    turns: [Mutex<()>; TURNS],
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

impl Engine {
    /// Sets up the sandbox and the cache directory, and starts the thread that advances the epoch.
    ///
    /// # Errors
    /// When this machine cannot run the sandbox, or the cache directory cannot be made.
    pub fn new(options: EngineOptions) -> Result<Self, EngineError> {
        let sandbox = |error: wasmtime::Error| EngineError::Sandbox(format!("{error:#}"));
        let wasmtime = wasmtime::Engine::new(&wasmtime_config(&options)).map_err(sandbox)?;
        let disk = match &options.cache_dir {
            Some(dir) => Some(DiskCache::open(dir, &wasmtime, options.cache_bytes_max)?),
            None => None,
        };
        start_epoch(&wasmtime).map_err(|error| EngineError::Sandbox(error.to_string()))?;
        let resident = Mutex::new(Resident::new(options.loaded_bytes_max));
        let shared = Arc::new(Shared { wasmtime, options });
        Ok(Self(Arc::new(Inner { shared, disk, resident, turns: Default::default() })))
    }

    /// The options that it was set up with.
    #[must_use]
    pub fn options(&self) -> &EngineOptions {
        &self.0.shared.options
    }

    /// Makes uploaded bytes ready to run: validates and compiles them and asks the module for its
    /// manifest. Takes about a second of CPU time per megabyte unless the module is cached.
    ///
    /// # Errors
    /// When the module is not acceptable.
    pub fn compile(&self, bytes: &[u8]) -> Result<Arc<Module>, ModuleError> {
        let limit = self.0.shared.options.module_bytes_max;
        if bytes.len() > limit {
            return Err(ModuleError::TooLarge { size: bytes.len(), limit });
        }
        let digest = Digest::of(bytes);
        let _turn = self.turn(&digest);
        match self.cached_now(&digest) {
            Some(module) => Ok(module),
            None => self.compile_now(digest, bytes),
        }
    }

    /// The module with this digest, if it is in memory or on disk.
    #[must_use]
    pub fn cached(&self, digest: &Digest) -> Option<Arc<Module>> {
        if let Some(module) = self.resident().get(digest) {
            return Some(module);
        }
        let _turn = self.turn(digest);
        self.cached_now(digest)
    }

    /// The module with this digest: from memory, from disk, or compiled from what `fetch` brings.
    ///
    /// # Errors
    /// When `fetch` fails, or brings something else, or the module is not acceptable.
    pub fn load<E>(
        &self,
        digest: &Digest,
        fetch: impl FnOnce() -> Result<Vec<u8>, E>,
    ) -> Result<Arc<Module>, LoadError<E>> {
        if let Some(module) = self.resident().get(digest) {
            return Ok(module);
        }
        let _turn = self.turn(digest);
        if let Some(module) = self.cached_now(digest) {
            return Ok(module);
        }
        let bytes = fetch().map_err(LoadError::Fetch)?;
        let found = Digest::of(&bytes);
        if found != *digest {
            return Err(LoadError::Damaged { found });
        }
        Ok(self.compile_now(*digest, &bytes)?)
    }

    /// Looks in memory and on disk. The caller has the turn.
    fn cached_now(&self, digest: &Digest) -> Option<Arc<Module>> {
        if let Some(module) = self.resident().get(digest) {
            return Some(module);
        }
        let disk = self.0.disk.as_ref()?;
        let (facts, component) = disk.get(digest, &self.0.shared.wasmtime)?;
        match Linked::new(&self.0.shared, &component, facts.unsound.is_none()) {
            Ok(linked) => Some(self.keep(*digest, facts, Code::Component(Box::new(linked)))),
            Err(error) => {
                tracing::warn!(%digest, %error, "a cached module does not link; compiling it anew");
                disk.remove(digest);
                None
            }
        }
    }

    /// Compiles. The caller has the turn.
    fn compile_now(&self, digest: Digest, bytes: &[u8]) -> Result<Arc<Module>, ModuleError> {
        let shared = &self.0.shared;
        validate::check_bytes(bytes, shared.options.module_bytes_max)?;
        let (code, unsound) = match probe::instrument(bytes, validate::validator()) {
            Ok(code) => (Cow::Owned(code), None),
            Err(reason) => (Cow::Borrowed(bytes), Some(reason.to_string())),
        };
        let component = Component::from_binary(&shared.wasmtime, &code)
            .map_err(|error| ModuleError::CompileFailed(format!("{error:#}")))?;
        let probed = unsound.is_none();
        let linked = Linked::new(shared, &component, probed)?;
        let manifest = Arc::new(linked.describe(shared)?);
        let imports = validate::imports(&shared.wasmtime, &component, probed);
        let facts = Facts { size: bytes.len(), imports, manifest, unsound };
        if let Some(disk) = &self.0.disk {
            disk.put(&digest, &facts, &component);
        }
        Ok(self.keep(digest, facts, Code::Component(Box::new(linked))))
    }

    /// Takes in a module that is a script of a simulation. It is in memory from now on, under this
    /// digest.
    pub fn install(
        &self,
        digest: Digest,
        manifest: Manifest,
        script: Arc<dyn Script>,
    ) -> Arc<Module> {
        let unsound = Some("it is a script".to_owned());
        let manifest = Arc::new(manifest);
        let facts = Facts { size: 0, imports: Vec::new(), manifest, unsound };
        self.keep(digest, facts, Code::Scripted(script))
    }

    fn keep(&self, digest: Digest, facts: Facts, code: Code) -> Arc<Module> {
        let module = Arc::new(Module::new(Arc::clone(&self.0.shared), digest, facts, code));
        self.resident().insert(&module);
        module
    }

    fn turn(&self, digest: &Digest) -> MutexGuard<'_, ()> {
        let index = usize::from(digest.as_bytes()[0]) % TURNS;
        self.0.turns[index].lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn resident(&self) -> MutexGuard<'_, Resident> {
        self.0.resident.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Starts the clock by which tasks yield and activations are interrupted. It ends with the engine.
fn start_epoch(engine: &wasmtime::Engine) -> std::io::Result<()> {
    let engine = engine.weak();
    std::thread::Builder::new().name("everstep-epoch".into()).spawn(move || {
        while let Some(engine) = engine.upgrade() {
            engine.increment_epoch();
            drop(engine);
            std::thread::sleep(TICK);
        }
    })?;
    Ok(())
}
