//! The pure rules of Everstep.
//!
//! This crate decides everything and does nothing: it has no clock, no random numbers, no I/O and
//! no async. The server and the host ask it what a fact means for a run and get back a [`Commit`]
//! that names everything which must become true at once. Keeping it pure is what lets tests drive
//! it with tables, seeds and injected crashes.
//!
//! What the core owns: the journal's events, the run state machine, retry arithmetic, matching of
//! replayed commands. What its callers own: the time, durability, running guests and tasks.

pub mod activation;
pub mod api;
pub mod commit;
pub mod compare;
pub mod compat;
pub mod difference;
pub mod event;
pub mod failure;
pub mod ids;
pub mod key_template;
pub mod limits;
pub mod log;
pub mod manifest;
pub mod message;
pub mod payload;
pub mod publication;
pub mod record;
pub mod refusal;
pub mod replay;
pub mod retry;
pub mod run;
pub mod schedule;
pub mod start;
pub mod time;
pub mod transitions;

pub use activation::{
    Activation, Command, Completion, Deferred, Delivery, OpResult, Outcome, TimerDue,
};
pub use commit::Commit;
pub use event::{Entry, JournalEvent};
pub use failure::Failure;
pub use ids::{Digest, InputHash, OpId, RunId, Token};
pub use key_template::{InvalidKey, KeyTemplate};
pub use limits::Limits;
pub use log::{LogLevel, LogLine, LogSource};
pub use manifest::Manifest;
pub use message::{
    ChildRequest, Message, MessageId, MessageKind, OnParentEnd, Parent, Reply, UserEvent,
};
pub use payload::Payload;
pub use publication::{Publication, PublicationError, PublishedVersion, Rollback};
pub use record::{
    ForkedFrom, ModuleRef, Origin, QueueReason, Record, RunState, Seen, StateKind, StuckCause,
};
pub use refusal::Refusal;
pub use replay::{Divergence, Step, Steps};
pub use retry::{RetryPolicy, TaskOptions};
pub use run::{
    Draft, Edit, EditTarget, External, Finished, ForkRefusal, ForkRequest, Forked, Input, Next,
    Run, RunImage, TaskCall, external,
};
pub use schedule::{Schedule, ScheduleId};
pub use start::{StartOptions, StartRequest};
pub use time::Timestamp;
