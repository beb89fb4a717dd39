//! Trying one run on another module: its journal is replayed there, in memory, without any effect. The
//! upload gate and upgrades are made of trials.
//!
//! Invariant: a trial that passed has repeated every activation of the run's attempt and compared every
//! command, up to the length that it reports; nothing was written.

use crate::pages;
use crate::replay::{ReplayError, Replayer};
use everstep_core::api::Finding;
use everstep_core::{ModuleRef, Record, Run, RunId};
use everstep_engine::{ActivationError, Module};
use everstep_store::{Store, StoreError};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the replay of one run may take; a module that is slower than that could not go on with
/// the run after a crash either.
const LONGEST: Duration = Duration::from_secs(60);
/// The most lines of a backtrace.
const MAX_FRAMES: usize = 40;
/// The most pending operations that are looked at.
const MAX_OPERATIONS: usize = 20_000;

/// What a run is tried on.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) module: Arc<Module>,
    pub(super) to: ModuleRef,
}

/// A run on another module, up to some length of its journal.
pub(super) struct Trial {
    target: Target,
    record: Record,
    run: Option<Run>,
    replayer: Option<Replayer>,
    length: u64,
    until: Instant,
    traced: bool,
}

/// Why a trial ended without a verdict.
pub(super) enum TrialError {
    /// The run cannot go on on the module.
    Failed(Finding),
    /// The run ended meanwhile, or got another module.
    Moot,
    /// This host has no room for the guest now.
    NoRoom,
    /// The store could not be read.
    Store(StoreError),
}

impl From<StoreError> for TrialError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Trial {
    pub(super) fn new(target: Target, record: Record) -> Self {
        let length = record.first;
        let until = Instant::now() + LONGEST;
        Self { target, record, run: None, replayer: None, length, until, traced: false }
    }

    /// A trial that finds out where in the code of the module a divergence comes from.
    pub(super) fn traced(target: Target, record: Record) -> Self {
        Self { traced: true, ..Self::new(target, record) }
    }

    /// Where it comes from, frame by frame.
    pub(super) fn backtrace(&self) -> Vec<String> {
        let trace = self.replayer.as_ref().and_then(Replayer::trace).unwrap_or_default();
        trace.lines().take(MAX_FRAMES).map(|line| line.trim_end().to_owned()).collect()
    }

    /// The length of the journal up to which the run has passed.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Goes on up to the end that this record tells of. Blocks while the guest works.
    pub(super) async fn extend(
        &mut self,
        store: &dyn Store,
        record: Record,
    ) -> Result<(), TrialError> {
        if record.is_terminal() {
            return Err(TrialError::Moot);
        }
        let is_other = record.attempt_under_way() != self.record.attempt_under_way()
            || record.first != self.record.first;
        if is_other {
            *self = Self::new(self.target.clone(), record);
        } else {
            self.record = record;
        }
        let id = self.record.id();
        while self.length < self.record.length {
            let page = pages::journal(store, id, self.length, self.record.length).await;
            let entries = match page {
                Err(StoreError::Corrupt { what }) => {
                    return Err(failed(id, "journal.corrupt", what));
                }
                other => other?,
            };
            for entry in &entries {
                self.push(entry)?;
            }
        }
        if let Some(replayer) = &mut self.replayer {
            replayer.catch_up().map_err(|error| found(id, error))?;
        }
        self.check_tasks()
    }

    fn push(&mut self, entry: &everstep_core::Entry) -> Result<(), TrialError> {
        let id = self.record.id();
        let run = Run::fold_on(&mut self.run, entry, &self.record)
            .map_err(|refusal| found(id, ReplayError::Corrupt(refusal)))?;
        if self.replayer.is_none()
            && let Some(attempt) = self.record.attempt_under_way()
        {
            let mut record = self.record.clone();
            record.origin = Arc::new(record.origin.with_module(self.target.to.clone()));
            let (module, input) = (Arc::clone(&self.target.module), run.input().clone());
            let replayer = Replayer::new(module, &record, input, attempt);
            self.replayer = Some(if self.traced { replayer.traced() } else { replayer });
        }
        if let Some(replayer) = &mut self.replayer {
            replayer.push(entry).map_err(|error| found(id, error))?;
        }
        self.length += 1;
        if Instant::now() > self.until {
            let message = format!(
                "the replay took longer than {} s and was given up at position {}",
                LONGEST.as_secs(),
                self.length
            );
            return Err(failed(id, "upgrade.too_slow", message));
        }
        Ok(())
    }

    /// What is executed next must be there, too.
    fn check_tasks(&self) -> Result<(), TrialError> {
        let Some(run) = &self.run else { return Ok(()) };
        let manifest = self.target.module.manifest();
        let pending = run.operations(MAX_OPERATIONS);
        let mut tasks = pending.iter().filter(|operation| operation.kind == "task");
        let missing = tasks.find(|task| !manifest.tasks.iter().any(|it| it.name == task.name));
        match missing {
            None => Ok(()),
            Some(task) => {
                let message = format!(
                    "the run waits for task `{}`, which the module does not have",
                    task.name
                );
                Err(failed(self.record.id(), "upgrade.task_missing", message))
            }
        }
    }
}

/// A finding without two sides to compare.
pub(super) fn finding(run: RunId, code: &str, message: impl Into<String>) -> Finding {
    Finding { run, code: code.to_owned(), message: message.into(), divergence: None }
}

fn failed(run: RunId, code: &str, message: impl Into<String>) -> TrialError {
    TrialError::Failed(finding(run, code, message))
}

fn found(run: RunId, error: ReplayError) -> TrialError {
    match error {
        ReplayError::Divergence(divergence) => {
            let (code, message) = ("divergence".to_owned(), divergence.to_string());
            TrialError::Failed(Finding { run, code, message, divergence: Some(divergence) })
        }
        ReplayError::Guest { seq, error: ActivationError::Stuck(cause) } => {
            failed(run, &cause.code, format!("{}\nat journal position {seq}", cause.message))
        }
        ReplayError::Guest { error: ActivationError::Capacity, .. } => TrialError::NoRoom,
        ReplayError::Guest { seq, error } => {
            failed(run, "upgrade.guest", format!("{error}\nat journal position {seq}"))
        }
        ReplayError::Snapshot { error, .. } => failed(run, "upgrade.guest", error.to_string()),
        ReplayError::Corrupt(refusal) => failed(run, "journal.corrupt", refusal.to_string()),
    }
}
