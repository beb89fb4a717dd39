//! Tables of the state machine: what each fact means, one by one. `random` plays all of them at once.
#![allow(clippy::unwrap_used)]

mod fork;
mod random;
mod together;

use super::*;
use crate::activation::{Activation, Command, Outcome, TimerDue};
use crate::event::{JournalEvent, SetOutcome};
use crate::{
    ChildRequest, Commit, Digest, Limits, OnParentEnd, Parent, Reply, RetryPolicy, RunId,
    StartOptions, StartRequest, StateKind, Steps, StuckCause, TaskOptions, UserEvent,
};

fn t(ms: u64) -> Timestamp {
    Timestamp::from_millis(1_000_000 + ms)
}

fn request(options: StartOptions) -> StartRequest {
    StartRequest {
        id: RunId::from_key("w", "k"),
        workflow: "w".into(),
        version: "1".into(),
        digest: Digest::of(b"m"),
        engine: 1,
        limits: Limits { pending_operations: 6, ..Limits::default() },
        input: Payload::null(),
        options,
        due: None,
        parent: None,
    }
}

fn json(text: &str) -> Payload {
    Payload::from_bytes(text.as_bytes()).unwrap()
}

/// A run and the journal that is durable.
#[derive(Clone)]
struct Bench {
    journal: Vec<Entry>,
    stored: Record,
    run: Run,
    /// The last commit came from outside.
    outside: bool,
    /// The run as it was some time ago, as a snapshot keeps it.
    image: Vec<u8>,
}

fn packed(run: &Run) -> Vec<u8> {
    rmp_serde::to_vec_named(&RunImage::from(run)).unwrap()
}

impl Bench {
    fn new(options: StartOptions) -> Self {
        let commit = Run::start(request(options), t(0));
        let run = Run::begin(commit.entries.first(), 0, false).unwrap();
        assert_eq!(run.record(), &commit.record);
        let image = packed(&run);
        Self { journal: commit.entries, stored: commit.record, run, outside: false, image }
    }

    fn commit(&mut self, commit: Commit) {
        assert_eq!(commit.expected_length, self.journal.len() as u64);
        self.journal.extend(commit.entries);
        assert_eq!(commit.record.length, self.journal.len() as u64);
        self.stored = commit.record;
    }

    fn deliver(&mut self, now: Timestamp, activation: Activation) -> Delivery {
        let Next::Deliver(delivery) = self.run.next(now) else {
            panic!("nothing to deliver: {:?}", self.run)
        };
        self.activated(now, &delivery, activation);
        delivery
    }

    fn activated(&mut self, now: Timestamp, delivery: &Delivery, activation: Activation) {
        let input = Input::Activated { delivery: delivery.clone(), activation };
        let commit = self.run.handle(input, now).unwrap();
        self.commit(commit);
    }

    fn finish(&mut self, op: u64, result: Result<Payload, Failure>, now: Timestamp) -> Finished {
        self.run.finish_attempt(OpId(op), result, Vec::new(), None, now)
    }

    /// The run as the durable part of its journal tells it.
    fn folded(&self) -> Result<Run, Refusal> {
        let first = self.stored.first;
        let mut run = Run::fold(&self.journal[usize::try_from(first).unwrap()..], first)?;
        run.adopt(&self.stored)?;
        Ok(run)
    }

    /// A host takes the run anew.
    fn crash(&mut self) {
        self.run = self.folded().unwrap();
    }

    /// Something from outside, which the host that has the run hears of.
    fn external(&mut self, input: External, now: Timestamp) -> Result<(), Refusal> {
        let commit = external(&self.stored, input, now)?;
        self.commit(commit);
        self.crash();
        Ok(())
    }

    /// The same, for what the journal refuses.
    fn external_unchecked(&mut self, input: External, now: Timestamp) -> Result<(), Refusal> {
        let commit = external(&self.stored, input, now)?;
        self.commit(commit);
        self.folded().map(|_| ())
    }

    /// Takes all messages and has them answered.
    fn send(&mut self, reply: impl Fn(&Message) -> Reply, now: Timestamp) -> Vec<Message> {
        let taken = self.run.take_messages(99);
        for (id, message) in &taken {
            match self.run.answered(*id, reply(message), now) {
                Finished::Deliver(delivery) => {
                    self.activated(now, &delivery, Activation::default());
                }
                Finished::Decide(input) => {
                    let commit = self.run.handle(input, now).unwrap();
                    self.commit(commit);
                }
                Finished::Ignored => {}
            }
        }
        taken.into_iter().map(|(_, message)| message).collect()
    }
}

