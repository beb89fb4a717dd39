//! `everstep runs travel`: back and forth through the history of a run, step by step. Somewhere else
//! than on a terminal all the steps are printed.

mod drawing;
mod journey;
mod terminal;

use super::history::{History, RunRef};
use super::replay;
use crate::context::Context;
use crate::exit::{Ended, Exit, Failure};
use drawing::{Screen, details};
use everstep_core::{Entry, Refusal, Run, Step, Steps};
use everstep_engine::{Module, RunContext, WorkflowInstance};
use everstep_server::replay::ReplayError;
use journey::{Heard, Journey};
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;

/// Step back and forth through the history of a run.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Each step shows what the workflow was told, what it asked for in answer and from where in its code, \
what it logged and published, and what was pending. Nothing is executed but workflow code, and nothing \
on the server changes. On a terminal: left and right (or h and l) step, Home and End, up and down \
scroll, g goes to a journal position, / searches, n searches on, q leaves. Elsewhere, and with --json, \
all steps are printed.

Examples:
  everstep runs travel 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  everstep runs travel run.jsonl --module target/wasm32-wasip2/debug/hello.wasm
  everstep runs travel 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --json | jq -r .what")]
pub(crate) struct Args {
    /// The run's id, or a file of `everstep runs export` (FILE:ID when it has several runs)
    #[arg(value_name = "RUN")]
    run: RunRef,
    /// Replay on this component; on the run's own when absent
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let history = History::load(context, &args.run).await?;
    let module = history.module(context, args.module.as_deref()).await?;
    let progress = context.output.spinner(format!("replaying run {}", history.run.id));
    let damage = history.damage.as_ref().map(super::history::Damage::failure);
    let made = tokio::task::spawn_blocking(move || {
        let (heard, ended) = listen(&module, &history.entries, history.first);
        let ending = ended.as_ref().map(ToString::to_string);
        let journey = Journey::new(&history.entries, history.first, heard, ending);
        journey.map(|journey| (journey, ended))
    });
    let made = made.await.map_err(|e| Failure::new("engine.broken", e.to_string()))?;
    let (journey, ended) = made.map_err(|e: Refusal| Failure::new(e.code(), e.to_string()))?;
    drop(progress);
    if context.output.is_json() {
        for stop in &journey.stops {
            context.output.row(stop)?;
        }
    } else if std::io::stdout().is_terminal() && std::io::stdin().is_terminal() {
        terminal::show(Screen::new(journey))?;
    } else {
        for stop in &journey.stops {
            context.output.line(&format!("{}\n", details(stop).join("\n")))?;
        }
    }
    match (damage, ended) {
        (Some(damage), _) => Err(damage),
        (None, Some(error)) => Err(replay::failed(error)),
        (None, None) => Ok(Exit::Done),
    }
}

/// Replays all attempts and notes what is to be heard in each activation, by its position, up to where
/// the replay ends early.
fn listen(
    module: &Arc<Module>,
    entries: &[Entry],
    first: u64,
) -> (BTreeMap<u64, Heard>, Option<ReplayError>) {
    let mut heard = BTreeMap::new();
    let ended = replay_all(module, entries, first, &mut heard).err();
    (heard, ended)
}

fn replay_all(
    module: &Arc<Module>,
    entries: &[Entry],
    first: u64,
    heard: &mut BTreeMap<u64, Heard>,
) -> Result<(), ReplayError> {
    let run = Run::fold(entries, first)?;
    let mut instance: Option<(u32, WorkflowInstance)> = None;
    let mut replay = |step: &Step| {
        let guest = |error| ReplayError::Guest { seq: step.seq, error };
        let instance = match &mut instance {
            Some((attempt, instance)) if *attempt == step.attempt => instance,
            other => {
                let context = RunContext::of(&run.record().origin, first, step.attempt);
                let made = module.instantiate_traced(context).map_err(guest)?;
                &mut other.insert((step.attempt, made)).1
            }
        };
        let activation = instance.replay(step, run.input()).map_err(guest)?;
        let compared = step.check(&activation).map_err(ReplayError::Divergence);
        let traces = instance.take_traces();
        let (logs, published) = (activation.logs, activation.published);
        heard.insert(step.seq, Heard { logs, published, traces });
        compared
    };
    let mut steps = Steps::from(first);
    for entry in entries {
        if let Some(step) = steps.push(entry)? {
            replay(&step)?;
        }
    }
    steps.take_last().map_or(Ok(()), |step| replay(&step))
}
