//! The property test of the state machine. It plays host and guest at random, with crashes between
//! commits, and checks after every commit that the journal alone tells the same story.

use super::*;
use crate::{ModuleRef, Step};
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
        let command = match draws.below(9) {
            0 | 1 => task(next, ["a", "b"][usize::from(draws.below(2))]),
            2 => sleep(next, u64::from(draws.below(60))),
            3 | 4 => {
                let timeout = (draws.below(2) == 0).then(|| u64::from(draws.below(80)));
                awaits(next, ["e", "f"][usize::from(draws.below(2))], timeout)
            }
            5 => {
                let policy = [OnParentEnd::Cancel, OnParentEnd::Abandon];
                child(next, policy[usize::from(draws.below(2))])
            }
            6 => {
                let to = RunId::from_key("w", "other");
                Command::SendEvent { op: OpId(next), to, event: event("e", "1") }
            }
            7 => {
                let value = Command::RecordValue { name: "v".into(), value: json("9") };
                activation.commands.push(value);
                continue;
            }
            _ => {
                let op = OpId(u64::from(draws.below(8)) + 1);
                activation.commands.push(Command::CancelOperation { op });
                continue;
            }
        };
        next += 1;
        activation.commands.push(command);
    }
    if draws.below(5) == 0 {
        activation.published = Some(json("3"));
    }
    activation.outcome = match draws.below(24) {
        0 => Some(Outcome::Completed(json("{}"))),
        3 => Some(Outcome::Continued(json("2"))),
        1 => Some(Outcome::Failed(Failure::new("boom", "it failed"))),
        2 => Some(Outcome::Cancelled),
        _ => None,
    };
    activation
}

