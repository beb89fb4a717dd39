//! `everstep runs replay`: executes a run's journal again on this machine, without any effect, and
//! compares every step. Shows whether changed code still fits the run.

use crate::commands::inspect;
use crate::context::Context;
use crate::exit::{Ended, Exit, Failure};
use everstep_client::{EntryView, RunId, RunView};
use everstep_core::{Entry, JournalEvent};
use everstep_engine::{ActivationError, Module};
use everstep_server::replay::{ReplayError, Verified, verify};
use futures::TryStreamExt;
use futures::future::ready;
use std::path::PathBuf;
use std::sync::Arc;

/// Execute a run's journal again on this machine and compare every step.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is executed but workflow code, and nothing on the server changes. It exits with 5 at the \
first difference, which it shows field by field.

Examples:
  everstep runs replay 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  everstep runs replay 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --module \"$(everstep build)\"
  everstep runs replay 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --until 100")]
pub(crate) struct Args {
    /// The run's id
    run: RunId,
    /// Replay on this component; on the run's own when absent
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// Replay only so many journal entries, and to the end of the step that the last one is in
    #[arg(long, value_name = "N")]
    until: Option<u64>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let client = context.client()?;
    let run = client.run(args.run).await?;
    let module = match &args.module {
        Some(file) => {
            let module = inspect::load(&context.output, file).await?;
            has_workflow(&module, &run)?;
            module
        }
        None => {
            let _progress = context.output.spinner(format!("fetching module {}", run.digest));
            inspect::compile(client.module_content(run.digest).await?).await?
        }
    };
    let until = args.until.unwrap_or(u64::MAX);
    let progress = context.output.spinner(format!("replaying run {}", args.run));
    let entries = client
        .journal(args.run, 0)
        .try_take_while(|view| ready(Ok(view.seq < until || !begins_step(&view.entry.event))));
    let views: Vec<EntryView> = entries.try_collect().await?;
    let first = views.first().map_or(0, |view| view.seq);
    let entries = views.into_iter().map(|view| view.entry).collect();
    let verified = replay(Arc::clone(&module), entries, first).await?;
    drop(progress);
    let digest = module.digest();
    if context.output.is_json() {
        context.output.value(&serde_json::json!({
            "run": args.run,
            "module": digest,
            "entries": verified.entries,
            "activations": verified.activations,
            "attempt": verified.attempt,
        }))?;
        return Ok(Exit::Done);
    }
    let Verified { entries, activations, attempt } = verified;
    context.output.line(&format!(
        "the replay agrees: {entries} journal entries, {activations} activations of attempt {attempt}"
    ))?;
    if digest != run.digest {
        context.output.note(&format!("on module {digest}; the run itself executes {}", run.digest));
    }
    Ok(Exit::Done)
}

/// Whether the guest is activated here. To cut a journal anywhere else would leave commands out that
/// the last activation asks for.
fn begins_step(event: &JournalEvent) -> bool {
    matches!(
        event,
        JournalEvent::AttemptStarted { .. }
            | JournalEvent::TaskCompleted { .. }
            | JournalEvent::TaskFailed { .. }
            | JournalEvent::TimerFired { .. }
            | JournalEvent::EventTimedOut { .. }
            | JournalEvent::OperationEnded { .. }
            | JournalEvent::Delivered { .. }
    )
}

/// A module without the workflow would only show that its first step is another one.
fn has_workflow(module: &Module, run: &RunView) -> Result<(), Failure> {
    let manifest = module.manifest();
    if manifest.workflow(&run.workflow, &run.version).is_some() {
        return Ok(());
    }
    let known = manifest.workflows.iter().map(|w| format!("{} {}", w.name, w.version));
    let known = known.collect::<Vec<_>>().join(", ");
    let detail =
        format!("the module has no workflow {} {}; it has {known}", run.workflow, run.version);
    Err(Failure::new("run.unknown_workflow", detail)
        .fix("replay on a module that has the run's workflow in the run's version"))
}

async fn replay(module: Arc<Module>, entries: Vec<Entry>, first: u64) -> Result<Verified, Failure> {
    let replayed = tokio::task::spawn_blocking(move || verify(&module, &entries, first)).await;
    let replayed = replayed.map_err(|e| Failure::new("engine.broken", e.to_string()))?;
    replayed.map_err(|error| {
        let detail = error.to_string();
        match error {
            ReplayError::Divergence(_) => Failure::new("divergence", detail)
                .fix("make the code ask for the same again, or give the change a new version")
                .exit(Exit::Divergence),
            ReplayError::Guest { error: ActivationError::Stuck(cause), .. } => {
                Failure::new(cause.code, detail).fix(cause.remedy)
            }
            ReplayError::Guest { .. } => Failure::new("engine.broken", detail),
            ReplayError::Corrupt(refusal) => Failure::new(refusal.code(), detail),
        }
    })
}