fn trap() -> StuckCause {
    let text = String::from("guest.trap");
    StuckCause { code: text.clone(), message: text.clone(), remedy: text, divergence: None }
}

fn task(op: u64, name: &str) -> Command {
    let options = TaskOptions {
        retry: Some(RetryPolicy::Fixed { max_attempts: 2, delay_ms: 50 }),
        ..TaskOptions::default()
    };
    Command::StartTask { op: OpId(op), name: name.into(), input: json("1"), options }
}

fn sleep(op: u64, ms: u64) -> Command {
    Command::StartTimer { op: OpId(op), name: "nap".into(), due: TimerDue::After(ms) }
}

fn awaits(op: u64, name: &str, timeout_ms: Option<u64>) -> Command {
    Command::AwaitEvent { op: OpId(op), name: name.into(), timeout_ms }
}

fn event(name: &str, data: &str) -> Box<UserEvent> {
    Box::new(UserEvent { name: name.into(), data: json(data), reference: None })
}

fn child(op: u64, on_parent_end: OnParentEnd) -> Command {
    let request = ChildRequest {
        workflow: "child".into(),
        version: None,
        input: json("7"),
        options: StartOptions::default(),
        delay_ms: None,
        on_parent_end,
    };
    Command::StartChild { op: OpId(op), request: Box::new(request) }
}

fn asks(commands: Vec<Command>) -> Activation {
    Activation { commands, ..Activation::default() }
}

fn ends(outcome: Outcome) -> Activation {
    Activation { outcome: Some(outcome), ..Activation::default() }
}

fn kinds(run: &Run) -> StateKind {
    run.record().state.kind()
}

#[test]
fn a_task_is_tried_again_after_its_delay_and_its_result_is_delivered_once() {
    let mut b = Bench::new(StartOptions::default());
    b.deliver(t(0), asks(vec![task(1, "a")]));
    assert_eq!(b.run.start_tasks(t(0), 10)[0].attempt, 1);
    let Finished::Decide(input) = b.finish(1, Err(Failure::new("x", "y")), t(10)) else { panic!() };
    let commit = b.run.handle(input, t(10)).unwrap();
    b.commit(commit);
    assert_eq!(kinds(&b.run), StateKind::AwaitingRetry);
    assert_eq!(b.run.next(t(59)), Next::Wait(Some(t(60))));
    assert!(!b.run.has_startable_tasks());
    assert_eq!(b.run.next(t(60)), Next::Wait(None));
    let calls = b.run.start_tasks(t(60), 10);
    assert_eq!((calls[0].attempt, calls[0].idempotency_token.ends_with("/1")), (2, true));
    let Finished::Deliver(d) = b.finish(1, Ok(json("7")), t(70)) else { panic!() };
    b.activated(t(70), &d, ends(Outcome::Completed(json("8"))));
    assert_eq!(kinds(&b.run), StateKind::Completed);
    assert_eq!(b.finish(1, Ok(json("9")), t(80)), Finished::Ignored);
}

#[test]
fn a_failure_that_is_not_retryable_is_final_and_so_is_the_last_attempt() {
    let mut b = Bench::new(StartOptions::default());
    b.deliver(t(0), asks(vec![task(1, "a")]));
    let fatal = Failure::new("x", "y").not_retryable();
    assert!(matches!(b.finish(1, Err(fatal), t(1)), Finished::Deliver(_)));
}

#[test]
fn an_attempt_cut_off_by_a_crash_is_made_again_under_the_same_number() {
    let mut b = Bench::new(StartOptions::default());
    b.deliver(t(0), asks(vec![task(1, "a")]));
    let first = b.run.start_tasks(t(0), 10);
    b.crash();
    assert_eq!(b.run.start_tasks(t(0), 10), first);
}

#[test]
fn timers_never_fire_early_even_when_the_clock_jumps_back() {
    let mut b = Bench::new(StartOptions::default());
    b.deliver(t(0), asks(vec![sleep(1, 100)]));
    assert_eq!(b.run.next(t(99)), Next::Wait(Some(t(100))));
    assert_eq!(b.run.next(t(0)), Next::Wait(Some(t(100))));
    let d = b.deliver(t(100), asks(vec![sleep(2, 0)]));
    assert_eq!(d.at, t(100));
    let d = b.deliver(t(250), ends(Outcome::Completed(json("1"))));
    assert_eq!(d.at, t(250));
}

