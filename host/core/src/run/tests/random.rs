//! The property test of the state machine. It plays host and guest at random, with crashes between
//! commits, and checks after every commit that the journal alone tells the same story.

use super::*;
use proptest::prelude::*;

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

/// Whether a timer may fire now: never early, but for a sleep that an earlier attempt of the run
/// has slept already.
fn is_due(b: &Bench, op: OpId, at: Timestamp) -> bool {
    b.journal.iter().any(|entry| match &entry.event {
        JournalEvent::TimerStarted { op: started, due, reuses, .. } => {
            *started == op && (*due <= at || reuses.is_some())
        }
        _ => false,
    })
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
                    assert!(is_due(b, *op, at));
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
