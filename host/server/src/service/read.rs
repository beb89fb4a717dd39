//! Reading runs: one, a list, the journal, the logs. Reads never wait behind commits.

use super::{Service, ServiceError};
use crate::pages;
use everstep_core::api::{
    EntryView, JournalPage, LogLineView, LogPage, OperationView, RunList, RunSelection, RunView,
};
use everstep_core::{JournalEvent, Record, Run, RunId, StateKind};
use everstep_store::{MAX_PAGE, RunQuery, StoreError};

/// Entries or lines of one page unless told otherwise, and at most.
const PAGE: usize = 500;
/// The longest journal that is read to list a run's pending operations.
const LONGEST_TO_FOLD: u64 = 20_000;
/// The most pending operations that are shown.
const MAX_OPERATIONS: usize = 1_000;
/// How many pages of the store may be read to fill one page of a list.
const MAX_ROUNDS: usize = 20;

impl Service {
    /// A run with its input and, unless its journal is very long, its pending operations.
    ///
    /// # Errors
    /// When there is no such run or the store cannot be read.
    pub async fn show(&self, run: RunId) -> Result<RunView, ServiceError> {
        let record = self.record(run).await?;
        let mut view = self.view(&record);
        view.resumed = self.last_resume(run);
        let first = self.parts.store.journal(run, record.first, 1).await?;
        if let Some(
            JournalEvent::RunStarted { input, .. } | JournalEvent::RunContinued { input, .. },
        ) = first.first().map(|e| &e.event)
        {
            view.input = Some(input.clone());
        }
        if record.pending > 0 && record.length - record.first <= LONGEST_TO_FOLD {
            view.operations = match self.operations(&record).await {
                // A damaged journal must not hide what the record says about the run.
                Err(
                    error @ (ServiceError::Refused(_)
                    | ServiceError::Store(StoreError::Corrupt { .. })),
                ) => {
                    tracing::error!(%run, %error, "the journal cannot be read");
                    None
                }
                other => Some(other?),
            };
        }
        Ok(view)
    }

    /// The pending operations of a run as of this record, with what running tasks say of
    /// themselves.
    async fn operations(&self, record: &Record) -> Result<Vec<OperationView>, ServiceError> {
        let run = self.folded(record).await?;
        let mut operations = run.map(|run| run.operations(MAX_OPERATIONS)).unwrap_or_default();
        for operation in &mut operations {
            operation.progress = self.parts.hub.last_progress(record.id(), operation.op);
        }
        Ok(operations)
    }

    /// The state of a run as of this record, from its journal, page by page.
    pub(super) async fn folded(&self, record: &Record) -> Result<Option<Run>, ServiceError> {
        let mut run: Option<Run> = None;
        let mut seq = record.first;
        while seq < record.length {
            let page = pages::journal(&*self.parts.store, record.id(), seq, record.length).await?;
            for entry in &page {
                Run::fold_on(&mut run, entry, record)?;
            }
            seq += page.len() as u64;
        }
        Ok(run)
    }

    /// Runs, newest first, at most `limit` (100 when absent) in a page. States are compared as they are shown: a queued run that a host has now
    /// is running.
    ///
    /// # Errors
    /// When the cursor is none or the store cannot be read.
    pub async fn list(
        &self,
        selection: RunSelection,
        cursor: Option<String>,
        limit: Option<usize>,
    ) -> Result<RunList, ServiceError> {
        let mut query = query(selection);
        query.cursor = cursor;
        let shown = query.states.clone();
        let by_lease = [StateKind::Queued, StateKind::Running];
        if shown.iter().any(|state| by_lease.contains(state)) {
            query.states.extend(by_lease);
        }
        let limit = limit.unwrap_or(query.limit).clamp(1, MAX_PAGE);
        let mut runs = Vec::new();
        for _ in 0..MAX_ROUNDS {
            query.limit = limit - runs.len();
            let page = self.parts.store.runs(&query).await?;
            for run in &page.damaged {
                tracing::error!(%run, "the record of this run is damaged; the list leaves it out");
            }
            let views = page.runs.iter().map(|record| self.view(record));
            runs.extend(views.filter(|view| shown.is_empty() || shown.contains(&view.state)));
            query.cursor = page.cursor;
            if query.cursor.is_none() || runs.len() >= limit {
                break;
            }
        }
        Ok(RunList { runs, cursor: query.cursor })
    }

    /// A part of a run's journal, about `limit` entries from position `from` on.
    ///
    /// # Errors
    /// When there is no such run or the store cannot be read.
    pub async fn journal(
        &self,
        run: RunId,
        from: u64,
        limit: Option<usize>,
    ) -> Result<JournalPage, ServiceError> {
        let record = self.record(run).await?;
        let from = from.max(record.first);
        let entries = self.parts.store.journal(run, from, page_size(limit)).await?;
        let entries: Vec<_> =
            numbered(from, entries).map(|(seq, entry)| EntryView { seq, entry }).collect();
        let next = next_page(from, entries.len(), record.length);
        Ok(JournalPage { entries, next })
    }

    /// A part of a run's logs, about `limit` lines from position `from` on.
    ///
    /// # Errors
    /// When there is no such run or the store cannot be read.
    pub async fn logs(
        &self,
        run: RunId,
        from: u64,
        limit: Option<usize>,
    ) -> Result<LogPage, ServiceError> {
        let record = self.record(run).await?;
        let lines = self.parts.store.logs(run, from, page_size(limit)).await?;
        let lines: Vec<_> =
            numbered(from, lines).map(|(seq, line)| LogLineView { seq, line }).collect();
        let next = next_page(from, lines.len(), record.log_lines);
        Ok(LogPage { lines, next })
    }
}

/// The selection as the store is asked.
pub(super) fn query(selection: RunSelection) -> RunQuery {
    RunQuery {
        workflow: selection.workflow,
        version: selection.version,
        states: selection.states.into_iter().collect(),
        tags: selection.tags,
        parent: selection.parent,
        failure_code: selection.failure_code,
        started_from: selection.started_after,
        started_before: selection.started_before,
        updated_from: selection.updated_after,
        updated_before: selection.updated_before,
        ..RunQuery::default()
    }
}

fn page_size(limit: Option<usize>) -> usize {
    limit.unwrap_or(PAGE).clamp(1, MAX_PAGE)
}

fn numbered<T>(from: u64, items: Vec<T>) -> impl Iterator<Item = (u64, T)> {
    (0..).zip(items).map(move |(n, item): (u64, T)| (from.saturating_add(n), item))
}

/// Where the page behind this one begins; none at the end. An empty page never has a next one, so
/// that nobody reads in circles.
fn next_page(from: u64, read: usize, total: u64) -> Option<u64> {
    let next = from.saturating_add(read as u64);
    (read > 0 && next < total).then_some(next)
}
