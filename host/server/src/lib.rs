//! The Everstep server: HTTP API, dispatch, timers, leases and the host loop.
//!
//! [`Server`] puts the parts together. A request goes from `api` through `service` to the state
//! machine in `everstep-core`, and its commit through `committer` to the store. Hosts (`host`) get
//! work through [`link::HostLink`] and nothing else, so that they can live in another process.

pub mod api;
mod assembly;
pub mod clock;
pub mod committer;
pub mod dispatch;
mod export;
mod finishing;
mod hearing;
pub mod host;
pub mod hub;
pub mod link;
mod pages;
pub mod remote;
pub mod replay;
mod retention;
pub mod schedules;
mod server;
pub mod service;
mod shards;
mod standalone;
pub mod timers;

pub use assembly::Assembly;
pub use dispatch::Timing;
pub use everstep_engine::Secrets;
pub use host::HostOptions;
pub use retention::RetentionOptions;
pub use server::{Server, ServerError, ServerOptions};
pub use service::{SelfCheckOptions, ServiceOptions};
pub use standalone::{Standalone, StandaloneOptions};
