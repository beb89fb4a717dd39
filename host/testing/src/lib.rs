//! Tests of workflows in virtual time, for their authors.
//!
//! A [`World`] runs the real component in the real sandbox under the real rules, in the process of
//! the test: no server, no disk, no waiting. Its clock stands still until the test moves it, so a
//! trial of 30 days takes milliseconds, and every execution of a test is the same. Tasks are executed
//! in the sandbox, too, unless the test puts a stub in their place or lets attempts fail.
//!
//! ```no_run
//! use everstep_testing::{World, days};
//! use serde_json::{Value, json};
//!
//! let mut world = World::of_crate(env!("CARGO_MANIFEST_DIR"));
//! world.stub("cancel-trial", |_: Value| Ok(()));
//! let run = world.start("trial", json!({ "user": "u1" }));
//! world.advance(days(15));
//! assert_eq!(world.output(run), json!({ "subscribed": false }));
//! ```
//!
//! The same test with [`World::crash_everywhere`] shows that the result does not depend on where
//! hosts die; [`World::replay_all`] shows that every journal replays.
//!
//! Everything here panics with a sentence that says what to do: a test that cannot go on must fail.

mod control;
mod crashes;
mod drive;
mod guest;
mod messages;
mod modules;
mod read;
mod replay;
mod store;
mod tasks;
mod world;

pub use crashes::survives_crashes;
pub use everstep_core::api::StartBody;
pub use everstep_core::{
    Entry, Failure, JournalEvent, LogLine, Payload, RetryPolicy, RunId, RunState, StateKind,
    Timestamp,
};
pub use guest::build;
pub use world::World;

use std::time::Duration;

/// So many milliseconds.
#[must_use]
pub fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// So many seconds.
#[must_use]
pub fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// So many minutes.
#[must_use]
pub fn minutes(minutes: u64) -> Duration {
    secs(minutes.saturating_mul(60))
}

/// So many hours.
#[must_use]
pub fn hours(hours: u64) -> Duration {
    minutes(hours.saturating_mul(60))
}

/// So many days of 24 hours.
#[must_use]
pub fn days(days: u64) -> Duration {
    hours(days.saturating_mul(24))
}
