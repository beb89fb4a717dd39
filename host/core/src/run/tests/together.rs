//! Tables of what runs have to do with each other and with the people who watch them: events,
//! children, messages, pauses, wake-ups, retries by hand, journals that begin anew.

use super::*;

fn value(delivery: &Delivery) -> (u64, &str) {
    match &delivery.completion {
        Completion::Operation { op, result: OpResult::Value(value) } => (op.0, value.as_str()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn events_are_kept_until_somebody_waits_and_delivered_once_in_order() {
    let mut b = Bench::new(StartOptions::default());
    b.external(External::Event(event("e", "1")), t(1)).unwrap();
    assert_eq!(kinds(&b.run), StateKind::Queued);
    b.deliver(t(2), asks(vec![sleep(1, 1_000), awaits(2, "e", None)]));
    b.external(External::Event(event("f", "9")), t(3)).unwrap();
    b.external(External::Event(event("e", "2")), t(3)).unwrap();
    let first = b.deliver(t(4), asks(vec![awaits(3, "e", None), awaits(4, "e", None)]));
    assert_eq!(value(&first), (2, "1"));
    let second = b.deliver(t(5), Activation::default());
    assert_eq!(value(&second), (3, "2"));
    assert_eq!(kinds(&b.run), StateKind::AwaitingEvent);
    assert_eq!(b.run.next(t(6)), Next::Wait(Some(t(1_002))));
    assert_eq!(b.run.record().undelivered, 1, "nobody has asked for f");
}

#[test]
fn a_wait_that_is_over_takes_no_event_and_a_wait_of_no_time_takes_what_is_there() {
    let mut b = Bench::new(StartOptions::default());
    b.deliver(t(0), asks(vec![awaits(1, "e", Some(0)), awaits(2, "f", Some(50))]));
    let over = b.deliver(t(0), Activation::default());
    let timed_out = |op| Completion::Operation { op: OpId(op), result: OpResult::TimedOut };
    assert_eq!(over.completion, timed_out(1));
    b.external(External::Event(event("e", "1")), t(10)).unwrap();
    assert!(matches!(b.run.next(t(11)), Next::Wait(Some(_))));
    // An event and the end of the wait fall into one millisecond: the event was there first.
    b.external(External::Event(event("f", "2")), t(50)).unwrap();
    let got = b.deliver(t(50), asks(vec![awaits(3, "e", Some(0))]));
    assert_eq!(value(&got), (2, "2"));
    assert_eq!(value(&b.deliver(t(50), Activation::default())), (3, "1"));
    let replayed = steps(&b.journal);
    assert_eq!(replayed[2].delivery, got);
}

#[test]
fn a_child_is_started_once_and_its_end_is_told() {
    let mut b = Bench::new(StartOptions::default());
    b.deliver(t(0), asks(vec![child(1, OnParentEnd::Cancel)]));
    assert_eq!(kinds(&b.run), StateKind::AwaitingChild);
    assert!(b.stored.ready, "a host has to send the message");
    b.crash();
    let sent = b.send(|_| Reply::Taken, t(1));
    assert!(
        matches!(&sent[..], [Message::Start { child, .. }] if *child == b.stored.id().child(OpId(1), t(0)))
    );
    assert!(!b.stored.ready);
    b.crash();
    assert!(b.run.take_messages(9).is_empty());
    let ended = External::ChildEnded { op: OpId(1), result: OpResult::Value(json("8")) };
    assert!(ended.reference().is_some());
    b.external(ended, t(5)).unwrap();
    assert_eq!(value(&b.deliver(t(6), ends(Outcome::Completed(json("1"))))), (1, "8"));
    assert!(!b.stored.ready);
}

#[test]
fn a_child_that_cannot_be_started_is_a_failure_of_the_operation() {
    let mut b = Bench::new(StartOptions::default());
    b.deliver(t(0), asks(vec![child(1, OnParentEnd::Cancel)]));
    b.send(|_| Reply::Refused(Failure::new("workflow.unknown", "no such workflow")), t(1));
    let last = steps(&b.journal).pop().unwrap();
    let Completion::Operation { result: OpResult::Failed(failure), .. } = last.delivery.completion
    else {
        panic!()
    };
    assert_eq!(failure.code, "workflow.unknown");
}

#[test]
fn children_are_asked_to_stop_when_nobody_waits_for_them_any_more() {
    let mut b = Bench::new(StartOptions::default());
    let children = vec![
        child(1, OnParentEnd::Cancel),
        child(2, OnParentEnd::Abandon),
        child(3, OnParentEnd::Cancel),
        sleep(4, 10),
    ];
    b.deliver(t(0), asks(children));
    b.send(|_| Reply::Taken, t(1));
    b.deliver(t(10), asks(vec![Command::CancelOperation { op: OpId(1) }]));
    let cancelled = |sent: &[Message], op| match sent {
        [Message::Cancel { child, .. }] => *child == b.stored.id().child(OpId(op), t(0)),
        _ => false,
    };
    let mut other = b.clone();
    let sent = other.send(|_| Reply::Taken, t(11));
    assert!(cancelled(&sent, 1), "{sent:?}");
    other.external(External::Terminate { reason: "enough".into() }, t(12)).unwrap();
    assert!(other.stored.ready);
    let sent = other.send(|_| Reply::Taken, t(13));
    assert!(cancelled(&sent, 3), "{sent:?}");
    assert!(other.stored.is_terminal() && !other.stored.ready);
}

#[test]
fn a_child_tells_its_parent_how_it_ended_however_it_ended() {
    let parent = Parent { run: RunId::from_key("w", "parent"), op: OpId(5), depth: 1 };
    let begin = || {
        let request = StartRequest { parent: Some(parent), ..request(StartOptions::default()) };
        let commit = Run::start(request, t(0));
        let run = Run::begin(commit.entries.first(), 0, false).unwrap();
        let image = packed(&run);
        Bench { journal: commit.entries, stored: commit.record, run, outside: false, image }
    };
    let told = |mut b: Bench| match &b.send(|_| Reply::Taken, t(9))[..] {
        [Message::End { parent: to, result }] if *to == parent => {
            assert!(!b.stored.ready);
            result.clone()
        }
        other => panic!("{other:?}"),
    };
    let mut b = begin();
    b.deliver(t(1), ends(Outcome::Completed(json("3"))));
    assert_eq!(told(b), OpResult::Value(json("3")));
    let mut b = begin();
    b.deliver(t(1), ends(Outcome::Failed(Failure::new("x", "y"))));
    assert!(matches!(told(b), OpResult::Failed(_)));
    // It had not begun: the journal alone, without a host, says that the parent is to be told.
    let mut b = begin();
    b.external(External::Cancel { reason: "no".into(), grace_ms: 1 }, t(1)).unwrap();
    assert!(b.stored.is_terminal() && b.stored.ready);
    assert_eq!(told(b), OpResult::Cancelled);
}

#[test]
fn a_send_ends_with_the_answer_and_keeps_its_reference_over_a_crash() {
    let mut b = Bench::new(StartOptions::default());
    let to = RunId::from_key("w", "other");
    b.deliver(t(0), asks(vec![Command::SendEvent { op: OpId(1), to, event: event("e", "1") }]));
    let first = b.run.take_messages(9);
    b.crash();
    let again = b.run.take_messages(9);
    assert_eq!(first, again);
    let Message::Event { event, .. } = &again[0].1 else { panic!() };
    assert_eq!(event.reference.as_deref(), Some(format!("{}@1000000/1", b.stored.id()).as_str()));
    b.crash();
    b.send(|_| Reply::Taken, t(1));
    assert!(!b.stored.ready || kinds(&b.run) == StateKind::Stuck);
    assert_eq!(b.run.answered(first[0].0, Reply::Taken, t(2)), Finished::Ignored);
}

#[test]
fn a_paused_run_ends_what_is_under_way_and_begins_nothing() {
    let mut b = Bench::new(StartOptions::default());
    b.deliver(t(0), asks(vec![task(1, "a"), task(2, "a"), sleep(3, 10)]));
    assert_eq!(b.run.start_tasks(t(0), 1).len(), 1);
    let pause = external(&b.stored, External::Pause { reason: "wait".into() }, t(1)).unwrap();
    // The host hears of it and goes on with what it has.
    b.run.absorb(&pause.entries[0]).unwrap();
    b.commit(pause);
    assert_eq!(kinds(&b.run), StateKind::Paused);
    assert!(b.run.start_tasks(t(2), 9).is_empty());
    assert_eq!(b.run.next(t(20)), Next::Wait(None), "a sleep that is over waits, too");
    let Finished::Decide(kept) = b.finish(1, Ok(json("5")), t(21)) else { panic!() };
    let commit = b.run.handle(kept, t(21)).unwrap();
    b.commit(commit);
    assert!(b.external(External::Pause { reason: "again".into() }, t(21)).is_err());
    b.external(External::Resume, t(22)).unwrap();
    assert_eq!(value(&b.deliver(t(23), Activation::default())), (1, "5"));
    assert!(matches!(b.run.next(t(23)), Next::Deliver(_)), "the sleep");
    assert_eq!(b.run.start_tasks(t(23), 9).len(), 1);
    assert!(b.external(External::Resume, t(22)).is_err());
}

#[test]
fn a_sleep_can_be_ended_early_and_only_a_sleep() {
    let mut b = Bench::new(StartOptions::default());
    b.deliver(t(0), asks(vec![sleep(1, 900), sleep(2, 500)]));
    b.external(External::Wake, t(5)).unwrap();
    let woken = b.deliver(t(6), asks(vec![awaits(3, "e", Some(10))]));
    let fired = |op| Completion::Operation { op: OpId(op), result: OpResult::Fired };
    assert_eq!(woken.completion, fired(2));
    assert!(b.external(External::Wake, t(7)).is_err(), "it waits for an event");
    assert!(steps(&b.journal)[1].check(&asks(vec![awaits(3, "e", Some(10))])).is_ok());
}

#[test]
fn a_failed_run_is_tried_again_by_hand_with_other_outcomes() {
    let mut b = Bench::new(StartOptions { timeout_ms: Some(100), ..StartOptions::default() });
    b.deliver(t(0), asks(vec![task(1, "good"), task(2, "bad")]));
    b.run.start_tasks(t(0), 9);
    for (op, result) in [(1, Ok(json("5"))), (2, Err(Failure::new("x", "y").not_retryable()))] {
        let Finished::Deliver(delivery) = b.finish(op, result, t(1)) else { panic!() };
        b.activated(t(1), &delivery, Activation::default());
    }
    // Nothing is pending, so the guest would be stuck; it fails with its next word instead.
    let mut b = Bench::new(StartOptions { timeout_ms: Some(100), ..StartOptions::default() });
    b.deliver(t(0), asks(vec![task(1, "good"), task(2, "bad")]));
    b.run.start_tasks(t(0), 9);
    let Finished::Deliver(good) = b.finish(1, Ok(json("5")), t(1)) else { panic!() };
    b.activated(t(1), &good, Activation::default());
    let bad = Err(Failure::new("x", "y").not_retryable());
    let Finished::Deliver(bad) = b.finish(2, bad, t(1)) else { panic!() };
    b.activated(t(1), &bad, ends(Outcome::Failed(Failure::new("x", "y"))));
    assert_eq!(kinds(&b.run), StateKind::Failed);

    let set = |op| SetOutcome { op: OpId(op), output: json("6") };
    assert!(
        b.clone().external_unchecked(External::Retry { outcomes: vec![set(1)] }, t(500)).is_err()
    );
    b.external(External::Retry { outcomes: vec![set(2)] }, t(500)).unwrap();
    assert_eq!(b.stored.timeout_at(), Some(t(600)), "its time limit begins anew");
    b.deliver(t(501), asks(vec![task(3, "good"), task(4, "bad")]));
    assert!(b.run.start_tasks(t(501), 9).is_empty(), "both are answered");
    assert_eq!(value(&b.deliver(t(502), Activation::default())), (3, "5"));
    assert_eq!(value(&b.deliver(t(502), ends(Outcome::Completed(json("1"))))), (4, "6"));
    assert!(b.external(External::Retry { outcomes: vec![] }, t(503)).is_err());
}

#[test]
fn a_run_begins_anew_with_what_has_not_been_told() {
    let mut b = Bench::new(StartOptions::default());
    b.deliver(t(0), asks(vec![child(1, OnParentEnd::Cancel), task(2, "a")]));
    b.external(External::Event(event("e", "1")), t(1)).unwrap();
    b.run.start_tasks(t(1), 9);
    let Finished::Deliver(delivery) = b.finish(2, Ok(json("5")), t(2)) else { panic!() };
    b.activated(t(2), &delivery, ends(Outcome::Continued(json("2"))));
    assert_eq!(b.stored.first, b.stored.length - 1);
    assert_eq!((b.stored.attempt, b.stored.pending), (0, 0));
    b.crash();
    assert_eq!(b.run.input(), &json("2"));
    let start = b.deliver(t(3), asks(vec![awaits(3, "e", None)]));
    assert_eq!(start.completion, Completion::Start { attempt: 1, first_op: OpId(3) });
    assert_eq!(value(&b.deliver(t(3), ends(Outcome::Completed(json("1"))))), (3, "1"));
    let sent = b.send(|_| Reply::Taken, t(4));
    assert!(matches!(&sent[..], [Message::Start { .. }, Message::Cancel { .. }]), "{sent:?}");
}

#[test]
fn a_run_that_is_asked_to_stop_between_two_attempts_begins_no_other() {
    let retry = Some(RetryPolicy::Fixed { max_attempts: 2, delay_ms: 500 });
    let mut b = Bench::new(StartOptions { retry, ..StartOptions::default() });
    b.deliver(t(0), ends(Outcome::Failed(Failure::new("boom", "it failed"))));
    b.external(External::Pause { reason: "wait".into() }, t(1)).unwrap();
    b.external(External::Cancel { reason: "no".into(), grace_ms: 9_000 }, t(2)).unwrap();
    let Next::Decide(input) = b.run.next(t(3)) else { panic!("{:?}", b.run.next(t(3))) };
    let commit = b.run.handle(input, t(3)).unwrap();
    assert!(matches!(&commit.record.state, RunState::Cancelled { reason } if reason == "no"));
}

#[test]
fn the_most_events_that_wait_are_bounded() {
    let mut b = Bench::new(StartOptions::default());
    for _ in 0..6 {
        b.external(External::Event(event("e", "1")), t(1)).unwrap();
    }
    let refused = b.external(External::Event(event("e", "1")), t(1)).unwrap_err();
    assert_eq!(refused.code(), "limit.undelivered_events");
}

#[test]
fn recorded_values_come_back_from_the_journal() {
    let mut b = Bench::new(StartOptions::default());
    let value = |v| Command::RecordValue { name: "rate".into(), value: json(v) };
    b.deliver(t(0), asks(vec![value("7"), sleep(1, 5)]));
    let step = steps(&b.journal).pop().unwrap();
    assert_eq!(step.values(), [("rate".to_owned(), json("7"))]);
    assert!(step.check(&asks(vec![value("8"), sleep(1, 5)])).is_ok(), "the name counts");
    assert!(step.check(&asks(vec![sleep(1, 5)])).is_err());
}

/// A journal may have any length: nothing of it stays in the state of the run or in its record.
#[test]
fn two_hundred_thousand_steps_leave_nothing_behind() {
    let mut b = Bench::new(StartOptions::default());
    b.deliver(t(0), asks(vec![task(1, "a")]));
    let size =
        |run: &Run| (format!("{run:?}").len(), rmp_serde::to_vec(run.record()).unwrap().len());
    let before = size(&b.run);
    for op in 1..=200_000 {
        assert_eq!(b.run.start_tasks(t(op), 9).len(), 1);
        let Finished::Deliver(delivery) = b.finish(op, Ok(json("5")), t(op)) else { panic!() };
        let activation = asks(vec![task(op + 1, "a")]);
        let commit = b.run.handle(Input::Activated { delivery, activation }, t(op)).unwrap();
        assert_eq!(commit.entries.len(), 2);
    }
    assert_eq!(b.run.record().length, 400_003);
    let after = size(&b.run);
    // Numbers have more digits.
    assert!(after.0 < before.0 + 100 && after.1 < before.1 + 30, "{before:?} {after:?}");
}

/// An event that came after the time of a wait is not for that wait, even if nobody has told the
/// guest yet that its time is up.
#[test]
fn an_event_that_came_too_late_is_kept_for_the_next_wait() {
    let mut b = Bench::new(StartOptions::default());
    b.deliver(t(0), asks(vec![awaits(1, "e", Some(100)), awaits(2, "e", Some(900))]));
    b.external(External::Event(event("e", "1")), t(210)).unwrap();
    assert_eq!(value(&b.deliver(t(211), Activation::default())), (2, "1"));
    let over = b.deliver(t(212), asks(vec![sleep(3, 1)]));
    let timed_out = Completion::Operation { op: OpId(1), result: OpResult::TimedOut };
    assert_eq!(over.completion, timed_out);
}

/// The wish to stop belonged to the attempt that failed.
#[test]
fn a_run_that_failed_after_a_cancel_can_be_tried_again() {
    let mut b = Bench::new(StartOptions::default());
    b.deliver(t(0), asks(vec![sleep(1, 900)]));
    b.external(External::Cancel { reason: "no".into(), grace_ms: 50 }, t(1)).unwrap();
    b.deliver(t(2), ends(Outcome::Failed(Failure::new("saga.compensation", "it broke"))));
    assert_eq!(kinds(&b.run), StateKind::Failed);
    b.external(External::Retry { outcomes: vec![] }, t(500)).unwrap();
    let start = b.deliver(t(501), ends(Outcome::Completed(json("1"))));
    assert!(matches!(start.completion, Completion::Start { attempt: 2, .. }));
}
