//! What can go wrong, by whose fault it is: the module's ([`ModuleError`]), the guest's
//! ([`ActivationError::Stuck`], a task's failure), or the host's (everything else, which is never
//! journaled). The server turns these into refusals, stuck runs and repeated activations.

use everstep_core::StuckCause;

/// The engine cannot start.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// wasmtime refuses the configuration on this machine.
    #[error("the sandbox cannot be set up on this machine: {0}")]
    Sandbox(String),
    /// The cache directory is not usable.
    #[error("the module cache directory {path} is not usable: {cause}")]
    Cache {
        /// Where it should be.
        path: String,
        /// What the system said.
        cause: std::io::Error,
    },
}

/// A module that is refused. Each kind has a stable code and says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModuleError {
    /// The bytes are something else.
    #[error("the file is not WebAssembly")]
    NotWasm,
    /// A core module instead of a component.
    #[error("the file is a core WebAssembly module, not a component")]
    CoreModule,
    /// Over the size limit.
    #[error("the module has {size} bytes; the limit is {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// It does not validate, or uses a feature that is not allowed.
    #[error("the module is not valid: {0}")]
    Invalid(String),
    /// It needs something that no host provides.
    #[error("the module imports what this host does not have: {}", .0.join(", "))]
    UnknownImport(Vec<String>),
    /// It lacks a part of the contract.
    #[error("the module does not export {}", .0.join(", "))]
    MissingExport(Vec<String>),
    /// It validates but does not compile.
    #[error("the module does not compile: {0}")]
    CompileFailed(String),
    /// `describe` did not return.
    #[error("the module trapped in `definitions.describe`: {0}")]
    DescribeTrapped(String),
    /// `describe` took too long.
    #[error("`definitions.describe` did not end within its limit")]
    DescribeTimeout,
    /// `describe` returned something that is not a manifest.
    #[error("{0}")]
    ManifestInvalid(String),
    /// The host has no room to look at it now.
    #[error("the module could not be examined: {0}")]
    Busy(String),
}

impl ModuleError {
    /// A stable dotted word.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotWasm => "module.not_wasm",
            Self::CoreModule => "module.core_module",
            Self::TooLarge { .. } => "module.too_large",
            Self::Invalid(_) => "module.invalid",
            Self::UnknownImport(_) => "module.unknown_import",
            Self::MissingExport(_) => "module.missing_export",
            Self::CompileFailed(_) => "module.compile_failed",
            Self::DescribeTrapped(_) => "module.describe_trapped",
            Self::DescribeTimeout => "module.describe_timeout",
            Self::ManifestInvalid(_) => "module.manifest_invalid",
            Self::Busy(_) => "module.busy",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::NotWasm => "Upload the .wasm file that `everstep build` prints.",
            Self::CoreModule => {
                "Build for a component target: `cargo build --target wasm32-wasip2`, or \
                 `everstep build`."
            }
            Self::TooLarge { .. } => {
                "Build with optimisations (`--release`) and strip debug information, or raise the \
                 server's module limit."
            }
            Self::Invalid(_) => {
                "Build without threads, exceptions, GC, 64-bit memory and component-model async; \
                 `cargo build --target wasm32-wasip2` does so by default."
            }
            Self::UnknownImport(_) => {
                "Import only `everstep:workflow` in the version that this server has, and WASI \
                 0.2; remove the dependency that needs the other import."
            }
            Self::MissingExport(_) => {
                "Declare workflows and tasks with `everstep_sdk::module!(…)`, which exports the \
                 whole contract."
            }
            Self::CompileFailed(_) => "Rebuild with another compiler version and report the case.",
            Self::DescribeTrapped(_) => {
                "`describe` must not panic and has no access to anything but the log; the message \
                 shows where it stopped."
            }
            Self::DescribeTimeout => {
                "`describe` must only return the manifest; remove loops and heavy work from it."
            }
            Self::ManifestInvalid(_) => "Correct the definition that the message names.",
            Self::Busy(_) => "Upload it again in a moment.",
        }
    }
}

/// A module could not be had from the cache, the store or the compiler.
#[derive(Debug, thiserror::Error)]
pub enum LoadError<E> {
    /// The bytes could not be fetched.
    #[error("the module could not be fetched: {0}")]
    Fetch(E),
    /// What was fetched has another digest: it is damaged.
    #[error("the stored module is damaged: its digest is {found}")]
    Damaged {
        /// The digest of what came.
        found: everstep_core::Digest,
    },
    /// The bytes are not acceptable (any more).
    #[error(transparent)]
    Module(#[from] ModuleError),
}

/// Why an activation has no result. The instance must be thrown away in every case.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ActivationError {
    /// The guest did it and would do it again in a replay: the run is stuck.
    #[error("{}", .0.message)]
    Stuck(StuckCause),
    /// It took too long in real time. The host's doing: drop the activation and repeat it.
    #[error("the activation did not end within its real-time limit")]
    Interrupted,
    /// All slots for instances are taken: repeat it when one is free.
    #[error("all slots for guest instances are taken")]
    Capacity,
    /// The host is out of memory, or cannot give a guest as much as its run was promised.
    #[error("this host cannot give the guest its memory: {0}")]
    OutOfMemory(String),
    /// The instance was used after an error.
    #[error("the instance failed before and cannot be used again")]
    Discarded,
}

/// Why a task attempt has no outcome. Nothing of it is journaled; it is to be repeated.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TaskError {
    /// All slots for tasks are taken.
    #[error("all slots for tasks are taken")]
    Capacity,
    /// The host is out of memory.
    #[error("this host cannot give the task its memory: {0}")]
    OutOfMemory(String),
}

/// Why there is no snapshot, or why one is not used. The run is replayed instead.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The guest has something that a snapshot would forget.
    #[error("{0}")]
    Unsound(String),
    /// The bytes are not what was written.
    #[error("the snapshot is damaged: {0}")]
    Damaged(String),
    /// The snapshot was taken of something else.
    #[error("the snapshot is of {0}")]
    Foreign(&'static str),
    /// There is no room for the guest, or it does not answer.
    #[error(transparent)]
    Guest(#[from] ActivationError),
}
