//! Driving one run: from the lease until there is nothing to do but wait for a timer.
//!
//! The loop asks the state machine what is due, activates the guest, collects what was decided into
//! one commit, makes that durable, and only then starts effects. Invariant: what is not durable can
//! be thrown away. A conflict or an interrupted activation drops run and guest and loads them
//! anew; task results that had come in by then are kept aside and used again.

mod stop;
mod stuck;
mod tell;

use super::causes;
use super::executions::Executions;
use super::gates::Gates;
use super::load::{self, LoadError, Modules};
use super::snapshots::{Cost, Snapshots};
use super::tasks::Ended;
use super::warm::{Resting, Warm};
use crate::link::{HandBack, HostLink, LinkError};
use everstep_core::{
    Activation, Commit, Delivery, Finished, Input, JournalEvent, LogLine, Next, Record, Refusal,
    Run, Token,
};
use everstep_engine::{ActivationError, Engine, Module, RunContext};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use stop::Stop;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::Instant;

/// Activations that may be decided before a commit.
const BATCH_ENTRIES: usize = 256;
/// Bytes of task results and log lines that may be decided before a commit.
const BATCH_BYTES: usize = 8 << 20;
/// How often an activation that the host interrupted is repeated before the run counts as stuck.
const INTERRUPTIONS_MAX: u32 = 3;

/// What all drivers of a host share.
pub(super) struct Parts {
    pub(super) link: Arc<dyn HostLink>,
    pub(super) engine: Arc<Engine>,
    pub(super) modules: Arc<Modules>,
    pub(super) warm: Arc<Warm>,
    pub(super) tasks: Arc<Semaphore>,
    pub(super) gates: Arc<Gates>,
    /// Runs that were rebuilt.
    pub(super) replays: Arc<AtomicU64>,
    pub(super) drain: Duration,
    pub(super) audit: bool,
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) draining: watch::Receiver<bool>,
}

/// What ends a wait.
enum Woken {
    ByTask,
    ByTimer,
    Moved,
    Draining,
}

pub(super) struct Driver<'a> {
    parts: &'a Parts,
    record: Record,
    token: Token,
    moved: Arc<Notify>,
    executions: Executions,
    staged: Option<Commit>,
    staged_bytes: usize,
    interruptions: u32,
    /// The record may be older than the journal.
    behind: bool,
    /// When messages that may have been lost are to be sent again.
    resend_at: Option<Instant>,
}

impl<'a> Driver<'a> {
    pub(super) fn new(parts: &'a Parts, record: Record, token: Token, moved: Arc<Notify>) -> Self {
        Self {
            parts,
            record,
            token,
            moved,
            executions: Executions::default(),
            staged: None,
            staged_bytes: 0,
            interruptions: 0,
            behind: false,
            resend_at: None,
        }
    }

    /// Drives the run as far as it goes. None when the lease was lost.
    pub(super) async fn drive(mut self) -> Option<HandBack> {
        loop {
            let stop = match self.run_once().await {
                Ok(never) => match never {},
                Err(stop) => stop,
            };
            match stop {
                Stop::Back(how) => return Some(how),
                Stop::Lost => return None,
                Stop::Stuck(why) => match self.get_stuck(why.0, why.1).await {
                    Stop::Reload => {}
                    Stop::Lost => return None,
                    Stop::Back(how) => return Some(how),
                    Stop::Stuck(why) => {
                        tracing::error!(run = %self.record.id(), code = why.0.code, "stuck twice");
                        return Some(HandBack::Later(Duration::from_secs(10)));
                    }
                },
                Stop::Reload => {}
            }
            self.staged = None;
            self.executions.undo();
            self.behind = true;
        }
    }

