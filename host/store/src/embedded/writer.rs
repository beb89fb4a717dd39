//! The writer thread: takes all jobs that wait, judges the commits, appends the admitted ones to the
//! log as one batch, and answers them after its fsync. Then it hands them to the applier.
//!
//! A commit that is refused is refused alone, after the fsync too: what it was refused for may be in
//! the same batch. Other work goes to the applier, in order behind the commits in front of it. Any
//! error of the disk or the database stops the store.

use crate::StoreError;
use crate::admission::Head;
use crate::embedded::backlog::{Backlog, Batch, Stopped};
use crate::embedded::judge::Judge;
use crate::embedded::log::Log;
use crate::embedded::overlay::Overlay;
use crate::embedded::queue::{Answer, Job, Queue, Work, Written};
use crate::embedded::refusal::Refusal;
use crate::embedded::rows::Packed;
use everstep_core::RunId;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// What the writer shares with others.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) queue: Arc<Queue>,
    pub(super) overlay: Arc<Overlay>,
    pub(super) backlog: Arc<Backlog>,
}

impl Shared {
    /// Stops the store for good.
    pub(super) fn fail(&self, reason: String) {
        self.queue.fail(reason);
        self.backlog.stop();
    }

    /// Starts a thread that stops the store when it panics: nobody must wait for it for ever.
    pub(super) fn spawn(
        &self,
        name: &str,
        work: impl FnOnce(&Self) + Send + 'static,
    ) -> Result<JoinHandle<()>, StoreError> {
        struct StopOnPanic(Shared);
        impl Drop for StopOnPanic {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.fail("one of its threads panicked".to_owned());
                }
            }
        }
        let guard = StopOnPanic(self.clone());
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                let guard = guard;
                work(&guard.0);
            })
            .map_err(|error| StoreError::Unavailable(format!("no thread: {error}")))
    }
}

/// The writer thread's own.
pub(super) struct Desk {
    judge: Judge,
    log: Log,
    /// What was taken from the queue. It outlives an error, so that the reason is known before these
    /// are dropped.
    jobs: VecDeque<Job>,
    group: Group,
    /// Runs that are being removed, with the ticket of that work.
    leaving: HashMap<RunId, u64>,
}

/// Jobs that are decided and not answered.
#[derive(Default)]
struct Group {
    admitted: Vec<(Arc<Packed>, Head, oneshot::Sender<Answer>)>,
    refused: Vec<(StoreError, oneshot::Sender<Answer>)>,
}

impl Desk {
    pub(super) fn new(judge: Judge, log: Log) -> Self {
        let (jobs, group, leaving) = (VecDeque::new(), Group::default(), HashMap::new());
        Self { judge, log, jobs, group, leaving }
    }

    /// Works until the queue is closed and empty, or something fails.
    pub(super) fn work(mut self, shared: &Shared) {
        let mut last = 1;
        let mut jobs = Vec::new();
        while shared.queue.take(&mut jobs, last) {
            last = jobs.len();
            self.jobs.extend(jobs.drain(..));
            match self.do_all(shared) {
                Ok(()) => {}
                Err(Failure::Stopped) => return,
                Err(Failure::Broken(reason)) => {
                    shared.fail(reason);
                    return;
                }
            }
        }
    }

    fn do_all(&mut self, shared: &Shared) -> Result<(), Failure> {
        while let Some(job) = self.jobs.front() {
            match &job.work {
                Work::Commit(commit) => {
                    let commit = Arc::clone(commit);
                    self.wait_until_left(commit.run, shared)?;
                    let verdict = match self.judge.admit(&commit) {
                        Ok(head) => Ok(head),
                        Err(Refusal::Refused(error)) => Err(error),
                        Err(Refusal::Broken(error)) => return Err(error.into()),
                    };
                    let Some(job) = self.jobs.pop_front() else { break };
                    match verdict {
                        Ok(head) => self.group.admitted.push((commit, head, job.answer)),
                        Err(error) => self.group.refused.push((error, job.answer)),
                    }
                }
                work => {
                    let removed = match work {
                        Work::Removal(removal) => Some(removal.run()),
                        _ => None,
                    };
                    self.finish_group(shared)?;
                    let Some(job) = self.jobs.pop_front() else { break };
                    let ticket = shared.backlog.push_work(job);
                    if let Some(run) = removed {
                        self.judge.forget(run);
                        let done = shared.backlog.works_done();
                        self.leaving.retain(|_, ticket| *ticket > done);
                        self.leaving.insert(run, ticket);
                    }
                }
            }
        }
        self.finish_group(shared)
    }

    /// A commit to a run that is just being removed waits for that, and all behind it. It is rare:
    /// only runs that have ended are removed.
    fn wait_until_left(&mut self, run: RunId, shared: &Shared) -> Result<(), Failure> {
        let Some(ticket) = self.leaving.get(&run).copied() else { return Ok(()) };
        self.finish_group(shared)?;
        shared.backlog.wait_for_work(ticket)?;
        self.leaving.remove(&run);
        Ok(())
    }

    /// Makes durable what was admitted, and answers.
    fn finish_group(&mut self, shared: &Shared) -> Result<(), Failure> {
        if !self.group.admitted.is_empty() {
            let batch = self.append(shared)?;
            for (commit, head, _) in &self.group.admitted {
                shared.overlay.add(batch.number, Arc::clone(commit), *head);
            }
            shared.backlog.push(batch);
            self.judge.settle();
        }
        // Nobody listens when the committer has gone away; it is written all the same.
        for (_, _, answer) in self.group.admitted.drain(..) {
            let _ = answer.send(Ok(Written::Commit));
        }
        for (error, answer) in self.group.refused.drain(..) {
            let _ = answer.send(Err(error));
        }
        Ok(())
    }

    /// Appends what was admitted to the log.
    fn append(&mut self, shared: &Shared) -> Result<Batch, Failure> {
        let admitted = &self.group.admitted;
        let bytes: usize = admitted.iter().map(|(commit, ..)| commit.bytes()).sum();
        shared.backlog.wait_for_room(admitted.len(), bytes)?;
        let written = self.log.pack(admitted.iter().map(|(commit, ..)| commit.as_ref()));
        if let Some(batch) = self.log.must_turn() {
            shared.backlog.wait_until_durable(batch)?;
            let left = self.log.turn()?;
            shared.backlog.leave(left);
        }
        let number = self.log.append()?;
        let commits: Vec<_> = admitted.iter().map(|(commit, ..)| Arc::clone(commit)).collect();
        shared.queue.count(commits.len() as u64, 1, written as u64);
        Ok(Batch { number, commits, bytes })
    }
}

/// Why the writer ends before its time.
enum Failure {
    /// Somebody else has stopped the store.
    Stopped,
    /// The store has to be stopped, for this reason.
    Broken(String),
}

impl From<Stopped> for Failure {
    fn from(Stopped: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Broken(format!("the log cannot be written: {error}"))
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Broken(error.to_string())
    }
}
