//! `everstep runs …`: everything about runs, one file per verb. `timeline.rs` and `status.rs` turn
//! journals and states into text.

mod bulk;
mod cancel;
mod export;
mod filters;
mod journal;
mod list;
mod logs;
mod replay;
mod retry;
mod show;
mod status;
mod timeline;
pub(crate) mod wait;

use crate::context::Context;
use crate::exit::Ended;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  everstep runs list --workflow payment --state failed,stuck
  everstep runs show 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  everstep runs logs 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --follow")]
pub(crate) enum Verb {
    /// List runs, newest first
    List(list::Args),
    /// Show a run: its timeline, what it waits for, how it ended
    Show(show::Args),
    /// Wait until a run ends, or is in a state
    Wait(wait::Args),
    /// Print the journal of a run
    Journal(journal::Args),
    /// Print the log lines of a run
    Logs(logs::Args),
    /// Print whole runs as JSON lines
    Export(export::Args),
    /// Ask runs to stop; they may clean up first
    Cancel(cancel::Args),
    /// Let stuck runs go on, once their cause is mended
    Retry(retry::Args),
    /// Execute a run's journal again on this machine and compare every step
    Replay(replay::Args),
}

pub(crate) async fn run(context: &Context, verb: Verb) -> Ended {
    match verb {
        Verb::List(args) => list::run(context, args).await,
        Verb::Show(args) => show::run(context, args).await,
        Verb::Wait(args) => wait::run(context, args).await,
        Verb::Journal(args) => journal::run(context, args).await,
        Verb::Logs(args) => logs::run(context, args).await,
        Verb::Export(args) => export::run(context, args).await,
        Verb::Cancel(args) => cancel::run(context, args).await,
        Verb::Retry(args) => retry::run(context, args).await,
        Verb::Replay(args) => replay::run(context, args).await,
    }
}
