//! Starting what-if runs: the beginning of a run's journal, with edited results, as a run of its own.
//! A fork is committed only when a replay of what it has passes. Where an edited result makes the
//! guest ask for something else, the journal ends, and what it asks for there is decided anew.

use super::start::check_key;
use super::{Service, ServiceError, on_thread};
use crate::pages;
use crate::replay::{ReplayError, Replayer};
use everstep_core::api::{EditBody, ForkBody, ForkStarted};
use everstep_core::{
    Commit, Delivery, Draft, Edit, EditTarget, Entry, ForkRequest, Forked, Input, InputHash,
    Payload, Record, RunId, Step,
};
use everstep_engine::{ActivationError, Module, RunContext, WorkflowInstance};
use everstep_store::StoreError;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The longest journal of which a fork is made: it is written in one piece.
const LONGEST: u64 = 20_000;
/// The most edits of one fork.
const MAX_EDITS: usize = 1_000;

impl Service {
    /// Starts a fork of a run; it is durable when this returns.
    ///
    /// # Errors
    /// When the run cannot be forked there, or what is asked for makes no sense.
    pub async fn fork(&self, run: RunId, body: ForkBody) -> Result<ForkStarted, ServiceError> {
        let edits = self.edits(&body.edits)?;
        let record = self.record(run).await?;
        let asked = serde_json::to_vec(&(body.at, &body.edits)).unwrap_or_default();
        let (asked, now) = (InputHash::of(&asked), crate::clock::now());
        let id = match &body.idempotency_key {
            Some(key) => {
                check_key(key)?;
                let id = RunId::of_fork(run, key);
                if let Some(existing) = self.parts.store.record(id).await? {
                    return known(&existing, asked);
                }
                id
            }
            None => RunId::new(now, rand::random()),
        };
        let length = record.length - record.first;
        if length > LONGEST {
            return Err(ServiceError::ForkTooLong { length, most: LONGEST });
        }
        let journal = self.journal_of(&record).await?;
        let draft = Draft::new(&journal, record.first, body.at, &edits)?;
        let module = self.load(record.origin.digest).await?;
        let request = ForkRequest { id, asked, now };
        let permit = Arc::clone(&self.compiling).acquire_owned().await;
        let permit = permit.map_err(|_| ServiceError::Draining)?;
        let planned = on_thread(move || {
            // One at a time, as it computes for as long as the original did.
            let _alone = permit;
            plan(&module, &draft, &request)
        });
        let (commit, at) = planned.await?;
        match self.commit(commit).await {
            Ok(()) => {}
            // The same request was quicker.
            Err(StoreError::AlreadyExists | StoreError::Conflict { .. }) => {
                return known(&self.record(id).await?, asked);
            }
            Err(error) => return Err(error.into()),
        }
        self.starts.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(run = %id, from = %run, at, "forked");
        Ok(ForkStarted { id, created: true, at })
    }

    fn edits(&self, bodies: &[EditBody]) -> Result<Vec<Edit>, ServiceError> {
        let invalid = |problem: &str| ServiceError::InvalidOption {
            field: "edits",
            problem: problem.to_owned(),
        };
        if bodies.len() > MAX_EDITS {
            return Err(invalid("at most 1,000 are allowed"));
        }
        let most = self.options.limits.payload_bytes;
        let edit = |EditBody { op, seq, value }: &EditBody| {
            let target = match (*op, *seq) {
                (Some(op), None) => EditTarget::Operation(op),
                (None, Some(seq)) => EditTarget::Value(seq),
                _ => return Err(invalid("each names either an operation or a position")),
            };
            let size = value.len() as u64;
            if size > most {
                return Err(ServiceError::PayloadTooLarge { size, most });
            }
            Ok(Edit { target, value: value.clone() })
        };
        bodies.iter().map(edit).collect()
    }

    /// The whole journal as of this record.
    pub(super) async fn journal_of(&self, record: &Record) -> Result<Vec<Entry>, ServiceError> {
        let mut entries = Vec::new();
        let mut seq = record.first;
        while seq < record.length {
            let page = pages::journal(&*self.parts.store, record.id(), seq, record.length).await?;
            seq += page.len() as u64;
            entries.extend(page);
        }
        Ok(entries)
    }
}

/// The answer to a request whose key names a run that exists.
fn known(record: &Record, asked: InputHash) -> Result<ForkStarted, ServiceError> {
    match record.origin.forked_from.as_deref() {
        Some(fork) if fork.asked == asked => {
            Ok(ForkStarted { id: record.id(), created: false, at: fork.at })
        }
        _ => Err(ServiceError::KeyInputMismatch(record.id())),
    }
}

