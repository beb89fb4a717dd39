//! `everstep runs …`: everything about runs, one file per verb. `timeline.rs` and `status.rs` turn
//! journals and states into text.

mod ask;
mod bulk;
mod cancel;
mod causes;
mod diff;
mod export;
mod filters;
mod fork;
mod history;
mod journal;
mod list;
mod logs;
mod replay;
mod retry;
mod show;
mod status;
mod timeline;
mod travel;
mod upgrade;
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
    /// End a run at once, without telling its workflow
    #[command(after_help = "Examples:
  everstep runs terminate 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --reason 'it loops'")]
    Terminate(ask::WithReason),
    /// Let a run stand still: what is under way ends, nothing new begins
    #[command(after_help = "Examples:
  everstep runs pause 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --reason 'the provider is down'")]
    Pause(ask::WithReason),
    /// Let a paused run go on
    #[command(after_help = "Examples:
  everstep runs resume 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f")]
    Resume(ask::Args),
    /// End the sleep of a run early
    #[command(after_help = "Examples:
  everstep runs wake 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f")]
    Wake(ask::Args),
    /// Let a stuck run go on once its cause is mended, or try a failed one again
    Retry(retry::Args),
    /// Move open runs to another module, after all have been replayed on it
    Upgrade(upgrade::Args),
    /// Execute a run's journal again on this machine and compare every step
    Replay(replay::Args),
    /// Step back and forth through the history of a run
    Travel(travel::Args),
    /// Start a run that begins as another one did, with edited results
    Fork(fork::Args),
    /// Compare two runs: how far they are the same, and the first difference
    Diff(diff::Args),
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
        Verb::Terminate(args) => ask::terminate(context, args).await,
        Verb::Pause(args) => ask::pause(context, args).await,
        Verb::Resume(args) => ask::resume(context, args).await,
        Verb::Wake(args) => ask::wake(context, args).await,
        Verb::Retry(args) => retry::run(context, args).await,
        Verb::Upgrade(args) => upgrade::run(context, args).await,
        Verb::Replay(args) => replay::run(context, args).await,
        Verb::Travel(args) => travel::run(context, args).await,
        Verb::Fork(args) => fork::run(context, args).await,
        Verb::Diff(args) => diff::run(context, args).await,
    }
}
