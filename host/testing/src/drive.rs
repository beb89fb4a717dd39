//! Driving runs as a host does: ask the state machine what is due, activate the guest, make what was
//! decided durable, and only then start effects. Each decision is a commit of its own here, so that a
//! crash can come between any two. Invariant: what is in `guests` can be thrown away at any time.

use crate::replay::{Replay, stuck};
use crate::world::World;
use everstep_core::{
    Activation, Commit, Completion, Delivery, Finished, Input, JournalEvent, LogLine, Next, Record,
    Refusal, Run, RunId, StuckCause, Timestamp,
};
use everstep_engine::{RunContext, WorkflowInstance};

/// Task attempts that one run begins at once.
const MOST_TASKS: usize = 1_000;
/// Guests that are kept in memory; the others are replayed when they are needed.
const MOST_GUESTS: usize = 64;
/// Steps at one instant before a world counts as one that never comes to rest.
const MOST_STEPS: usize = 1_000_000;

/// A run in the memory of a host.
pub(crate) struct Guest {
    run: Run,
    instance: Option<WorkflowInstance>,
}

/// What a step leads to.
enum Step {
    Again,
    /// Nothing before this time.
    Rest(Option<Timestamp>),
}

/// Why a step broke off. The guest is gone.
enum Stop {
    Crash,
    /// The run cannot go on. The delivery could not be made.
    Stuck(Box<(StuckCause, Option<Delivery>)>),
}

impl Stop {
    fn stuck(cause: StuckCause, undelivered: Option<Delivery>) -> Self {
        Self::Stuck(Box::new((cause, undelivered)))
    }
}

impl World {
    /// Drives a run as far as it goes at this instant.
    pub(crate) fn drive(&mut self, id: RunId) {
        loop {
            self.steps += 1;
            assert!(
                self.steps < MOST_STEPS,
                "without an end in time, something happens again and again: {}",
                self.explain(id)
            );
            match self.step(id) {
                Ok(Step::Again) => {}
                Ok(Step::Rest(until)) => break self.store.rests(id, until),
                Err(Stop::Crash) => self.guests.clear(),
                Err(Stop::Stuck(why)) => self.get_stuck(id, why.0, why.1),
            }
        }
        if self.guests.len() > MOST_GUESTS {
            self.guests.pop_first();
        }
    }

    fn step(&mut self, id: RunId) -> Result<Step, Stop> {
        let mut guest = match self.guests.remove(&id) {
            Some(guest) => guest,
            None => self.revive(id)?,
        };
        self.catch_up(&mut guest);
        if guest.run.record().is_terminal() {
            return self.wind_up(guest);
        }
        let step = match guest.run.next(self.now) {
            Next::Deliver(delivery) => {
                self.activate(&mut guest, delivery, Vec::new())?;
                Step::Again
            }
            Next::Decide(input) => {
                self.decide(&mut guest.run, input)?;
                Step::Again
            }
            Next::Ended => return Ok(Step::Rest(None)),
            Next::Wait(until) => self.tend(&mut guest, until)?,
        };
        self.guests.insert(id, guest);
        Ok(step)
    }

    /// What is to be done for a run whose guest waits.
    fn tend(&mut self, guest: &mut Guest, until: Option<Timestamp>) -> Result<Step, Stop> {
        let id = guest.run.record().id();
        for op in guest.run.stop_tasks() {
            self.tasks.keep(id, |other| other != op);
        }
        if let Some((message, what)) = guest.run.take_messages(1).pop() {
            let reply = self.deliver(id, what);
            self.catch_up(guest);
            let finished = guest.run.answered(message, reply, self.now);
            self.finish(guest, finished, Vec::new())?;
            return Ok(Step::Again);
        }
        for call in guest.run.start_tasks(self.now, MOST_TASKS) {
            self.tasks.begin(id, call, self.now);
        }
        let Some(attempt) = self.tasks.over(id, self.now) else {
            self.correct_record(&guest.run);
            return Ok(Step::Rest(until));
        };
        let (module, limits) = {
            let origin = &guest.run.record().origin;
            (self.modules.get(origin.digest), origin.limits)
        };
        let ended = self.tasks.finish(&attempt, &module, limits, self.now);
        let (op, logs) = (attempt.call.op, ended.logs);
        let finished =
            guest.run.finish_attempt(op, ended.result, logs.clone(), ended.progress, self.now);
        match finished {
            Finished::Ignored => self.tasks.keep(id, |other| other != op),
            finished => self.finish(guest, finished, logs)?,
        }
        Ok(Step::Again)
    }

    /// Tells other runs what a run that has ended still has to say. The guest is not needed.
    fn wind_up(&mut self, mut guest: Guest) -> Result<Step, Stop> {
        let id = guest.run.record().id();
        self.tasks.keep(id, |_| false);
        guest.instance = None;
        let Some((message, what)) = guest.run.take_messages(1).pop() else {
            self.correct_record(&guest.run);
            return Ok(Step::Rest(None));
        };
        let reply = self.deliver(id, what);
        if let Finished::Decide(input) = guest.run.answered(message, reply, self.now) {
            self.decide(&mut guest.run, input)?;
        }
        self.guests.insert(id, guest);
        Ok(Step::Again)
    }

    fn finish(
        &mut self,
        guest: &mut Guest,
        finished: Finished,
        logs: Vec<LogLine>,
    ) -> Result<(), Stop> {
        match finished {
            Finished::Ignored => Ok(()),
            Finished::Decide(input) => self.decide(&mut guest.run, input),
            Finished::Deliver(delivery) => self.activate(guest, delivery, logs),
        }
    }

