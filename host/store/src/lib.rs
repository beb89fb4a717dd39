//! Durable storage for Everstep: the [`Store`] trait and its backends.
//!
//! A store has no business rules. It makes a [`Commit`](everstep_core::Commit) true as a whole or
//! refuses it as a whole, and it answers only when the commit is durable; what a commit means is
//! decided in `everstep-core`. The server is the only caller. One contract suite (`contract`) runs
//! against every backend, so that they cannot drift apart.
//!
//! - [`Memory`]: for tests; forgets everything.
//! - [`Embedded`]: the default; a commit log in front of one SQLite file, all commits that wait at a
//!   moment share one fsync.
//! - [`Redis`]: a Redis or a Redis Cluster, for several servers.

mod admission;
mod alone;
mod codec;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod copy;
mod cursor;
mod embedded;
mod error;
mod memory;
mod module;
mod ownership;
mod query;
mod redis;
mod schedule;
mod shards;
mod store;

pub use self::redis::{PASSWORD_VARIABLE, Password, Redis, RedisOptions, StoreWarning};
pub use copy::{Copied, CopyError, compare, copy};
pub use embedded::{Embedded, EmbeddedOptions};
pub use error::StoreError;
pub use memory::Memory;
pub use module::{ModuleRecord, NewModule, PublicationChange};
pub use ownership::{Hint, Hints, MAX_MEMBER, Member, Owner, Ownership};
pub use query::{Due, Ended, MAX_PAGE, Ready, RunPage, RunQuery};
pub use schedule::SchedulePage;
pub use shards::Shards;
pub use store::{Store, StoreStats};