/// Finds out how far the guest goes along with the edits, and makes the commit.
fn plan(
    module: &Arc<Module>,
    draft: &Draft,
    request: &ForkRequest,
) -> Result<(Commit, u64), ServiceError> {
    let mut cut = draft.len();
    let mut anew: Option<Step> = None;
    loop {
        let built = draft.build(cut, request)?;
        let broken = match replay(module, &built) {
            Ok(guest) => {
                built.check()?;
                return decide(module, built, guest, anew, request);
            }
            Err(broken) => *broken,
        };
        match broken {
            (ReplayError::Divergence(_), Some(step)) if goes_astray(draft, &step, cut) => {
                cut = usize::try_from(step.seq).unwrap_or(0);
                anew = Some(step);
            }
            (error, step) => return Err(refused(error, step.as_ref(), draft)),
        }
    }
}

/// Whether an edit, and not the code, is why the guest asks for something else in this step.
fn goes_astray(draft: &Draft, step: &Step, cut: usize) -> bool {
    let seq = usize::try_from(step.seq).unwrap_or(usize::MAX);
    draft.first_edit().is_some_and(|edit| edit <= seq) && seq < cut
}

/// The instance of the last attempt, if one is under way, and what it published.
type Guest = (Option<WorkflowInstance>, Option<Payload>);

/// Why a replay ended early, and in which step.
type Broken = (ReplayError, Option<Step>);

fn replay(module: &Arc<Module>, built: &Forked) -> Result<Guest, Box<Broken>> {
    let (record, input) = (built.run.record(), built.run.input().clone());
    // One that has ended is replayed, too: the edits may make another end of it.
    let attempt = record.attempt;
    if attempt == 0 {
        return Ok((None, None));
    }
    let mut replayer = Replayer::new(Arc::clone(module), record, input, attempt);
    let pushed = built.entries.iter().try_for_each(|entry| replayer.push(entry));
    match pushed.and_then(|()| replayer.catch_up()) {
        Ok(()) => Ok(replayer.into_parts()),
        Err(error) => Err(Box::new((error, replayer.broke()))),
    }
}

/// The commit that makes the fork exist, with the step in which the guest asks for something else.
fn decide(
    module: &Arc<Module>,
    mut built: Forked,
    (instance, published): Guest,
    anew: Option<Step>,
    request: &ForkRequest,
) -> Result<(Commit, u64), ServiceError> {
    let at = built.at;
    let commit = built.commit(published)?;
    let Some(step) = anew else { return Ok((commit, at)) };
    let instance = instance.filter(|_| commit.record.attempt_under_way() == Some(step.attempt));
    let (mut run, now) = (built.run, request.now.max(commit.record.updated_at));
    let delivery = Delivery { at: now, ..step.delivery };
    // Side values are taken from the journal; children are the fork's own.
    let mut recorded = step.recorded;
    recorded.retain(|command| command.child.is_none());
    let step = Step { delivery: delivery.clone(), recorded, ..step };
    let context = RunContext::of(&commit.record.origin, commit.record.first, step.attempt);
    let instance = instance.map_or_else(|| module.instantiate(context), Ok);
    let activation = instance.and_then(|mut guest| guest.replay(&step, run.input()));
    let activation = activation.map_err(|error| failed(&error))?;
    let decided = run.handle(Input::Activated { delivery, activation }, now)?;
    Ok((commit.then(decided), at))
}

fn refused(error: ReplayError, step: Option<&Step>, draft: &Draft) -> ServiceError {
    let edited = step.is_some_and(|step| goes_astray(draft, step, usize::MAX));
    match error {
        ReplayError::Divergence(divergence) => ServiceError::ForkDiverges(divergence.to_string()),
        ReplayError::Corrupt(refusal) => refusal.into(),
        ReplayError::Guest { error, .. } if edited => failed(&error),
        ReplayError::Guest { error: error @ ActivationError::Stuck(_), .. } => {
            ServiceError::ForkDiverges(error.to_string())
        }
        ReplayError::Guest { error, .. } => failed(&error),
        ReplayError::Snapshot { error, .. } => ServiceError::ForkDiverges(error.to_string()),
    }
}

/// A guest that fails with what was edited, or a host that has no room for it.
fn failed(error: &ActivationError) -> ServiceError {
    match error {
        ActivationError::Stuck(cause) => {
            ServiceError::ForkStuck { code: cause.code.clone(), message: cause.message.clone() }
        }
        ActivationError::Capacity | ActivationError::OutOfMemory(_) => {
            ServiceError::Busy("there is no room for another guest")
        }
        other => ServiceError::Internal(other.to_string()),
    }
}
