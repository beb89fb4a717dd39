//! `everstep runs replay`: executes a run's journal again on this machine, without any effect, and
//! compares every step. Shows whether changed code still fits the run, and what the run looked like
//! at any point of its history.

use super::history::{History, RunRef};
use super::status;
use crate::context::Context;
use crate::exit::{Ended, Exit, Failure};
use crate::text;
use everstep_client::{RunView, StateKind};
use everstep_core::api::OperationView;
use everstep_core::{Digest, Entry, OpId, Payload, Timestamp};
use everstep_engine::{ActivationError, Module};
use everstep_server::replay::{ReplayError, Verified, audit};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// How many pending operations are listed.
const MAX_PENDING: usize = 1_000;

/// Execute a run's journal again on this machine and compare every step.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is executed but workflow code, and nothing on the server changes. It exits with 5 at the \
first difference, which it shows field by field. An exported file together with --module needs no \
server.

Examples:
  everstep runs replay 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f
  everstep runs replay 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --module \"$(everstep build)\"
  everstep runs replay 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f --until 100
  everstep runs replay run.jsonl --module hello.wasm --json | jq -r .state_hash
  everstep runs replay run.jsonl --module hello.wasm --memory")]
pub(crate) struct Args {
    /// The run's id, or a file of `everstep runs export` (FILE:ID when it has several runs)
    #[arg(value_name = "RUN")]
    run: RunRef,
    /// Replay on this component; on the run's own when absent
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
    /// Stop in front of this journal position, or at the end of the step that it is in
    #[arg(long, value_name = "N")]
    until: Option<u64>,
    /// Also print a hash of the guest's memory as it is then
    #[arg(long)]
    memory: bool,
    /// Put the guest into a snapshot behind each activation and go on from that, as a check of snapshots
    #[arg(long)]
    through_snapshots: bool,
}

/// What is printed.
#[derive(Serialize)]
struct Report {
    run: everstep_client::RunId,
    module: Digest,
    entries: u64,
    activations: u64,
    attempt: u32,
    /// The position behind the last entry that was replayed.
    at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<u64>,
    state: StateKind,
    pending: Vec<Pending>,
    #[serde(skip_serializing_if = "Option::is_none")]
    published: Option<Payload>,
    state_hash: Digest,
    /// The hash of the guest's memory, when it was asked for and there is a guest.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Digest>,
    /// What was found as the record says; empty when only a part was replayed.
    confirmed: Vec<&'static str>,
    /// The rest of the run at that point.
    view: RunView,
    #[serde(skip_serializing_if = "Option::is_none")]
    damage: Option<super::history::Damage>,
}

/// An operation that waits for its end.
#[derive(Serialize)]
struct Pending {
    #[serde(flatten)]
    operation: OperationView,
    /// When the guest asked for it.
    since: Timestamp,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let mut history = History::load(context, &args.run).await?;
    let module = history.module(context, args.module.as_deref()).await?;
    if let Some(until) = args.until {
        history.cut(until);
        history.damage = history.damage.filter(|damage| damage.seq < until);
    }
    let progress = context.output.spinner(format!("replaying run {}", history.run.id));
    let (verified, memory) = replay(Arc::clone(&module), &history, args.through_snapshots).await?;
    drop(progress);
    let whole = history.end() == history.run.journal_length && history.damage.is_none();
    let confirmed = match whole {
        true => confirm(&history, &verified, module.digest())?,
        false => Vec::new(),
    };
    let mut report = report(&history, verified, module.digest(), args.until, confirmed);
    report.memory = memory.filter(|_| args.memory);
    if context.output.is_json() {
        context.output.value(&report)?;
    } else {
        print(context, &report, history.run.digest)?;
    }
    match history.damage {
        Some(damage) => Err(damage.failure()),
        None => Ok(Exit::Done),
    }
}

fn report(
    history: &History,
    verified: Verified,
    module: Digest,
    until: Option<u64>,
    confirmed: Vec<&'static str>,
) -> Report {
    let Verified { entries, activations, attempt, run, published } = verified;
    let since = registered(&history.entries);
    let pending = run.operations(MAX_PENDING).into_iter().map(|operation| Pending {
        since: since.get(&operation.op).copied().unwrap_or_default(),
        operation,
    });
    let mut record = run.record().clone();
    record.published.clone_from(&published);
    let text = serde_json::to_vec(&record).unwrap_or_default();
    let mut view = RunView::from(&record);
    view.input = Some(run.input().clone());
    Report {
        run: history.run.id,
        module,
        entries,
        activations,
        attempt,
        at: history.end(),
        until,
        state: view.state,
        pending: pending.collect(),
        published,
        state_hash: Digest::of(&text),
        memory: None,
        confirmed,
        view,
        damage: history.damage.clone(),
    }
}

/// When each operation was asked for.
fn registered(entries: &[Entry]) -> BTreeMap<OpId, Timestamp> {
    let registered = entries.iter().filter_map(|entry| Some((entry.event.registers()?, entry.at)));
    registered.collect()
}