#[test]
fn a_retried_run_reuses_what_completed_and_tries_the_rest_anew() {
    let retry = Some(RetryPolicy::Fixed { max_attempts: 3, delay_ms: 10 });
    let mut b = Bench::new(StartOptions { retry, ..StartOptions::default() });
    b.deliver(t(0), asks(vec![task(1, "a"), task(2, "a"), sleep(3, 5)]));
    let Finished::Deliver(d) = b.finish(1, Ok(json("\"first\"")), t(1)) else { panic!() };
    b.activated(t(1), &d, asks(vec![]));
    b.deliver(t(5), ends(Outcome::Failed(Failure::new("x", "y"))));
    assert_eq!(kinds(&b.run), StateKind::AwaitingRetry);
    assert_eq!(b.run.next(t(6)), Next::Wait(Some(t(15))));
    b.crash();
    let d = b.deliver(t(15), asks(vec![task(4, "a"), task(5, "a"), sleep(6, 500)]));
    assert!(matches!(d.completion, Completion::Start { attempt: 2, first_op: OpId(4) }));
    b.crash();
    let calls = b.run.start_tasks(t(15), 10);
    assert_eq!(calls.iter().map(|c| c.op).collect::<Vec<_>>(), [OpId(5)]);
    let d = b.deliver(t(16), asks(vec![]));
    let value = OpResult::Value(json("\"first\""));
    assert_eq!(d.completion, Completion::Operation { op: OpId(4), result: value });
    let d = b.deliver(t(16), ends(Outcome::Completed(json("1"))));
    assert_eq!(d.completion, Completion::Operation { op: OpId(6), result: OpResult::Fired });
}

#[test]
fn a_cancel_reaches_the_guest_which_may_clean_up_until_the_grace_is_over() {
    let mut b = Bench::new(StartOptions::default());
    b.deliver(t(0), asks(vec![sleep(1, 1_000)]));
    let wish = External::Cancel { reason: "enough".into(), grace_ms: 100 };
    let commit = external(&b.stored, wish.clone(), t(10)).unwrap();
    let entry = commit.entries[0].clone();
    b.commit(commit);
    b.run.absorb(&entry).unwrap();
    assert_eq!(b.run.record(), &b.stored);
    assert!(matches!(external(&b.stored, wish, t(11)), Err(Refusal::AlreadySo(_))));
    let d = b.deliver(t(12), asks(vec![task(2, "undo")]));
    assert_eq!(d.completion, Completion::CancelRequested { reason: "enough".into() });
    assert_eq!(b.run.next(t(109)), Next::Wait(Some(t(110))));
    let Next::Decide(input) = b.run.next(t(110)) else { panic!() };
    b.run.start_tasks(t(110), 10);
    let commit = b.run.handle(input, t(110)).unwrap();
    b.commit(commit);
    assert_eq!(b.run.stop_tasks(), [OpId(2)]);
    assert_eq!(b.stored.state, RunState::Cancelled { reason: "enough".into() });
}

#[test]
fn a_run_that_has_not_begun_or_is_stuck_is_cancelled_at_once() {
    let wish = External::Cancel { reason: "no".into(), grace_ms: 100 };
    let mut b = Bench::new(StartOptions::default());
    let commit = external(&b.stored, wish.clone(), t(1)).unwrap();
    assert_eq!(commit.record.state.kind(), StateKind::Cancelled);
    b.deliver(t(0), asks(vec![]));
    assert_eq!(kinds(&b.run), StateKind::Stuck, "it waits for nothing");
    let commit = external(&b.stored, wish, t(1)).unwrap();
    b.commit(commit);
    assert_eq!(Run::fold(&b.journal, 0).unwrap().record(), &b.stored);
    let refused = external(&b.stored, External::Retry { outcomes: vec![] }, t(2)).unwrap_err();
    assert_eq!(refused.to_string(), "a run that is cancelled cannot be retried");
}

