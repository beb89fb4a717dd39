//! The self-check: a finished run is executed again from its journal, in memory, and must be what it was:
//! the same commands, the same outcome, the same published state and, where a host audited it, the same
//! memory behind every activation. `serve` does so with one run now and then, for as long as the server
//! lives; nothing depends on it but the counters and what the log says.

use super::{Service, ServiceError, on_thread};
use crate::replay::{ReplayError, verify};
use everstep_core::{Record, RunId, StateKind};
use everstep_engine::ActivationError;
use everstep_store::{RunQuery, StoreError};
use rand::seq::IndexedRandom;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The longest journal that is checked: it is read as a whole.
const LONGEST: u64 = 10_000;
/// The newest runs, of which one is chosen.
const AMONG: usize = 200;

/// How often a finished run is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SelfCheckOptions {
    /// The time between two checks; none for no checks at all.
    pub every: Option<Duration>,
}

impl Default for SelfCheckOptions {
    fn default() -> Self {
        Self { every: Some(Duration::from_secs(60)) }
    }
}

/// What a self-check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SelfCheck {
    /// The run is what it was.
    Passed,
    /// It is not: how it differs.
    Failed(String),
    /// It cannot be checked, or not now: why.
    Skipped(&'static str),
}

/// How many checks came out how.
#[derive(Debug, Default)]
pub(super) struct Tally {
    passed: AtomicU64,
    failed: AtomicU64,
}

impl Service {
    /// Executes a finished run again and compares. Nothing is changed, whatever it finds.
    ///
    /// # Errors
    /// When there is no such run, or it cannot be read.
    pub async fn self_check(&self, run: RunId) -> Result<SelfCheck, ServiceError> {
        let record = self.record(run).await?;
        if !record.is_terminal() || record.attempt == 0 {
            return Ok(SelfCheck::Skipped("it has not ended, or was never executed"));
        }
        if record.length - record.first > LONGEST {
            return Ok(SelfCheck::Skipped("its journal is too long"));
        }
        let module = self.load(record.origin.digest).await?;
        let found = match self.journal_of(&record).await {
            Ok(entries) => {
                on_thread(move || Ok(compare(&record, verify(&module, &entries, record.first))))
                    .await?
            }
            Err(ServiceError::Store(StoreError::Corrupt { what })) => {
                // Retention may just have removed it.
                match self.parts.store.record(run).await? {
                    Some(_) => SelfCheck::Failed(what),
                    None => SelfCheck::Skipped("it was removed meanwhile"),
                }
            }
            Err(error) => return Err(error),
        };
        match &found {
            SelfCheck::Passed => _ = self.checks.passed.fetch_add(1, Ordering::Relaxed),
            SelfCheck::Failed(difference) => {
                self.checks.failed.fetch_add(1, Ordering::Relaxed);
                tracing::error!(%run, difference, "self-check: a finished run does not replay");
            }
            SelfCheck::Skipped(_) => {}
        }
        Ok(found)
    }

    /// How many self-checks passed and how many failed since the process began.
    #[must_use]
    pub fn self_checks(&self) -> (u64, u64) {
        let Tally { passed, failed } = &self.checks;
        (passed.load(Ordering::Relaxed), failed.load(Ordering::Relaxed))
    }

    /// Checks one of the newest finished runs.
    async fn check_one(&self) -> Result<(), ServiceError> {
        let states = StateKind::ALL.into_iter().filter(|state| state.is_terminal()).collect();
        let query = RunQuery { states, limit: AMONG, ..RunQuery::default() };
        let page = self.parts.store.runs(&query).await?;
        let chosen = page.runs.choose(&mut rand::rng()).map(Record::id);
        match chosen {
            Some(run) => self.self_check(run).await.map(drop),
            None => Ok(()),
        }
    }
}

/// Checks finished runs, until the future is dropped.
pub(crate) async fn serve(service: Arc<Service>, options: SelfCheckOptions) {
    let Some(every) = options.every else { return };
    loop {
        tokio::time::sleep(every).await;
        match service.check_one().await {
            // The run was removed between the two reads.
            Ok(()) | Err(ServiceError::RunNotFound(_)) => {}
            Err(error) => tracing::warn!(%error, "self-check: a run could not be checked"),
        }
    }
}

fn compare(record: &Record, replayed: Result<crate::replay::Verified, ReplayError>) -> SelfCheck {
    let verified = match replayed {
        Ok(verified) => verified,
        Err(ReplayError::Guest {
            error: ActivationError::Capacity | ActivationError::Interrupted,
            ..
        }) => return SelfCheck::Skipped("this host has no room for the guest"),
        Err(error) => return SelfCheck::Failed(error.to_string()),
    };
    let again = verified.run.record();
    if (&again.state, again.attempt, again.next_op)
        != (&record.state, record.attempt, record.next_op)
    {
        return SelfCheck::Failed("the journal leads to another end than the record has".into());
    }
    // What the last attempt did not publish may be from one before.
    if verified.published.is_some() && verified.published != record.published {
        return SelfCheck::Failed("the guest shows something else of itself".into());
    }
    SelfCheck::Passed
}