    fn activate(
        &mut self,
        guest: &mut Guest,
        delivery: Delivery,
        mut logs: Vec<LogLine>,
    ) -> Result<(), Stop> {
        let mut activation = self
            .call(guest, &delivery)
            .map_err(|cause| Stop::stuck(cause, Some(delivery.clone())))?;
        logs.append(&mut activation.logs);
        activation.logs = logs;
        let input = Input::Activated { delivery: delivery.clone(), activation };
        match self.decide(&mut guest.run, input) {
            Err(Stop::Stuck(why)) => Err(Stop::stuck(why.0, Some(delivery))),
            decided => decided,
        }
    }

    fn call(&self, guest: &mut Guest, delivery: &Delivery) -> Result<Activation, StuckCause> {
        let record = guest.run.record();
        let id = record.id();
        if let Completion::Start { attempt, .. } = &delivery.completion {
            // The old instance must be gone before there is a new one.
            guest.instance = None;
            let context = RunContext::of(&record.origin, record.first, *attempt);
            let module = self.modules.get(record.origin.digest);
            guest.instance = Some(module.instantiate(context).map_err(|e| stuck(id, e))?);
        }
        let Some(instance) = &mut guest.instance else {
            panic!("run {id} is told something, but its attempt has not begun");
        };
        instance.activate(delivery, guest.run.input()).map_err(|e| stuck(id, e))
    }

    fn decide(&mut self, run: &mut Run, input: Input) -> Result<(), Stop> {
        match run.handle(input, self.now) {
            Ok(commit) => self.commit(commit),
            Err(Refusal::Limit { code, message }) => {
                let remedy = "Ask for less at once, for example in batches.".into();
                let cause = StuckCause { code: code.into(), message, remedy, divergence: None };
                Err(Stop::stuck(cause, None))
            }
            Err(refusal) => {
                panic!("a decision about run {} is wrong: {refusal}", run.record().id())
            }
        }
    }

    /// Makes a decision of a host durable, and crashes around it when that is wanted.
    fn commit(&mut self, commit: Commit) -> Result<(), Stop> {
        let place = (commit.run_id(), commit.expected_length);
        if self.crashes && self.crashed_at.replace(place) != Some(place) {
            return Err(Stop::Crash);
        }
        self.apply(commit);
        if self.crashes { Err(Stop::Crash) } else { Ok(()) }
    }

    /// Makes a commit true. An attempt whose end is in the journal is over.
    pub(crate) fn apply(&mut self, commit: Commit) {
        let id = commit.run_id();
        for entry in &commit.entries {
            if let JournalEvent::TaskCompleted { op, .. }
            | JournalEvent::TaskFailed { op, .. }
            | JournalEvent::TaskAttemptFailed { op, .. }
            | JournalEvent::OperationCancelled { op } = &entry.event
            {
                self.tasks.keep(id, |other| other != *op);
            }
        }
        self.store.apply(commit, self.now);
    }

    /// Takes in what came from outside.
    fn catch_up(&self, guest: &mut Guest) {
        let id = guest.run.record().id();
        for entry in self.store.get(id).since(guest.run.record().length) {
            let absorbed = guest.run.absorb(entry);
            absorbed.unwrap_or_else(|refusal| panic!("the journal of run {id}: {refusal}"));
        }
    }

    /// What comes from outside is decided without the journal, so the record may say that a host is
    /// needed where it is not.
    fn correct_record(&mut self, run: &Run) {
        let told = |record: &Record| (record.state.kind(), record.wake_at, record.ready);
        if told(&self.store.get(run.record().id()).record) != told(run.record()) {
            self.apply(run.restate());
        }
    }

    /// Brings a run back to life: its state machine by a fold, its guest by a replay.
    fn revive(&mut self, id: RunId) -> Result<Guest, Stop> {
        let run = self.fold(id);
        let stored = self.store.get(id);
        let record = &stored.record;
        let instance = match record.attempt_under_way() {
            Some(attempt) => {
                let module = self.modules.get(record.origin.digest);
                let replay = Replay::new(module, &record.origin, record.first, Some(attempt));
                let replayed = replay.through(stored.current());
                replayed.map_err(|cause| Stop::stuck(cause, None))?.0
            }
            None => None,
        };
        self.tasks.keep(id, |op| run.is_pending(op));
        Ok(Guest { run, instance })
    }

    /// Rebuilds the state machine of a run.
    pub(crate) fn fold(&self, id: RunId) -> Run {
        let stored = self.store.get(id);
        let record = &stored.record;
        let fold = || {
            let mut run = None;
            for entry in stored.current() {
                Run::fold_on(&mut run, entry, record)?;
            }
            if let Some(run) = &mut run {
                run.adopt(record)?;
            }
            Ok::<_, Refusal>(run)
        };
        let run = fold().unwrap_or_else(|refusal| panic!("the journal of run {id}: {refusal}"));
        run.unwrap_or_else(|| panic!("the journal of run {id} is empty"))
    }

    /// Notes that a run is stuck. The guest is gone; the journal stays as it is.
    fn get_stuck(&mut self, id: RunId, cause: StuckCause, undelivered: Option<Delivery>) {
        let mut run = self.fold(id);
        match run.handle(Input::Stuck { cause, undelivered }, self.now) {
            Ok(commit) => self.apply(commit),
            Err(refusal) => panic!("run {id} cannot even get stuck: {refusal}"),
        }
    }
}
