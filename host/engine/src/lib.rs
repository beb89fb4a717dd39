//! The wasmtime sandbox of Everstep: loads modules, runs activations and tasks.
//!
//! [`Engine`] turns uploaded bytes into a [`Module`] and keeps compiled ones at hand. A module
//! gives a [`WorkflowInstance`] per attempt of a run, which executes one activation at a time as a
//! plain synchronous call, deterministically; and it runs attempts of tasks, each in a fresh
//! instance with real clocks and the outbound HTTP that its grants allow.
//!
//! The host drives it; it knows neither stores nor leases. What a guest asks for comes back as data
//! ([`everstep_core::Activation`]) and means nothing until the core has judged it.

mod bindings;
mod budget;
mod cache;
mod component;
mod config;
mod control;
mod engine;
mod error;
mod fault;
mod grants;
mod image;
mod imports;
mod instance;
mod logs;
mod module;
mod probe;
mod random;
mod resident;
mod scripted;
mod snapshot;
mod state;
mod task;
mod traces;
mod validate;

pub use config::{CONFIG_VERSION, EngineOptions, Secrets};
pub use control::TaskControl;
pub use engine::Engine;
pub use error::{ActivationError, EngineError, LoadError, ModuleError, SnapshotError, TaskError};
pub use instance::WorkflowInstance;
pub use module::Module;
pub use scripted::{Script, ScriptedGuest};
pub use state::RunContext;
pub use task::{TaskOutcome, TaskRun};