/// Whether a timer may fire now: never early, but for a sleep that an earlier attempt of the run
/// has slept already, or that somebody ended.
fn is_due(b: &Bench, op: OpId, at: Timestamp) -> bool {
    let woken = b.journal.iter().any(|entry| entry.event == JournalEvent::WakeRequested);
    woken
        || b.journal.iter().any(|entry| match &entry.event {
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
    match draws.below(17) {
        0..=5 => match b.run.next(at) {
            Next::Deliver(delivery) => {
                if let Completion::Operation { op, result: OpResult::Fired } = &delivery.completion
                {
                    assert!(is_due(b, *op, at));
                }
                let activation = random_activation(draws, &b.run);
                activate(b, draws, delivery, activation, at, live);
            }
            Next::Decide(input) => decide(b, input, at),
            Next::Wait(_) | Next::Ended => {}
        },
        6..=8 => {
            let calls = b.run.start_tasks(at, usize::from(draws.below(3)) + 1);
            for call in calls {
                finish_randomly(b, draws, call.op, at, live);
            }
        }
        9 | 12 | 13 => {
            let wish = random_wish(b, draws);
            if b.external(wish, at).is_ok() {
                b.outside = true;
            }
        }
        14 => send_randomly(b, draws, at, live),
        10 if draws.below(2) == 0 => get_stuck_and_go_on(b, at),
        10 => b.crash(),
        _ => *now += u64::from(draws.below(100)),
    }
}

fn random_wish(b: &Bench, draws: &mut Draws<'_>) -> External {
    let reason = String::from("so");
    match draws.below(16) {
        0 => External::Cancel { reason, grace_ms: 40 },
        1 if draws.below(4) == 0 => External::Terminate { reason },
        1 | 2 => External::Pause { reason },
        3..=5 => External::Resume,
        6 | 7 => External::Wake,
        8 => External::Retry { outcomes: vec![] },
        11 => {
            let version = ["1", "2"][usize::from(draws.below(2))].to_owned();
            External::Upgrade { to: ModuleRef { version, ..b.run.record().origin.module() } }
        }
        9 | 10 => {
            let child = b.run.operations(99).into_iter().find(|op| op.kind == "child");
            let op = child.map_or(OpId(1), |child| child.op);
            External::ChildEnded { op, result: OpResult::Value(json("8")) }
        }
        _ => External::Event(event(["e", "f"][usize::from(draws.below(2))], "4")),
    }
}

/// Some messages are answered, the others are lost on the way.
fn send_randomly(
    b: &mut Bench,
    draws: &mut Draws<'_>,
    at: Timestamp,
    live: &mut Vec<(Delivery, Activation)>,
) {
    for (id, _) in b.run.take_messages(usize::from(draws.below(3)) + 1) {
        let reply = match draws.below(4) {
            0 => continue,
            1 => Reply::Refused(Failure::new("no", "nobody there")),
            _ => Reply::Taken,
        };
        match b.run.answered(id, reply, at) {
            Finished::Deliver(delivery) => {
                let activation = random_activation(draws, &b.run);
                activate(b, draws, delivery, activation, at, live);
            }
            Finished::Decide(input) => decide(b, input, at),
            Finished::Ignored => {}
        }
    }
}

fn decide(b: &mut Bench, input: Input, at: Timestamp) {
    let commit = b.run.handle(input, at).unwrap();
    b.commit(commit);
    b.outside = false;
}

/// A task's result meets a guest that traps; then somebody mends it.
fn get_stuck_and_go_on(b: &mut Bench, at: Timestamp) {
    let call = b.run.start_tasks(at, 1).pop();
    let finished =
        call.map(|call| b.run.finish_attempt(call.op, Ok(json("6")), Vec::new(), None, at));
    let undelivered = match finished {
        Some(Finished::Deliver(delivery)) => Some(delivery),
        _ => None,
    };
    if let Ok(commit) = b.run.handle(Input::Stuck { cause: trap(), undelivered }, at) {
        b.commit(commit);
        b.external(External::Retry { outcomes: vec![] }, at).unwrap();
        b.outside = true;
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
    match b.run.finish_attempt(op, result, Vec::new(), None, at) {
        Finished::Deliver(delivery) => {
            let activation = random_activation(draws, &b.run);
            activate(b, draws, delivery, activation, at, live);
        }
        Finished::Decide(input) => decide(b, input, at),
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
            b.outside = false;
            live.push((delivery, activation));
            if draws.below(4) == 0 {
                b.image = packed(&b.run);
            }
        }
        Err(Refusal::Limit { .. }) => b.crash(),
        Err(other) => panic!("{other}"),
    }
}

/// What a snapshot keeps is enough to go on with.
fn check_image(b: &Bench, replayed: &[Step]) {
    let image: RunImage = rmp_serde::from_slice(&b.image).unwrap();
    if !image.fits(&b.stored) {
        return;
    }
    let length = image.record().length;
    let mut run = Run::from(image);
    let mut steps = run.steps();
    let mut later = Vec::new();
    for entry in &b.journal[usize::try_from(length).unwrap()..] {
        run.absorb(entry).unwrap();
        later.extend(steps.push(entry).unwrap());
    }
    later.extend(steps.take_last());
    run.adopt(&b.stored).unwrap();
    assert_eq!(run, b.folded().unwrap(), "an image is as good as the journal in front of it");
    assert!(replayed.ends_with(&later), "the steps go on where the image was made");
}

fn check(b: &Bench, live: &[(Delivery, Activation)]) {
    let mut told = b.folded().unwrap().record().clone();
    if b.outside {
        // What came from outside was decided without the journal: a host has to look.
        assert_eq!(told.is_terminal(), b.stored.is_terminal());
        let waits = |state: &RunState| matches!(state, RunState::Queued { .. } | RunState::Running);
        assert!(b.stored.ready || !(told.ready || waits(&told.state)), "{told:?} {:?}", b.stored);
        (told.state, told.ready) = (b.stored.state.clone(), b.stored.ready);
        (told.wake_at, told.undelivered) = (b.stored.wake_at, b.stored.undelivered);
        (told.pending, told.outbox) = (b.stored.pending, b.stored.outbox);
    }
    assert_eq!(&told, &b.stored, "the journal tells the same as the record");
    assert!(b.journal.windows(2).all(|pair| pair[0].at <= pair[1].at), "time never goes back");
    let replayed = steps(&b.journal);
    assert_eq!(replayed.len(), live.len(), "every activation is one step");
    for (step, (delivery, activation)) in replayed.iter().zip(live) {
        assert_eq!(&step.delivery, delivery);
        step.check(activation).unwrap();
    }
    check_image(b, &replayed);
    let (mut anew, first) = (Steps::from(b.stored.first), b.stored.first as usize);
    let mut last: Vec<_> =
        b.journal[first..].iter().filter_map(|entry| anew.push(entry).unwrap()).collect();
    last.extend(anew.take_last());
    assert!(replayed.ends_with(&last), "a journal that begins anew needs nothing before it");
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
        fork::check_forks(&b);
    }
}
