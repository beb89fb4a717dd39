//! Tables and properties of the state machine. The property test plays host and guest at random,
//! with crashes between commits, and checks after every commit that the journal alone tells the
//! same story.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::activation::{Activation, Command, Outcome, TimerDue};
use crate::event::JournalEvent;
use crate::{
    Commit, Digest, Limits, RetryPolicy, RunId, StartOptions, StartRequest, StateKind, Steps,
    StuckCause, TaskOptions,
};
use proptest::prelude::*;

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
}

impl Bench {
    fn new(options: StartOptions) -> Self {
        let commit = Run::start(request(options), t(0));
        let run = Run::begin(commit.entries.first()).unwrap();
        assert_eq!(run.record(), &commit.record);
        Self { journal: commit.entries, stored: commit.record, run }
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
        self.run.finish_attempt(OpId(op), result, Vec::new(), now)
    }

    fn crash(&mut self) {
        self.run = Run::fold(self.journal.clone()).unwrap();
        self.run.adopt(&self.stored).unwrap();
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
    let Finished::Retry(input) = b.finish(1, Err(Failure::new("x", "y")), t(10)) else { panic!() };
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
    assert_eq!(Run::fold(b.journal.clone()).unwrap().record(), &b.stored);
    let refused = external(&b.stored, External::Retry, t(2)).unwrap_err();
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
    let commit = external(&b.stored, External::Retry, t(30)).unwrap();
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
    b.commit(external(&b.stored, External::Retry, t(9)).unwrap());
    b.crash();
    assert!(b.run.start_tasks(t(9), 9).is_empty(), "a task that ended is not repeated");
    let again = b.deliver(t(9), ends(Outcome::Completed(json("1"))));
    assert_eq!((again.completion, again.deferred), (d.completion, Some(3)));
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

#[test]
fn impossible_journals_are_reported_with_their_position() {
    let b = Bench::new(StartOptions::default());
    let fired = Entry { at: t(1), event: JournalEvent::TimerFired { op: OpId(9) } };
    let mut journal = b.journal.clone();
    journal.push(fired.clone());
    assert!(matches!(Run::fold(journal), Err(Refusal::Corrupt { seq: 1, .. })));
    assert!(matches!(Run::fold([fired]), Err(Refusal::Corrupt { seq: 0, .. })));
    assert!(matches!(Run::fold([]), Err(Refusal::Corrupt { seq: 0, .. })));
}

/// Draws decisions from a list of bytes, so that a failing case shrinks.
struct Draws<'a>(std::slice::Iter<'a, u8>);

impl Draws<'_> {
    fn below(&mut self, bound: u8) -> u8 {
        self.0.next().map_or(0, |byte| byte % bound)
    }
}

/// What a random guest does when it is activated.
fn random_activation(draws: &mut Draws<'_>, run: &Run) -> Activation {
    let mut activation = Activation::default();
    let mut next = run.record().next_op.0;
    for _ in 0..draws.below(3) {
        let command = match draws.below(4) {
            0 | 1 => task(next, ["a", "b"][usize::from(draws.below(2))]),
            2 => sleep(next, u64::from(draws.below(60))),
            _ => {
                let op = OpId(u64::from(draws.below(8)) + 1);
                activation.commands.push(Command::CancelOperation { op });
                continue;
            }
        };
        next += 1;
        activation.commands.push(command);
    }
    activation.outcome = match draws.below(14) {
        0 => Some(Outcome::Completed(json("{}"))),
        1 => Some(Outcome::Failed(Failure::new("boom", "it failed"))),
        2 => Some(Outcome::Cancelled),
        _ => None,
    };
    activation
}

/// One random thing that happens to a run; what was activated is noted for the replay.
fn happen(
    b: &mut Bench,
    draws: &mut Draws<'_>,
    now: &mut u64,
    live: &mut Vec<(Delivery, Activation)>,
) {
    let at = t(*now);
    match draws.below(12) {
        0..=5 => match b.run.next(at) {
            Next::Deliver(delivery) => {
                if let Completion::Operation { op, result: OpResult::Fired } = &delivery.completion
                {
                    assert!(b.run.operations(99).iter().any(|o| o.op == *op && o.due <= Some(at)));
                }
                let activation = random_activation(draws, &b.run);
                activate(b, draws, delivery, activation, at, live);
            }
            Next::Decide(input) => {
                let commit = b.run.handle(input, at).unwrap();
                b.commit(commit);
            }
            Next::Wait(_) | Next::Ended => {}
        },
        6..=8 => {
            let calls = b.run.start_tasks(at, usize::from(draws.below(3)) + 1);
            for call in calls {
                finish_randomly(b, draws, call.op, at, live);
            }
        }
        9 => {
            let wish = External::Cancel { reason: "stop".into(), grace_ms: 40 };
            if let Ok(commit) = external(&b.stored, wish, at) {
                b.commit(commit);
                b.crash();
            }
        }
        10 if draws.below(2) == 0 => get_stuck_and_go_on(b, at),
        10 => b.crash(),
        _ => *now += u64::from(draws.below(100)),
    }
}

