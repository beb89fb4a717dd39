//! Bringing a run that is not warm back to life: its module, its journal, a replay.

use super::causes::{self, corrupt, unloadable};
use super::snapshots::{self, Cost};
use super::warm::Resting;
use crate::link::{HostLink, LinkError, Note};
use crate::replay::{ReplayError, Replayer};
use everstep_core::api::{ResumeView, ResumedBy};
use everstep_core::{Digest, JournalEvent, Record, Refusal, Run, StuckCause, Timestamp};
use everstep_engine::{Engine, Module};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

/// Why a run could not be brought back.
pub(super) enum LoadError {
    /// The run stays as it is until somebody helps.
    Stuck(StuckCause),
    /// Something outside the run is in the way.
    Passing(String),
    /// Somebody else has it.
    LeaseLost,
    /// The run has been given another module since its record was read.
    Upgraded,
}

impl From<LinkError> for LoadError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::LeaseLost => Self::LeaseLost,
            LinkError::Corrupt(what) => Self::Stuck(corrupt(what)),
            other => Self::Passing(other.to_string()),
        }
    }
}

/// Brings modules to the engine, which keeps them. One is fetched at a time, so that a hundred runs
/// of a module do not fetch it a hundred times.
#[derive(Default)]
pub(super) struct Modules {
    fetching: tokio::sync::Mutex<()>,
}

impl Modules {
    pub(super) async fn get(
        &self,
        digest: Digest,
        link: &dyn HostLink,
        engine: &Arc<Engine>,
    ) -> Result<Arc<Module>, LoadError> {
        if let Some(module) = engine.cached(&digest) {
            return Ok(module);
        }
        let _alone = self.fetching.lock().await;
        if let Some(module) = engine.cached(&digest) {
            return Ok(module);
        }
        let bytes = match link.module(digest).await {
            Err(LinkError::Corrupt(what)) => {
                return Err(LoadError::Stuck(causes::no_module(&what)));
            }
            fetched => fetched?,
        };
        let engine = Arc::clone(engine);
        let load = move || engine.load::<Infallible>(&digest, || Ok(bytes));
        let loaded = tokio::task::spawn_blocking(load).await;
        loaded
            .map_err(|error| LoadError::Passing(error.to_string()))?
            .map_err(|error| LoadError::Stuck(unloadable(&error)))
    }
}

/// Brings a run back: from its snapshot and what stands behind that in the journal, or from the whole
/// journal. The journal may have grown since the record was read; when that may matter, `to_end` asks for
/// what is behind, too.
pub(super) async fn load(
    record: &Record,
    module: &Arc<Module>,
    link: &dyn HostLink,
    to_end: bool,
) -> Result<Resting, LoadError> {
    let begun = Instant::now();
    if let Some((run, instance)) = snapshots::find(record, module, link).await {
        let (from, replayer) =
            (run.record().length, Replayer::going_on(module, record, &run, instance));
        let last = Some(run.last_at());
        let beginning = Beginning { run: Some(run), replayer: Some(replayer), length: from, last };
        match read(beginning, record, module, link, to_end).await {
            // The journal alone decides whether the run is stuck.
            Err(LoadError::Stuck(cause)) => {
                let reason = cause.message;
                tracing::warn!(run = %record.id(), reason, "a snapshot does not go on like its run");
                link.note(Note::SnapshotRefused);
            }
            Err(other) => return Err(other),
            Ok(resting) => return Ok(told(resting, ResumedBy::Snapshot, from, begun, link)),
        }
    }
    let beginning = Beginning { run: None, replayer: None, length: record.first, last: None };
    let resting = read(beginning, record, module, link, to_end).await?;
    Ok(told(resting, ResumedBy::Replay, record.first, begun, link))
}

/// Tells how a run was brought back, with the entries from this position on.
fn told(
    mut resting: Resting,
    by: ResumedBy,
    from: u64,
    begun: Instant,
    link: &dyn HostLink,
) -> Resting {
    let took = begun.elapsed();
    resting.cost = Cost::of(took, by == ResumedBy::Snapshot);
    let record = resting.run.record();
    // One that has only just been started was nowhere before.
    if record.attempt > 0 {
        let entries = record.length.saturating_sub(from);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let view = ResumeView { by, entries, took_us, at: crate::clock::now() };
        link.note(Note::Resumed(record.id(), view));
    }
    resting
}

/// A run as far as it is known, and where in the journal that is.
struct Beginning {
    run: Option<Run>,
    replayer: Option<Replayer>,
    length: u64,
    /// When the last entry in front of that was decided, when that is to be checked: the journal may have
    /// been restored from a backup and have gone on in another way.
    last: Option<Timestamp>,
}

/// Reads a run's journal from there on and rebuilds state machine and guest from it.
async fn read(
    Beginning { mut run, mut replayer, mut length, mut last }: Beginning,
    record: &Record,
    module: &Arc<Module>,
    link: &dyn HostLink,
    to_end: bool,
) -> Result<Resting, LoadError> {
    // The last entry of what is known is read again.
    length -= u64::from(last.is_some());
    while to_end || length < record.length {
        let page = link.journal(record.id(), length).await?;
        if page.is_empty() {
            break;
        }
        length += page.len() as u64;
        let mut page = page.iter();
        if let Some(at) = last.take()
            && page.next().is_none_or(|entry| entry.at != at)
        {
            return Err(corrupt("the journal went another way".into()).into());
        }
        for entry in page {
            let known = Run::fold_on(&mut run, entry, record)?;
            let newer = known.record().length > record.length;
            if newer && matches!(entry.event, JournalEvent::RunUpgraded { .. }) {
                return Err(LoadError::Upgraded);
            }
            if replayer.is_none()
                && let Some(attempt) = record.attempt_under_way()
            {
                let (module, input) = (Arc::clone(module), known.input().clone());
                replayer = Some(Replayer::new(module, record, input, attempt));
            }
            if let Some(replayer) = &mut replayer {
                replayer.push(entry)?;
            }
        }
        tokio::task::yield_now().await;
    }
    if last.is_some() {
        return Err(corrupt("the journal is shorter than it was".into()).into());
    }
    let mut run = run.ok_or_else(|| corrupt("the journal is empty".into()))?;
    run.adopt(record)?;
    let instance = match replayer {
        Some(mut replayer) => {
            replayer.catch_up()?;
            replayer.into_parts().0
        }
        None => None,
    };
    Ok(Resting { run, instance, cost: Cost::default() })
}

/// Rebuilds the state machine alone, for when the guest is not to be touched.
pub(super) async fn fold(record: &Record, link: &dyn HostLink) -> Result<Run, LoadError> {
    let mut run: Option<Run> = None;
    loop {
        let position = run.as_ref().map_or(record.first, |run| run.record().length);
        let page = link.journal(record.id(), position).await?;
        if page.is_empty() {
            break;
        }
        for entry in &page {
            Run::fold_on(&mut run, entry, record)?;
        }
    }
    let mut run = run.ok_or_else(|| corrupt("the journal is empty".into()))?;
    run.adopt(record)?;
    Ok(run)
}

impl From<Refusal> for LoadError {
    fn from(refusal: Refusal) -> Self {
        Self::Stuck(corrupt(refusal.to_string()))
    }
}

impl From<StuckCause> for LoadError {
    fn from(cause: StuckCause) -> Self {
        Self::Stuck(cause)
    }
}

impl From<ReplayError> for LoadError {
    fn from(error: ReplayError) -> Self {
        causes::of_replay(error).map_or_else(Self::Passing, Self::Stuck)
    }
}