#[test]
fn stuck_leaves_the_journal_untouched_and_a_retry_goes_on_from_there() {
    let mut b = Bench::new(StartOptions::default());
    b.deliver(t(0), asks(vec![sleep(1, 10)]));
    let length = b.journal.len();
    assert!(matches!(b.run.next(t(10)), Next::Deliver(_)));
    let commit = b.run.handle(Input::Stuck { cause: trap(), undelivered: None }, t(20)).unwrap();
    b.commit(commit);
    assert_eq!((b.journal.len(), b.stored.ready, b.stored.wake_at), (length, false, None));
    b.crash();
    assert_eq!(b.run.next(t(30)), Next::Ended);
    let commit = external(&b.stored, External::Retry { outcomes: vec![] }, t(30)).unwrap();
    b.commit(commit);
    b.crash();
    assert!(b.stored.ready);
    b.deliver(t(30), ends(Outcome::Completed(json("1"))));
}

#[test]
fn a_result_that_could_not_be_delivered_is_kept_and_delivered_after_the_retry() {
    let mut b = Bench::new(StartOptions::default());
    b.deliver(t(0), asks(vec![task(1, "a")]));
    b.run.start_tasks(t(0), 1);
    let Finished::Deliver(d) = b.finish(1, Ok(json("7")), t(5)) else { panic!() };
    let undelivered = Some(d.clone());
    let commit = b.run.handle(Input::Stuck { cause: trap(), undelivered }, t(5)).unwrap();
    b.commit(commit);
    b.commit(external(&b.stored, External::Retry { outcomes: vec![] }, t(9)).unwrap());
    b.crash();
    assert!(b.run.start_tasks(t(9), 9).is_empty(), "a task that ended is not repeated");
    let again = b.deliver(t(9), ends(Outcome::Completed(json("1"))));
    assert_eq!(
        (again.completion, again.deferred),
        (d.completion, Some(Deferred { seq: 3, nth: 0 }))
    );
    let replayed = steps(&b.journal);
    assert_eq!(replayed[1].delivery.at, t(9));
}

#[test]
fn a_run_has_a_time_limit_and_a_limit_on_pending_operations() {
    let mut b = Bench::new(StartOptions { timeout_ms: Some(70), ..StartOptions::default() });
    let many = (1..=7).map(|op| task(op, "a")).collect();
    let Next::Deliver(delivery) = b.run.next(t(0)) else { panic!() };
    let input = Input::Activated { delivery, activation: asks(many) };
    let before = b.run.clone();
    let refused = b.run.handle(input, t(0)).unwrap_err();
    assert_eq!(refused.code(), "limit.pending_operations");
    assert_eq!(b.run, before);
    b.deliver(t(0), asks(vec![sleep(1, 1_000)]));
    let Next::Decide(input) = b.run.next(t(70)) else { panic!() };
    let commit = b.run.handle(input, t(70)).unwrap();
    let RunState::Failed { failure } = &commit.record.state else { panic!() };
    assert_eq!(failure.code, RUN_TIMEOUT);
}

/// The host ended it, not the guest whose attempt failed before; a replay must not expect otherwise.
#[test]
fn a_time_limit_that_passes_between_two_attempts_replays() {
    let retry = Some(RetryPolicy::Fixed { max_attempts: 2, delay_ms: 500 });
    let mut b = Bench::new(StartOptions { retry, timeout_ms: Some(70), ..StartOptions::default() });
    let fails = ends(Outcome::Failed(Failure::new("boom", "it failed")));
    b.deliver(t(0), fails.clone());
    assert_eq!(kinds(&b.run), StateKind::AwaitingRetry);
    let Next::Decide(input) = b.run.next(t(70)) else { panic!() };
    let commit = b.run.handle(input, t(70)).unwrap();
    b.commit(commit);
    assert_eq!(kinds(&b.run), StateKind::Failed);
    steps(&b.journal)[0].check(&fails).unwrap();
}

#[test]
fn impossible_journals_are_reported_with_their_position() {
    let b = Bench::new(StartOptions::default());
    let fired = Entry { at: t(1), event: JournalEvent::TimerFired { op: OpId(9) } };
    let mut journal = b.journal.clone();
    journal.push(fired.clone());
    assert!(matches!(Run::fold(&journal, 0), Err(Refusal::Corrupt { seq: 1, .. })));
    assert!(matches!(Run::fold(&[fired], 0), Err(Refusal::Corrupt { seq: 0, .. })));
    assert!(matches!(Run::fold(&[], 0), Err(Refusal::Corrupt { seq: 0, .. })));
}

fn steps(journal: &[Entry]) -> Vec<crate::Step> {
    let mut steps = Steps::default();
    let mut all: Vec<_> = journal.iter().filter_map(|e| steps.push(e).unwrap()).collect();
    all.extend(steps.take_last());
    all
}