/// A task's result meets a guest that traps; then somebody mends it.
fn get_stuck_and_go_on(b: &mut Bench, at: Timestamp) {
    let call = b.run.start_tasks(at, 1).pop();
    let finished = call.map(|call| b.run.finish_attempt(call.op, Ok(json("6")), Vec::new(), at));
    let undelivered = match finished {
        Some(Finished::Deliver(delivery)) => Some(delivery),
        _ => None,
    };
    if let Ok(commit) = b.run.handle(Input::Stuck { cause: trap(), undelivered }, at) {
        b.commit(commit);
        b.commit(external(&b.stored, External::Retry, at).unwrap());
        b.crash();
    }
}

fn finish_randomly(
    b: &mut Bench,
    draws: &mut Draws<'_>,
    op: OpId,
    at: Timestamp,
    live: &mut Vec<(Delivery, Activation)>,
) {
    let result = match draws.below(3) {
        0 => Err(Failure::new("flaky", "try again")),
        _ => Ok(json("5")),
    };
    match b.run.finish_attempt(op, result, Vec::new(), at) {
        Finished::Deliver(delivery) => {
            let activation = random_activation(draws, &b.run);
            activate(b, draws, delivery, activation, at, live);
        }
        Finished::Retry(input) => {
            let commit = b.run.handle(input, at).unwrap();
            b.commit(commit);
        }
        Finished::Ignored => {}
    }
}

/// Half of the crashes come between the decision and its commit: then nothing must remain of it.
fn activate(
    b: &mut Bench,
    draws: &mut Draws<'_>,
    delivery: Delivery,
    activation: Activation,
    at: Timestamp,
    live: &mut Vec<(Delivery, Activation)>,
) {
    let input = Input::Activated { delivery: delivery.clone(), activation: activation.clone() };
    match b.run.handle(input, at) {
        Ok(_) if draws.below(10) == 0 => b.crash(),
        Ok(commit) => {
            b.commit(commit);
            live.push((delivery, activation));
        }
        Err(Refusal::Limit { .. }) => b.crash(),
        Err(other) => panic!("{other}"),
    }
}

fn steps(journal: &[Entry]) -> Vec<crate::Step> {
    let mut steps = Steps::default();
    let mut all: Vec<_> = journal.iter().filter_map(|e| steps.push(e).unwrap()).collect();
    all.extend(steps.finish());
    all
}

fn check(b: &Bench, live: &[(Delivery, Activation)]) {
    let folded = Run::fold(b.journal.clone()).unwrap();
    let mut told = folded.record().clone();
    if b.stored.state == (RunState::Queued { reason: QueueReason::Resumption }) {
        // A retry of a stuck run queues it, of which the journal knows nothing.
        (told.state, told.ready) = (b.stored.state.clone(), true);
        told.wake_at = b.stored.wake_at;
    }
    assert_eq!(&told, &b.stored, "the journal tells the same as the record");
    assert!(b.journal.windows(2).all(|pair| pair[0].at <= pair[1].at), "time never goes back");
    let replayed = steps(&b.journal);
    assert_eq!(replayed.len(), live.len(), "every activation is one step");
    for (step, (delivery, activation)) in replayed.iter().zip(live) {
        assert_eq!(&step.delivery, delivery);
        step.check(activation).unwrap();
    }
    let packed = rmp_serde::to_vec_named(&(&b.journal, &b.stored)).unwrap();
    let back: (Vec<Entry>, Record) = rmp_serde::from_slice(&packed).unwrap();
    assert_eq!((&back.0, &back.1), (&b.journal, &b.stored));
    let text = serde_json::to_string(&(&b.journal, &b.stored)).unwrap();
    let back: (Vec<Entry>, Record) = serde_json::from_str(&text).unwrap();
    assert_eq!((&back.0, &back.1), (&b.journal, &b.stored));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_with_crashes_replays_to_the_same_state(
        bytes in prop::collection::vec(any::<u8>(), 40..500),
        attempts in 1_u32..4,
        timeout in prop::option::of(50_u64..2_000),
    ) {
        let retry = Some(RetryPolicy::Fixed { max_attempts: attempts, delay_ms: 20 });
        let options = StartOptions { retry, timeout_ms: timeout, ..StartOptions::default() };
        let mut b = Bench::new(options);
        let mut draws = Draws(bytes.iter());
        let (mut now, mut live) = (0, Vec::new());
        while draws.0.len() > 0 {
            happen(&mut b, &mut draws, &mut now, &mut live);
            check(&b, &live);
        }
    }
}
