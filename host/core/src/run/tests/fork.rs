//! What a fork has of its original: tables of edits and cuts, and a property that the random runs check
//! at each position of their journals.

use super::*;
use crate::{Draft, Edit, EditTarget, ForkRefusal, ForkRequest, InputHash};

fn to() -> ForkRequest {
    ForkRequest { id: RunId::from_key("w", "fork"), asked: InputHash::of(b"x"), now: t(1 << 40) }
}

fn edit(target: EditTarget, value: &str) -> Edit {
    Edit { target, value: json(value) }
}

fn op(number: u64) -> EditTarget {
    EditTarget::Operation(OpId(number))
}

/// A task that is done, one that has failed, an event that came, a value, and a task under way.
fn bench() -> Bench {
    let mut b = Bench::new(StartOptions { timeout_ms: Some(900), ..StartOptions::default() });
    b.deliver(t(0), asks(vec![task(1, "a"), task(2, "b"), awaits(3, "e", None)]));
    b.run.start_tasks(t(0), 9);
    let Finished::Deliver(done) = b.finish(1, Ok(json("5")), t(10)) else { panic!() };
    let value = Command::RecordValue { name: "v".into(), value: json("9") };
    b.activated(t(10), &done, asks(vec![value]));
    let failure = Failure::new("a.b", "no").not_retryable();
    let Finished::Deliver(failed) = b.finish(2, Err(failure), t(20)) else { panic!() };
    b.activated(t(20), &failed, Activation::default());
    b.external(External::Event(event("e", "1")), t(30)).unwrap();
    b.deliver(t(40), asks(vec![task(4, "c")]));
    b
}

/// What the guest of a journal is told, as text.
fn told(journal: &[Entry]) -> Vec<String> {
    let result = |step: crate::Step| match step.delivery.completion {
        Completion::Operation { op, result: OpResult::Value(value) } => format!("{op}={value}"),
        Completion::Operation { op, .. } => format!("{op}!"),
        _ => "start".into(),
    };
    steps(journal).into_iter().map(result).collect()
}

#[test]
fn results_are_edited_where_they_stand() {
    let b = bench();
    let names: Vec<_> = b.journal.iter().map(|entry| entry.event.name()).collect();
    let value = names.iter().position(|name| *name == "ValueRecorded").unwrap() as u64;
    let all = b.journal.len() as u64;
    assert_eq!(told(&b.journal), ["start", "1=5", "2!", "3=1"]);
    for (target, expected, step) in [
        (op(1), ["start", "1=7", "2!", "3=1"], 5),
        (op(2), ["start", "1=5", "2=7", "3=1"], 7),
        (op(3), ["start", "1=5", "2!", "3=7"], 9),
        (EditTarget::Value(value), ["start", "1=5", "2!", "3=1"], 5),
    ] {
        let draft = Draft::new(&b.journal, 0, all, &[edit(target, "7")]).unwrap();
        assert_eq!(draft.first_edit(), Some(step), "{target}");
        let forked = draft.build(draft.len(), &to()).unwrap();
        assert_eq!(told(&forked.entries), expected, "{target}");
        let recorded = steps(&forked.entries).iter().flat_map(crate::Step::values).next();
        let seven = matches!(target, EditTarget::Value(_));
        assert_eq!(recorded.unwrap().1, json(if seven { "7" } else { "9" }));
    }
    for (target, at) in [
        (op(4), all),
        (op(9), all),
        (op(1), 5),
        (EditTarget::Value(0), all),
        (EditTarget::Value(99), all),
    ] {
        let refused = Draft::new(&b.journal, 0, at, &[edit(target, "7")]).unwrap_err();
        assert_eq!(refused.code(), "fork.no_result", "{target} at {at}");
    }
    for at in [0, all + 1] {
        assert_eq!(Draft::new(&b.journal, 0, at, &[]).unwrap_err().code(), "fork.position");
    }
}

#[test]
fn an_edit_behind_the_place_where_another_one_is_felt_is_refused() {
    let b = bench();
    let edits = [edit(op(1), "7"), edit(op(2), "7"), edit(op(3), "7")];
    let draft = Draft::new(&b.journal, 0, b.journal.len() as u64, &edits[..2]).unwrap();
    // The guest is told of the second task in the step that begins at 7.
    assert_eq!(draft.build(7, &to()).map(|it| it.at), Ok(7));
    let refused = draft.build(5, &to()).unwrap_err();
    assert_eq!(refused, ForkRefusal::EditUnused { what: op(2), at: 5 });
    // An event that has come is kept for whoever waits for it.
    let draft = Draft::new(&b.journal, 0, b.journal.len() as u64, &edits[2..]).unwrap();
    assert!(draft.build(9, &to()).is_ok());
}

#[test]
fn a_fork_has_its_own_time_and_is_seen_as_the_original() {
    let mut b = bench();
    b.external(External::Pause { reason: "p".into() }, t(50)).unwrap();
    let draft = Draft::new(&b.journal, 0, b.journal.len() as u64, &[]).unwrap();
    let mut forked = draft.build(draft.len(), &to()).unwrap();
    let record = forked.run.record().clone();
    assert_eq!(record.state, RunState::Running, "it does not stand still");
    assert_eq!(record.timeout_at(), Some(to().now.plus(900)));
    let origin = &record.origin;
    assert_eq!((origin.id, origin.started_at, origin.parent), (to().id, to().now, None));
    let fork = origin.forked_from.as_deref().unwrap();
    assert_eq!((fork.run, fork.seen.run), (b.stored.id(), b.stored.id()));
    // What was under way is executed again, under the fork's own token.
    let calls = forked.run.start_tasks(to().now, 9);
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].idempotency_token, format!("{}/4", to().id));
    let commit = forked.commit(Some(json("1"))).unwrap();
    assert_eq!((commit.expected_length, commit.record.length), (0, commit.entries.len() as u64));
    assert_eq!(commit.record.published, Some(json("1")));

    // A fork of the fork is seen as the first original.
    let again = ForkRequest { id: RunId::from_key("w", "again"), ..to() };
    let draft = Draft::new(&commit.entries, 0, 5, &[]).unwrap();
    let twice = draft.build(draft.len(), &again).unwrap();
    let fork = twice.run.record().origin.forked_from.clone().unwrap();
    assert_eq!((fork.run, fork.seen.run), (to().id, b.stored.id()));
}

