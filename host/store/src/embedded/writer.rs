//! The writer thread: takes all jobs that wait, writes them in one transaction, and answers them
//! after its fsync.
//!
//! A job that is refused by the rules is refused alone. A job that the database refuses although
//! the rules admit it has met damaged data: it is answered so, and the batch is written without it.
//! Any other error of the database stops the store.

use crate::StoreError;
use crate::embedded::apply::{Refusal, Runs};
use crate::embedded::checkpoint::{Checkpointer, LogGauge};
use crate::embedded::modules;
use crate::embedded::queue::{Answer, Job, Queue, Work, Written};
use crate::embedded::remove;
use crate::embedded::schedules;
use rusqlite::{Connection, ErrorCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

/// The running writer and its helper.
#[derive(Debug)]
pub(super) struct Writer {
    thread: JoinHandle<()>,
}

impl Writer {
    /// Starts the writer with its connection, and the checkpoints with theirs.
    pub(super) fn start(
        connection: Connection,
        checkpoints: Connection,
        queue: Arc<Queue>,
    ) -> Result<Self, StoreError> {
        let no_thread =
            |error: std::io::Error| StoreError::Unavailable(format!("no thread: {error}"));
        let checkpointer =
            Checkpointer::start(checkpoints, Arc::clone(&queue)).map_err(no_thread)?;
        let thread = std::thread::Builder::new()
            .name("everstep-store".into())
            .spawn(move || {
                let _stop = StopOnPanic(&queue);
                // The jobs are out here so that the reason is known before they are dropped.
                let mut jobs = Vec::new();
                if let Err(error) = work(connection, &queue, &checkpointer, &mut jobs) {
                    queue.fail(error.to_string());
                }
                drop(jobs);
                checkpointer.join();
            })
            .map_err(no_thread)?;
        Ok(Self { thread })
    }

    /// Waits until everything is written. The queue must have been closed.
    pub(super) fn join(self) {
        if self.thread.join().is_err() {
            tracing::error!("the writer thread panicked");
        }
    }
}

/// A panic must not leave committers waiting for ever.
struct StopOnPanic<'q>(&'q Queue);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail("its writer panicked".to_owned());
        }
    }
}

fn work(
    mut connection: Connection,
    queue: &Queue,
    checkpointer: &Checkpointer,
    jobs: &mut Vec<Job>,
) -> rusqlite::Result<()> {
    // Until the first transaction the log is as it was found.
    let before: u32 = connection
        .query_row("PRAGMA wal_checkpoint(NOOP)", [], |row| row.get::<_, i64>(1))
        .map(|pages| u32::try_from(pages).unwrap_or(0))?;
    let log_pages = Arc::new(AtomicU32::new(before));
    let noted = Arc::clone(&log_pages);
    connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
        noted.store(pages.unsigned_abs(), Ordering::Relaxed);
        Ok(())
    }))?;
    let connection = &connection;
    let mut gauge = LogGauge::new(before);
    let mut runs = Runs::prepare(connection)?;
    let mut last = 1;
    while queue.take(jobs, last) {
        last = jobs.len();
        let answers = write(connection, &mut runs, jobs)?;
        let is_commit =
            |(job, answer): &(&Job, &Answer)| answer.is_ok() && matches!(job.work, Work::Commit(_));
        let commits = jobs.iter().zip(&answers).filter(is_commit).count() as u64;
        let fsyncs = u64::from(answers.iter().any(Result::is_ok));
        let bytes = gauge.note(log_pages.load(Ordering::Relaxed));
        queue.count(commits, fsyncs, bytes);
        for (job, answer) in jobs.drain(..).zip(answers) {
            // Nobody listens when the committer has gone away; it is written all the same.
            let _ = job.answer.send(answer);
        }
        gauge.tend(connection, checkpointer)?;
    }
    Ok(())
}

/// Writes a batch in one transaction. When this returns `Ok`, all answers are true and durable.
fn write(
    connection: &Connection,
    runs: &mut Runs<'_>,
    jobs: &[Job],
) -> rusqlite::Result<Vec<Answer>> {
    // Jobs that the database refused, by their place in the batch. One more in every round.
    let mut damaged: Vec<(usize, StoreError)> = Vec::new();
    loop {
        connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        match apply_all(connection, runs, jobs, &damaged) {
            Ok(answers) => {
                connection.prepare_cached("COMMIT")?.execute([])?;
                return Ok(answers);
            }
            Err((place, error)) => {
                runs.forget();
                connection.prepare_cached("ROLLBACK")?.execute([])?;
                if error.sqlite_error_code() != Some(ErrorCode::ConstraintViolation) {
                    return Err(error);
                }
                let what = format!("the tables contradict each other: {error}");
                tracing::error!(%what, "a commit met damaged data");
                damaged.push((place, StoreError::Corrupt { what }));
            }
        }
    }
}

/// Applies every job but the damaged ones; on failure says which job failed.
fn apply_all(
    connection: &Connection,
    runs: &mut Runs<'_>,
    jobs: &[Job],
    damaged: &[(usize, StoreError)],
) -> Result<Vec<Answer>, (usize, rusqlite::Error)> {
    let mut answers = Vec::with_capacity(jobs.len());
    for (place, job) in jobs.iter().enumerate() {
        if let Some((_, error)) = damaged.iter().find(|(damaged, _)| *damaged == place) {
            answers.push(Err(error.clone()));
            continue;
        }
        let applied = match &job.work {
            Work::Commit(packed) => runs.apply(packed).map(|()| Written::Commit),
            Work::Publish(new) => {
                modules::publish(connection, new).map(|created| Written::Published { created })
            }
            Work::Removal(removal) => runs.remove(removal).map(Written::Removed),
            Work::Rows(no) => {
                remove::rows(connection, *no).map(Written::Removed).map_err(Refusal::Broken)
            }
            Work::Schedule(work) => {
                schedules::apply(connection, work).map(|existed| Written::Schedule { existed })
            }
        };
        match applied {
            Ok(written) => answers.push(Ok(written)),
            Err(Refusal::Refused(error)) => answers.push(Err(error)),
            Err(Refusal::Broken(error)) => return Err((place, error)),
        }
    }
    Ok(answers)
}