    async fn run_once(&mut self) -> Result<std::convert::Infallible, Stop> {
        let parts = self.parts;
        if self.behind {
            // The run may have another module by now.
            let record = parts.link.record(self.record.id()).await.map_err(LoadError::from)?;
            self.record = record.ok_or(Stop::Back(HandBack::Idle(None)))?;
        }
        if self.record.is_terminal() {
            let run = load::fold(&self.record, &*parts.link).await?;
            return self.wind_up(run).await;
        }
        let (id, digest) = (self.record.id(), self.record.origin.digest);
        let module = parts.modules.get(digest, &*parts.link, &parts.engine).await?;
        let mut guest = match parts.warm.take(id, self.record.length) {
            Some(resting) => resting,
            None => {
                if self.record.attempt_under_way().is_some() {
                    parts.replays.fetch_add(1, Ordering::Relaxed);
                }
                load::load(&self.record, &module, &*parts.link, self.behind).await?
            }
        };
        self.correct_record(&guest);
        self.executions.stop_stale(&guest.run);
        loop {
            self.advance(&mut guest, &module).await?;
            self.flush().await?;
            for op in guest.run.stop_tasks() {
                self.executions.stop(op);
            }
            if guest.run.record().is_terminal() {
                parts.snapshots.forget(&guest).await;
                self.executions.finish_stopping().await;
                return self.wind_up(guest.run).await;
            }
            parts.snapshots.consider(&mut guest);
            if self.may_send(&guest) {
                self.send_messages(&mut guest, &module).await?;
                continue;
            }
            // A commit takes only so much; what is left must not wait for something to happen.
            if self.executions.has_ended() {
                continue;
            }
            if *parts.draining.borrow() && self.executions.is_quiet() {
                return Err(Stop::Back(HandBack::Now));
            }
            self.start_tasks(&mut guest, &module);
            let until = match guest.run.next(self.parts.link.now()) {
                Next::Wait(until) => until,
                Next::Ended => return Err(Stop::Back(HandBack::Idle(None))),
                Next::Deliver(_) | Next::Decide(_) => continue,
            };
            // Asking what is next may have released retries that came due just now.
            self.start_tasks(&mut guest, &module);
            if self.executions.is_idle() && !guest.run.has_startable_tasks() {
                if guest.run.has_messages() {
                    return Err(Stop::Back(HandBack::Later(tell::RESEND)));
                }
                return self.rest(guest);
            }
            self.wait(&mut guest, until).await?;
        }
    }

    /// A run that was stuck and is asked to go on is queued, whatever its journal says. Where the
    /// stored record differs from what the journal tells, it is written again with the next commit.
    fn correct_record(&mut self, guest: &Resting) {
        let told = |record: &Record| (record.state.kind(), record.wake_at, record.ready);
        let (stored, derived) = (&self.record, guest.run.record());
        if stored.length == derived.length && told(stored) != told(derived) {
            self.staged = Some(guest.run.restate());
        }
        self.record = derived.clone();
    }

    /// Decides everything that can be decided now, up to the size of one commit.
    async fn advance(&mut self, guest: &mut Resting, module: &Arc<Module>) -> Result<(), Stop> {
        while !self.batch_is_full() {
            let now = self.parts.link.now();
            if let Some(ended) = self.executions.next_ended() {
                self.task_ended(guest, module, ended).await?;
                continue;
            }
            match guest.run.next(now) {
                Next::Deliver(delivery) => {
                    self.activate(guest, module, delivery, Vec::new()).await?;
                }
                Next::Decide(input) => self.decide(&mut guest.run, input)?,
                Next::Wait(_) | Next::Ended => break,
            }
            if guest.run.record().is_terminal() {
                break;
            }
        }
        Ok(())
    }

    fn batch_is_full(&self) -> bool {
        let entries = self.staged.as_ref().map_or(0, |staged| staged.entries.len());
        self.staged_bytes >= BATCH_BYTES || entries >= BATCH_ENTRIES
    }

    async fn task_ended(
        &mut self,
        guest: &mut Resting,
        module: &Arc<Module>,
        ended: Ended,
    ) -> Result<(), Stop> {
        self.staged_bytes += ended.bytes();
        let Ended { op, attempt, result, logs, progress } = ended;
        if guest.run.task_attempt(op) != Some(attempt) {
            // The journal has what became of it, although the commit seemed to have failed.
            return Ok(());
        }
        let now = self.parts.link.now();
        let finished = guest.run.finish_attempt(op, result, logs.clone(), progress, now);
        self.finish(guest, module, finished, logs).await
    }

