//! The applier thread: brings into the database what is durable in the log, some time later and many
//! commits in one transaction, without an fsync of its own; and does all other work of the database,
//! each group in a transaction that is durable before it is answered.
//!
//! Invariant: a transaction of commits says which batch of the log is its last, so that opening the
//! store after a crash goes on exactly there.

use crate::StoreError;
use crate::embedded::apply::Runs;
use crate::embedded::backlog::{Batch, Step};
use crate::embedded::checkpoint::{Checkpointer, LogGauge};
use crate::embedded::coalesce::coalesce;
use crate::embedded::queue::{Answer, Job, Work, Written};
use crate::embedded::refusal::Refusal;
use crate::embedded::rows::Packed;
use crate::embedded::writer::Shared;
use crate::embedded::{modules, remove, schedules, schema};
use everstep_core::RunId;
use rusqlite::{Connection, ErrorCode};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What one transaction applies, about.
const PORTION_COMMITS: usize = 16_384;
const PORTION_BYTES: usize = 16 << 20;

/// The thread, from beginning to end.
pub(super) fn run(connection: Connection, checkpoints: Connection, shared: &Shared) {
    match Checkpointer::start(checkpoints, shared.clone()) {
        Ok(checkpointer) => {
            if let Err(error) = work(connection, &checkpointer, shared) {
                shared.fail(error.to_string());
            }
            checkpointer.join();
        }
        Err(error) => shared.fail(error.to_string()),
    }
}

/// Works until the backlog is closed and empty, or the store stops.
fn work(
    mut connection: Connection,
    checkpointer: &Checkpointer,
    shared: &Shared,
) -> Result<(), StoreError> {
    // Until the first transaction SQLite's log is as it was found.
    let before: u32 = connection
        .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get::<_, i64>(1))
        .map(|pages| u32::try_from(pages).unwrap_or(0))?;
    let pages = Arc::new(AtomicU32::new(before));
    let noted = Arc::clone(&pages);
    connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
        noted.store(pages.unsigned_abs(), Ordering::Relaxed);
        Ok(())
    }))?;
    let mut applier = Applier {
        connection: &connection,
        runs: Runs::prepare(&connection)?,
        shared,
        checkpointer,
        gauge: LogGauge::new(before),
        pages,
        durable: true,
    };
    let mut steps = VecDeque::new();
    while shared.backlog.take(&mut steps) {
        // What is not done here is dropped by the caller's failure, after the reason is known.
        if let Err(error) = applier.do_all(&mut steps) {
            shared.fail(error.to_string());
        }
        steps.clear();
    }
    Ok(())
}

struct Applier<'c> {
    connection: &'c Connection,
    runs: Runs<'c>,
    shared: &'c Shared,
    checkpointer: &'c Checkpointer,
    gauge: LogGauge,
    /// The length of SQLite's log after the last transaction.
    pages: Arc<AtomicU32>,
    /// Whether a transaction waits for its fsync, as the connection is set now.
    durable: bool,
}

