//! A typed async client for the Everstep HTTP API. The command line is built on it; so can any
//! Rust program be that starts runs and waits for them.
//!
//! Calls are tried once, except those that only wait ([`Client::wait`], [`Client::follow_logs`]):
//! they survive a restart of the server, because a run does, too.
//!
//! ```no_run
//! # async fn example() -> Result<(), everstep_client::ClientError> {
//! use everstep_client::{Client, StartBody, WaitOptions};
//!
//! let client = Client::new("http://127.0.0.1:9090")?;
//! let started = client.start(&StartBody::new("onboarding")).await?;
//! let waited = client.wait(started.id, &WaitOptions::default()).await?;
//! println!("{}: {:?}", waited.run.state.as_str(), waited.run.output);
//! # Ok(())
//! # }
//! ```

mod backoff;
mod bulk;
mod connection;
mod error;
mod export;
mod follow;
mod hosts;
mod modules;
mod runs;
mod schedules;
mod sse;
mod wait;
mod workflows;

pub use connection::{Client, Notice};
pub use error::ClientError;
pub use everstep_core::api::*;
pub use everstep_core::schedule;
pub use everstep_core::{Digest, Payload, RetryPolicy, RunId, StateKind, Timestamp};
pub use follow::LogEvent;
pub use runs::RunFilter;
pub use wait::WaitOptions;