    async fn finish(
        &mut self,
        guest: &mut Resting,
        module: &Arc<Module>,
        finished: Finished,
        logs: Vec<LogLine>,
    ) -> Result<(), Stop> {
        match finished {
            Finished::Ignored => Ok(()),
            Finished::Decide(input) => self.decide(&mut guest.run, input),
            Finished::Deliver(delivery) => self.activate(guest, module, delivery, logs).await,
        }
    }

    async fn activate(
        &mut self,
        guest: &mut Resting,
        module: &Arc<Module>,
        delivery: Delivery,
        mut logs: Vec<LogLine>,
    ) -> Result<(), Stop> {
        let mut activation = match self.call_guest(guest, module, &delivery) {
            Ok(activation) => activation,
            Err(ActivationError::Stuck(cause)) => {
                // What was decided before stands; it must be durable before the run gets stuck.
                self.flush().await?;
                return Err(Stop::stuck(cause, Some(delivery)));
            }
            Err(ActivationError::Interrupted) => return Err(self.interrupted(delivery).await),
            Err(error) => {
                tracing::warn!(run = %self.record.id(), %error, "a guest could not be activated");
                return Err(Stop::Back(HandBack::Later(Duration::from_millis(500))));
            }
        };
        logs.append(&mut activation.logs);
        activation.logs = logs;
        self.staged_bytes += activation.bytes();
        let undelivered = delivery.clone();
        match self.decide(&mut guest.run, Input::Activated { delivery, activation }) {
            Err(Stop::Stuck(why)) => {
                self.flush().await?;
                Err(Stop::stuck(why.0, Some(undelivered)))
            }
            decided => decided,
        }
    }

    fn call_guest(
        &self,
        guest: &mut Resting,
        module: &Arc<Module>,
        delivery: &Delivery,
    ) -> Result<Activation, ActivationError> {
        use everstep_core::Completion;
        if let Completion::Start { attempt, .. } = &delivery.completion {
            guest.instance = None;
            // Not from our own record: the run may have begun anew in this very batch.
            let record = guest.run.record();
            let context = RunContext::of(&record.origin, record.first, *attempt);
            guest.instance = Some(module.instantiate(context)?);
            guest.cost = Cost::default();
        }
        let Some(instance) = &mut guest.instance else { return Err(ActivationError::Discarded) };
        let begun = std::time::Instant::now();
        let mut activation = instance.activate(delivery, guest.run.input())?;
        self.parts.snapshots.worked(&mut guest.cost, begun.elapsed());
        if self.parts.audit {
            activation.state = instance.state_hash()?;
        }
        Ok(activation)
    }

    async fn interrupted(&mut self, delivery: Delivery) -> Stop {
        self.interruptions += 1;
        tracing::warn!(run = %self.record.id(), "an activation took too long");
        if self.interruptions < INTERRUPTIONS_MAX {
            return Stop::Reload;
        }
        match self.flush().await {
            Ok(()) => Stop::stuck(causes::interrupted(INTERRUPTIONS_MAX), Some(delivery)),
            Err(stop) => stop,
        }
    }

    fn decide(&mut self, run: &mut Run, input: Input) -> Result<(), Stop> {
        let commit = match run.handle(input, self.parts.link.now()) {
            Ok(commit) => commit,
            Err(Refusal::Limit { code, message }) => {
                return Err(Stop::stuck(causes::limit(code, message), None));
            }
            Err(refusal) => {
                tracing::error!(run = %self.record.id(), %refusal, "a decision was refused");
                return Err(Stop::Back(HandBack::Later(Duration::from_secs(1))));
            }
        };
        self.staged = Some(match self.staged.take() {
            Some(staged) => staged.then(commit),
            None => commit,
        });
        Ok(())
    }

