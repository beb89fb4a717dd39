//! Write durable workflows as ordinary async Rust.
//!
//! A *workflow* is an async fn. It may be stopped, moved to another machine and carried on at any
//! await, days later, because its host records every step. *Tasks* touch the outside world: each
//! one runs at least once, is retried by policy, and has its outcome recorded exactly once.
//!
//! ```
//! use everstep_sdk::prelude::*;
//!
//! #[payload]
//! struct Signup {
//!     user_id: String,
//!     email: String,
//! }
//!
//! #[payload]
//! struct Onboarded {
//!     success: bool,
//! }
//!
//! /// Asks the mail provider to send a message.
//! #[task(retry = exponential(max_attempts = 5, initial = secs(1)), hosts = ["mail.example.com"])]
//! async fn send_email(to: String) -> TaskResult<()> {
//!     everstep_sdk::http::post("https://mail.example.com/send").json(&to).send()?.success()?;
//!     Ok(())
//! }
//!
//! #[workflow(name = "user-onboarding", version = "1.0")]
//! async fn onboarding(run: Run, input: Signup) -> WorkflowResult<Onboarded> {
//!     run.logger().info("starting", fields!["user" => input.user_id]);
//!     send_email.start(&run, input.email).await?;
//!     run.sleep(days(1)).await;
//!     Ok(Onboarded { success: true })
//! }
//!
//! everstep_sdk::module!(workflows: [onboarding], tasks: [send_email]);
//! # fn main() {}
//! ```
//!
//! With `crate-type = ["cdylib"]`, `cargo build --release --target wasm32-wasip2` makes a component
//! that `everstep upload` takes.
//!
//! # What a workflow may do
//! - Start tasks ([`Task::start`]), sleep ([`Run::sleep`]), log ([`Run::logger`]). These are
//!   registered when they are called; the future that they return waits for the end, and dropping
//!   it gives the operation up.
//! - Wait for events ([`Run::event`]), start other workflows as children
//!   ([`Workflow::start_child`]), send events to other runs ([`Run::send`]), show how far it is
//!   ([`Run::publish`]), undo what it did ([`saga()`]), go on for ever ([`Run::continue_as_new`]).
//! - Combine such futures with `join!`, `try_join!`, `select!`, [`futures::future::join_all`],
//!   [`futures::stream::FuturesUnordered`] and everything else in [`futures`]. The `select!` of the
//!   [`prelude`] polls its branches in the order in which they are written.
//! - Use the standard library. Inside a workflow `SystemTime::now`, random numbers (also those that
//!   seed `HashMap`) and the environment are the host's, the same in every replay, and what is
//!   printed becomes log lines. What cannot be replayed is refused: files, sockets, threads,
//!   `std::thread::sleep` (use [`Run::sleep`]) and [`http`] (use a task).
//!
//! A workflow that panics does not fail: its run is stuck, untouched, until the code is mended.
//! Report what is expected to go wrong as [`WorkflowError`].
//!
//! # Tests
//! The crate builds for the machine that you work on as well; `send_email.call(input).await` calls
//! a task's function directly.

// The macros name this crate by its public name, also where it uses them itself.
extern crate self as everstep_sdk;

#[doc(hidden)]
pub mod bindings;
mod child;
mod event;
mod failure;
mod handle;
mod host;
pub mod http;
mod logger;
#[doc(hidden)]
pub mod manifest;
pub mod module;
mod payload;
pub mod prelude;
mod retry;
mod run;
mod runtime;
mod saga;
mod task;
pub mod time;
mod workflow;

pub use child::{ChildHandle, ChildOptions, ConfiguredChild, OnParentEnd};
pub use event::{Awaited, EventTarget, EventWait, Sending, TimedEventWait};
pub use everstep_sdk_macros::{payload, task, workflow};
pub use failure::{Failure, TaskError, TaskResult, WorkflowError, WorkflowResult};
pub use handle::{Sleep, TaskHandle};
pub use logger::{Fields, Logger};
pub use payload::Payload;
pub use retry::{Exponential, Fixed, RetryPolicy, TaskOptions};
pub use run::{Run, RunOptions};
pub use runtime::Cancelled;
pub use saga::{Saga, saga};
pub use task::{
    ConfiguredTask, InputOf, OutputOf, Rate, Task, TaskContext, TaskDefinition, TaskSettings,
};
pub use workflow::{ChildInput, ChildOutput, Workflow, WorkflowDefinition, WorkflowSettings};

pub use {futures, schemars, serde, serde_json};