impl Applier<'_> {
    fn do_all(&mut self, steps: &mut VecDeque<Step>) -> Result<(), StoreError> {
        while !steps.is_empty() {
            let portion = next_portion(steps);
            if !portion.is_empty() {
                self.apply(&portion)?;
            }
            let mut jobs = Vec::new();
            while let Some(Step::Work(_)) = steps.front() {
                let Some(Step::Work(job)) = steps.pop_front() else { break };
                jobs.push(job);
            }
            if !jobs.is_empty() {
                self.do_jobs(&mut jobs, steps)?;
            }
        }
        Ok(())
    }

    /// Applies some batches in one transaction.
    fn apply(&mut self, batches: &[Batch]) -> Result<(), StoreError> {
        let Some(last) = batches.last().map(|batch| batch.number) else { return Ok(()) };
        let durable = self.shared.backlog.wants_durable();
        self.set_durable(durable)?;
        let commits = || batches.iter().flat_map(|batch| &batch.commits);
        let runs = in_one_transaction(
            self.connection,
            &mut self.runs,
            commits().map(AsRef::as_ref),
            last,
        )?;
        for run in runs {
            self.shared.overlay.remove_applied(run, last);
        }
        let bytes = batches.iter().map(|batch| batch.bytes).sum();
        self.shared.backlog.note_applied(last, commits().count(), bytes, durable);
        self.tend()?;
        Ok(())
    }

    /// Does other work in one durable transaction, and answers. On failure the jobs go back, so that
    /// nobody is told before the reason is known.
    fn do_jobs(
        &mut self,
        jobs: &mut Vec<Job>,
        steps: &mut VecDeque<Step>,
    ) -> Result<(), StoreError> {
        let written = self.set_durable(true).and_then(|()| self.write(jobs));
        let answers = match written {
            Ok(answers) => answers,
            Err(error) => {
                steps.extend(jobs.drain(..).map(Step::Work));
                return Err(error.into());
            }
        };
        let fsyncs = u64::from(answers.iter().any(Result::is_ok));
        let appended = self.tend()?;
        self.shared.queue.count(0, fsyncs, appended);
        let done = jobs.len() as u64;
        for (job, answer) in jobs.drain(..).zip(answers) {
            let _ = job.answer.send(answer);
        }
        self.shared.backlog.note_worked(done);
        Ok(())
    }

    /// Writes all jobs. When this returns `Ok`, all answers are true and durable.
    fn write(&mut self, jobs: &[Job]) -> rusqlite::Result<Vec<Answer>> {
        // Jobs that the database refused, by their place. One more in every round.
        let mut damaged: Vec<(usize, StoreError)> = Vec::new();
        loop {
            begin(self.connection)?;
            match self.write_each(jobs, &damaged) {
                Ok(answers) => {
                    commit(self.connection)?;
                    return Ok(answers);
                }
                Err((place, error)) => {
                    self.runs.forget();
                    self.connection.prepare_cached("ROLLBACK")?.execute([])?;
                    if error.sqlite_error_code() != Some(ErrorCode::ConstraintViolation) {
                        return Err(error);
                    }
                    let what = format!("the tables contradict each other: {error}");
                    tracing::error!(%what, "a change met damaged data");
                    damaged.push((place, StoreError::Corrupt { what }));
                }
            }
        }
    }

    /// Does every job but the damaged ones; on failure says which one failed.
    fn write_each(
        &mut self,
        jobs: &[Job],
        damaged: &[(usize, StoreError)],
    ) -> Result<Vec<Answer>, (usize, rusqlite::Error)> {
        let mut answers = Vec::with_capacity(jobs.len());
        for (place, job) in jobs.iter().enumerate() {
            if let Some((_, error)) = damaged.iter().find(|(damaged, _)| *damaged == place) {
                answers.push(Err(error.clone()));
                continue;
            }
            match self.write_one(&job.work) {
                Ok(written) => answers.push(Ok(written)),
                Err(Refusal::Refused(error)) => answers.push(Err(error)),
                Err(Refusal::Broken(error)) => return Err((place, error)),
            }
        }
        Ok(answers)
    }

    fn write_one(&mut self, work: &Work) -> Result<Written, Refusal> {
        let connection = self.connection;
        match work {
            // Commits come in batches.
            Work::Commit(_) => Err(Refusal::Refused(super::mixed_up())),
            Work::Publish(new) => {
                let created = modules::publish(connection, new)?;
                Ok(Written::Published { created })
            }
            Work::Removal(removal) => {
                self.shared.overlay.note_removal();
                self.runs.remove(removal).map(Written::Removed)
            }
            Work::Rows(no) => Ok(Written::Removed(remove::rows(connection, *no)?)),
            Work::Schedule(work) => {
                let existed = schedules::apply(connection, work)?;
                Ok(Written::Schedule { existed })
            }
        }
    }

    fn set_durable(&mut self, durable: bool) -> rusqlite::Result<()> {
        if self.durable != durable {
            schema::set_durable(self.connection, durable)?;
            self.durable = durable;
        }
        Ok(())
    }

    /// Sees to SQLite's log after a transaction; returns the bytes that it has grown by.
    fn tend(&mut self) -> rusqlite::Result<u64> {
        let appended = self.gauge.note(self.pages.load(Ordering::Relaxed));
        self.gauge.tend(self.connection, self.checkpointer)?;
        Ok(appended)
    }
}

/// Takes batches from the front, up to other work or until there are enough for a transaction.
fn next_portion(steps: &mut VecDeque<Step>) -> Vec<Batch> {
    let mut portion = Vec::new();
    let (mut commits, mut bytes) = (0, 0);
    while let Some(Step::Batch(_)) = steps.front() {
        if commits >= PORTION_COMMITS || bytes >= PORTION_BYTES {
            break;
        }
        let Some(Step::Batch(batch)) = steps.pop_front() else { break };
        commits += batch.commits.len();
        bytes += batch.bytes;
        portion.push(batch);
    }
    portion
}

/// Applies commits up to batch `last` in one transaction. Returns their runs.
pub(super) fn in_one_transaction<'p>(
    connection: &Connection,
    runs: &mut Runs<'_>,
    commits: impl Iterator<Item = &'p Packed>,
    last: u64,
) -> Result<Vec<RunId>, StoreError> {
    let changes = coalesce(commits);
    begin(connection)?;
    for change in &changes {
        runs.apply(change).map_err(|refusal| contradiction(change.run, refusal))?;
    }
    schema::set_applied(connection, last)?;
    commit(connection)?;
    Ok(changes.iter().map(|change| change.run).collect())
}

/// The rules admitted the commit: when a table refuses it, that holds something else than was written.
fn contradiction(run: RunId, refusal: Refusal) -> StoreError {
    match refusal {
        Refusal::Refused(error) => error,
        Refusal::Broken(error)
            if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) =>
        {
            StoreError::corrupt(format!("run {run}: the tables contradict the log: {error}"))
        }
        Refusal::Broken(error) => error.into(),
    }
}

fn begin(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("BEGIN IMMEDIATE")?.execute([]).map(drop)
}

fn commit(connection: &Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("COMMIT")?.execute([]).map(drop)
}
