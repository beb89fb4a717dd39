//! What must be true when everything has come to rest: every run that was acknowledged has ended as its
//! program says, its journal gives its record, and the program asks for the same again.

use crate::clients::{Known, Wanted};
use crate::script::{FAILURE, expected};
use crate::world::World;
use everstep_core::{Record, Run, RunState};
use everstep_engine::Module;
use everstep_server::replay::verify;
use everstep_store::{RunQuery, Store};
use std::sync::Arc;
use std::time::Duration;

/// How long everything may take to come to rest when nothing goes wrong any more.
const PATIENCE: Duration = Duration::from_secs(1_800);

async fn runs(world: &World) -> Vec<Record> {
    let query = RunQuery { limit: 1_000, ..RunQuery::default() };
    world.memory.runs(&query).await.unwrap().runs
}

/// Waits until nothing is to be done any more.
pub(crate) async fn rest(world: &World) {
    let rested = async {
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if runs(world).await.iter().all(|run| run.is_terminal() && !run.ready) {
                return;
            }
        }
    };
    if tokio::time::timeout(PATIENCE, rested).await.is_ok() {
        return;
    }
    for record in runs(world).await.iter().filter(|run| !run.is_terminal() || run.ready) {
        let (run, state, outbox) = (record.id(), record.state.kind().as_str(), record.outbox);
        let minutes = PATIENCE.as_secs() / 60;
        let what =
            format!("{run}: {state}, {outbox} messages, and does not end in {minutes} minutes");
        world.witness.violated(what);
    }
}

/// Looks at everything.
pub(crate) async fn judge(world: &World, module: &Arc<Module>, known: &[Known]) {
    for Known { run, wanted, received } in known {
        match world.memory.record(*run).await.unwrap() {
            Some(record) => check_outcome(world, &record, wanted),
            None => world.witness.violated(format!("{run}: acknowledged, and lost")),
        }
        for reference in received.iter().filter(|it| !world.witness.has_received(*run, it)) {
            let what = format!("{run}: event {reference} was acknowledged, and is not there");
            world.witness.violated(what);
        }
    }
    for record in runs(world).await {
        check_journal(world, module, &record).await;
    }
    if world.plan.is_calm() && world.defect.is_none() && world.witness.repeated() > 0 {
        let repeated = world.witness.repeated();
        let what = format!("nothing went wrong, and {repeated} attempts were made twice");
        world.witness.violated(what);
    }
}

fn check_outcome(world: &World, record: &Record, wanted: &Wanted) {
    let is_right = match &record.state {
        RunState::Completed { output } => {
            let said: serde_json::Value = output.read().unwrap();
            !wanted.fails && said == expected(&wanted.program)
        }
        // A run that is to stop is not tried again.
        RunState::Failed { failure } => {
            (wanted.fails || wanted.cancelled) && failure.code == FAILURE
        }
        RunState::Cancelled { .. } => wanted.cancelled,
        // That it has not ended is said already.
        _ => true,
    };
    if !is_right {
        let (run, state) = (record.id(), &record.state);
        let expected = if wanted.fails { FAILURE.into() } else { expected(&wanted.program) };
        world.witness.violated(format!("{run}: {state:?}, not {expected}"));
    }
}

async fn check_journal(world: &World, module: &Arc<Module>, record: &Record) {
    let run = record.id();
    let journal = world.memory.journal(run, record.first, usize::MAX).await.unwrap();
    match Run::fold(&journal, record.first) {
        Ok(mut folded) => {
            if let Err(refusal) = folded.adopt(record) {
                world.witness.violated(format!("{run}: record and journal differ: {refusal}"));
            }
            let mut told = folded.record().clone();
            // Says how much of the journal a fold is to remember, and is of the record alone.
            told.keeps_results = record.keeps_results;
            // What was decided from the record alone is corrected by the host that takes the run next.
            if record.is_terminal() && told != *record {
                let what = format!("{run}: the record is {record:?}, the journal says {told:?}");
                world.witness.violated(what);
            }
        }
        Err(refusal) => world.witness.violated(format!("{run}: the journal is damaged: {refusal}")),
    }
    if record.attempt > 0
        && let Err(error) = verify(module, &journal, record.first)
    {
        world.witness.violated(format!("{run}: {error}"));
    }
}