    /// Makes what was decided durable.
    async fn flush(&mut self) -> Result<(), Stop> {
        self.staged_bytes = 0;
        let Some(mut commit) = self.staged.take() else {
            self.executions.decided();
            return Ok(());
        };
        commit.token = Some(self.token);
        let record = commit.record.clone();
        match self.parts.link.commit(commit).await {
            Ok(()) => {
                self.record = record;
                self.executions.decided();
                self.interruptions = 0;
                Ok(())
            }
            Err(LinkError::Conflict) => Err(Stop::Reload),
            Err(LinkError::LeaseLost) => Err(Stop::Lost),
            Err(LinkError::TooLarge(message)) => {
                Err(Stop::stuck(causes::limit("limit.commit_bytes", message), None))
            }
            Err(error) => {
                tracing::error!(run = %self.record.id(), %error, "a commit failed");
                Err(Stop::Back(HandBack::Later(Duration::from_secs(1))))
            }
        }
    }

    fn start_tasks(&mut self, guest: &mut Resting, module: &Arc<Module>) {
        if *self.parts.draining.borrow() {
            return;
        }
        let calls = guest.run.start_tasks(self.parts.link.now(), self.executions.room());
        let (id, limits) = (self.record.id(), self.record.origin.limits);
        self.executions.begin(id, limits, module, self.parts, calls);
    }

    /// Waits until a task ends, a timer is due, or something happened to the run.
    async fn wait(
        &mut self,
        guest: &mut Resting,
        until: Option<everstep_core::Timestamp>,
    ) -> Result<(), Stop> {
        let nap = until.map(|at| Duration::from_millis(at.since(self.parts.link.now())));
        let resend = self.resend_at.filter(|_| guest.run.has_messages());
        let mut draining = self.parts.draining.clone();
        let woken = tokio::select! {
            () = tokio::time::sleep_until(resend.unwrap_or_else(Instant::now)), if resend.is_some() => {
                Woken::ByTimer
            }
            () = self.executions.wait() => Woken::ByTask,
            () = tokio::time::sleep(nap.unwrap_or(Duration::MAX)), if nap.is_some() => Woken::ByTimer,
            () = self.moved.notified() => Woken::Moved,
            () = async { drop(draining.wait_for(|draining| *draining).await) } => Woken::Draining,
        };
        match woken {
            Woken::ByTask | Woken::ByTimer => Ok(()),
            Woken::Moved => self.catch_up(guest).await,
            Woken::Draining => self.wind_down(guest).await,
        }
    }

    /// Takes in what came into the journal from outside.
    async fn catch_up(&mut self, guest: &mut Resting) -> Result<(), Stop> {
        loop {
            let length = guest.run.record().length;
            let tail = self.parts.link.journal(self.record.id(), length).await;
            let tail = tail.map_err(LoadError::from)?;
            if tail.is_empty() {
                self.record = guest.run.record().clone();
                return Ok(());
            }
            for entry in &tail {
                let upgraded = matches!(entry.event, JournalEvent::RunUpgraded { .. });
                if upgraded || guest.run.absorb(entry).is_err() {
                    return Err(Stop::Reload);
                }
            }
        }
    }

    /// The server goes down: lets task attempts end within the limit, keeps their results.
    async fn wind_down(&mut self, guest: &mut Resting) -> Result<(), Stop> {
        self.executions.wind_down(self.parts.drain).await;
        let (digest, parts) = (self.record.origin.digest, self.parts);
        let module = parts.modules.get(digest, &*parts.link, &parts.engine).await?;
        loop {
            self.advance(guest, &module).await?;
            self.flush().await?;
            if !self.executions.has_ended() || guest.run.record().is_terminal() {
                return Err(Stop::Back(HandBack::Now));
            }
        }
    }

    fn rest<T>(&mut self, mut guest: Resting) -> Result<T, Stop> {
        self.parts.snapshots.at_rest(&mut guest);
        let wake_at = guest.run.record().wake_at;
        self.parts.snapshots.evicted(self.parts.warm.put(guest));
        Err(Stop::Back(HandBack::Idle(wake_at)))
    }
}