/// Compares what the journal leads to with what the record says, as far as that tells.
fn confirm(
    history: &History,
    verified: &Verified,
    module: Digest,
) -> Result<Vec<&'static str>, Failure> {
    let (told, found) = (&history.run, RunView::from(verified.run.record()));
    let mut confirmed = vec!["journal_length"];
    let differs = |what: &str, journal: String, record: String| {
        let detail = format!(
            "the {what} that the journal leads to is another than the record's\n  \
            the journal leads to {journal}\n  the record says      {record}"
        );
        Err(Failure::new("replay.record", detail)
            .fix("the record, the journal or the module is not the run's; take another copy")
            .exit(Exit::Divergence))
    };
    // A record that is queued waits for a host to say where the run is; one that is stuck is where
    // a guest failed.
    let passing = [StateKind::Queued, StateKind::Running, StateKind::Stuck];
    if !passing.contains(&told.state) && !passing.contains(&found.state) {
        let ended = |view: &RunView| {
            let end = (view.output.clone(), view.failure.clone());
            serde_json::to_string(&end).unwrap_or_default()
        };
        if (told.state, told.attempt, ended(told)) != (found.state, found.attempt, ended(&found)) {
            let words = |view: &RunView| {
                let explained = status::explained(view, view.updated_at, 200);
                format!("{} {explained}, attempt {}", view.state.as_str(), view.attempt)
            };
            return differs("state", words(&found), words(told));
        }
        confirmed.push("state");
    }
    // Changed code may show something else, and a value may be older than the attempt.
    let known = verified.published.is_some() || (history.first == 0 && verified.attempt <= 1);
    if module == told.digest && known {
        if told.published != verified.published {
            let words = |value: &Option<Payload>| {
                value.as_ref().map_or("nothing".into(), |value| text::one_line(value.as_str(), 200))
            };
            return differs("published value", words(&verified.published), words(&told.published));
        }
        confirmed.push("published");
    }
    Ok(confirmed)
}

fn print(context: &Context, report: &Report, own: Digest) -> Result<(), Failure> {
    let (output, paint) = (&context.output, context.output.paint);
    let Report { entries, activations, attempt, view, .. } = report;
    output.line(&format!(
        "the replay agrees: {entries} journal entries, {activations} activations of attempt {attempt}"
    ))?;
    if report.until.is_some_and(|until| until < report.at) {
        output.note(&format!("position {} is where the step ends; steps are never cut", report.at));
    }
    let explained = status::explained(view, view.updated_at, 160);
    let state = status::painted(view.state, view.state.as_str(), paint);
    let mut rows = vec![
        ("state", format!("{state} {explained}").trim_end().to_owned()),
        ("as of", format!("{} (journal position {})", view.updated_at, report.at)),
        ("attempt", attempt.to_string()),
        ("pending", view.pending.to_string()),
    ];
    rows.extend(
        report.published.as_ref().map(|value| ("shows", text::one_line(value.as_str(), 160))),
    );
    if !report.confirmed.is_empty() {
        rows.push(("as recorded", report.confirmed.join(", ")));
    }
    rows.push(("state hash", report.state_hash.to_string()));
    rows.extend(report.memory.map(|memory| ("memory hash", memory.to_string())));
    let rows: Vec<_> =
        rows.into_iter().map(|(label, value)| vec![paint.faint(label), value]).collect();
    for line in text::table(&rows) {
        output.line(&line)?;
    }
    let pending: Vec<_> =
        report.pending.iter().map(|it| pending_row(it, view.updated_at)).collect();
    for line in text::table(&pending) {
        output.line(&format!("  {line}"))?;
    }
    if report.module != own {
        output.note(&format!("on module {}; the run itself executes {own}", report.module));
    }
    Ok(())
}

fn pending_row(pending: &Pending, now: Timestamp) -> Vec<String> {
    let OperationView { op, kind, name, attempt, due, .. } = &pending.operation;
    let mut notes = vec![format!("since {}", pending.since)];
    notes
        .extend(attempt.filter(|attempt| *attempt > 1).map(|attempt| format!("attempt {attempt}")));
    notes.extend(due.map(|due| format!("due {}", status::moment(due, now))));
    let label = text::one_line(format!("{kind} {name}").trim_end(), 60);
    vec![format!("#{op}"), label, notes.join(", ")]
}

async fn replay(
    module: Arc<Module>,
    history: &History,
    through_snapshots: bool,
) -> Result<(Verified, Option<Digest>), Failure> {
    let (entries, first) = (history.entries.clone(), history.first);
    let replay = move || audit(&module, &entries, first, through_snapshots);
    let replayed = tokio::task::spawn_blocking(replay).await;
    let replayed = replayed.map_err(|e| Failure::new("engine.broken", e.to_string()))?;
    replayed.map_err(failed)
}

/// What ended a replay early, with what to do.
pub(super) fn failed(error: ReplayError) -> Failure {
    let detail = error.to_string();
    match error {
        ReplayError::Divergence(_) => Failure::new("divergence", detail)
            .fix("make the code ask for the same again, or give the change a new version")
            .exit(Exit::Divergence),
        ReplayError::Guest { error: ActivationError::Stuck(cause), .. } => {
            Failure::new(cause.code, detail).fix(cause.remedy)
        }
        ReplayError::Guest { .. } => Failure::new("engine.broken", detail),
        ReplayError::Snapshot { .. } => Failure::new("snapshot.none", detail).fix(
            "such a run is brought back by a replay; `everstep inspect` says what its module has",
        ),
        ReplayError::Corrupt(refusal) => Failure::new(refusal.code(), detail),
    }
}