#[test]
fn children_under_way_are_the_forks_own_unless_they_were_told_something() {
    let mut b = Bench::new(StartOptions::default());
    b.deliver(t(0), asks(vec![child(1, OnParentEnd::Cancel), sleep(2, 5)]));
    let first = b.stored.id().child(OpId(1), t(0));
    b.send(|_| Reply::Taken, t(1));
    b.deliver(t(6), Activation::default());
    let build = |b: &Bench| {
        let draft = Draft::new(&b.journal, 0, b.journal.len() as u64, &[]).unwrap();
        draft.build(draft.len(), &to())
    };
    let mut forked = build(&b).unwrap();
    let messages = forked.run.take_messages(9);
    let [(_, Message::Start { child, .. })] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(*child, to().id.child(OpId(1), to().now));
    assert_ne!(*child, first);
    assert_eq!(steps(&forked.entries)[0].children()[&OpId(1)], *child);

    // One that has ended is history.
    let mut ended = b.clone();
    let result = OpResult::Value(json("1"));
    ended.external(External::ChildEnded { op: OpId(1), result }, t(7)).unwrap();
    let mut forked = build(&ended).unwrap();
    assert_eq!(forked.run.take_messages(9), []);
    assert_eq!(steps(&forked.entries)[0].children()[&OpId(1)], first);

    // One that was given up is stopped by the original.
    let mut given_up = b.clone();
    given_up.external(External::Event(event("e", "1")), t(7)).unwrap();
    let start = given_up.journal.iter().position(|it| it.event.begins_step()).unwrap();
    let cancel = JournalEvent::OperationCancelled { op: OpId(1) };
    given_up.journal.insert(start + 3, Entry { at: t(0), event: cancel });
    given_up.journal.retain(|it| !matches!(it.event, JournalEvent::MessageTaken { .. }));
    assert_eq!(build(&given_up).unwrap().run.take_messages(9), []);

    let at = b.stored.updated_at;
    let sent =
        JournalEvent::EventSent { op: OpId(3), to: first, event: event("e", "1"), reuses: None };
    b.journal.push(Entry { at, event: sent });
    assert_eq!(build(&b).unwrap_err().code(), "fork.child_told");
}

#[test]
fn a_run_that_has_ended_or_was_asked_to_stop_is_forked_earlier() {
    let mut b = bench();
    let before = b.journal.len() as u64;
    b.external(External::Cancel { reason: "r".into(), grace_ms: 10 }, t(50)).unwrap();
    let code = |b: &Bench, at: u64| {
        let draft = Draft::new(&b.journal, 0, at, &[]).unwrap();
        let forked = draft.build(draft.len(), &to()).unwrap();
        forked.check().map_or_else(|refused| refused.code(), |()| "fine")
    };
    assert_eq!(code(&b, before), "fine");
    assert_eq!(code(&b, before + 1), "fork.cancelled");
    b.deliver(t(55), ends(Outcome::Cancelled));
    assert_eq!(code(&b, b.journal.len() as u64), "fork.ended");
}

/// Whatever happened to a run, it can be forked anywhere, or is refused for a reason; and the fork's
/// guest is told what the original's was.
pub(super) fn check_forks(b: &Bench) {
    let first = b.stored.first;
    let journal = &b.journal[usize::try_from(first).unwrap()..];
    let mut whole = Steps::from(first);
    let mut originals: Vec<_> =
        journal.iter().filter_map(|entry| whole.push(entry).unwrap()).collect();
    originals.extend(whole.take_last());
    for at in first + 1..=first + journal.len() as u64 {
        let draft = Draft::new(journal, first, at, &[]).unwrap();
        let forked = match draft.build(draft.len(), &to()) {
            Ok(forked) if forked.check().is_ok() => forked,
            Ok(_) | Err(ForkRefusal::ChildTold { .. }) => continue,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(Run::fold(&forked.entries, 0).unwrap(), forked.run);
        assert!(forked.entries.windows(2).all(|pair| pair[0].at <= pair[1].at));
        let copied = steps(&forked.entries);
        assert!(copied.len() <= originals.len());
        for (copy, original) in copied.iter().zip(&originals) {
            assert_eq!(copy.delivery.completion, original.delivery.completion);
            let identities = |step: &crate::Step| -> Vec<_> {
                step.recorded.iter().map(|command| command.identity.clone()).collect()
            };
            assert_eq!(identities(copy), identities(original));
        }
        let mut run = forked.run.clone();
        for (id, message) in run.take_messages(99) {
            assert!(run.is_pending(id.op), "{message:?} is the original's to send");
        }
        // It goes on.
        if let Next::Deliver(delivery) = run.next(to().now.plus(1)) {
            let input = Input::Activated { delivery, activation: Activation::default() };
            run.handle(input, to().now.plus(1)).unwrap();
        }
    }
}
