//! Records of what activations left of their guests, in the replay.

#![allow(clippy::unwrap_used)]
use super::*;
use crate::event::{Entry, JournalEvent};
use crate::{OpId, Timestamp};

fn entry(event: JournalEvent) -> Entry {
    Entry { at: Timestamp::from_millis(1), event }
}

fn hashed(module: &str, hash: &str) -> Entry {
    let hash = Some(Digest::of(hash.as_bytes()));
    entry(JournalEvent::StateHashed { module: Digest::of(module.as_bytes()), engine: 1, hash })
}

fn timer(op: u64) -> Entry {
    let (name, due) = (String::new(), Timestamp::from_millis(9));
    entry(JournalEvent::TimerStarted { op: OpId(op), name, due, reuses: None })
}

#[test]
fn what_an_activation_left_belongs_to_its_step_and_its_module() {
    let journal = [
        entry(JournalEvent::AttemptStarted { attempt: 1 }),
        hashed("a", "first"),
        timer(1),
        entry(JournalEvent::TimerFired { op: OpId(1) }),
        timer(2),
    ];
    let mut steps = Steps::from(1);
    let mut cut: Vec<_> = journal.iter().filter_map(|it| steps.push(it).unwrap()).collect();
    cut.extend(steps.take_last());
    assert_eq!(cut[0].audited.unwrap().seq, 2);
    assert_eq!((cut[0].recorded.len(), cut[1].audited), (1, None));
    let digest = |of: &str| Digest::of(of.as_bytes());
    let check = |step: &Step, module: &str, engine, hash: &str| {
        step.check_state(digest(module), engine, digest(hash))
    };
    check(&cut[0], "a", 1, "first").unwrap();
    let divergence = check(&cut[0], "a", 1, "second").unwrap_err();
    assert_eq!((divergence.seq, divergence.differences[0].field.as_str()), (2, "memory"));
    assert!(divergence.to_string().contains("is not what it was"), "{divergence}");
    assert!(divergence.summary().contains("memory differs"), "{}", divergence.summary());
    // Another module, another configuration, or no record: nothing to compare with.
    check(&cut[0], "b", 1, "second").unwrap();
    check(&cut[0], "a", 2, "second").unwrap();
    check(&cut[1], "a", 1, "second").unwrap();
}

#[test]
fn a_journal_is_not_cut_between_a_delivery_and_what_was_recorded_of_it() {
    let journal = [
        entry(JournalEvent::AttemptStarted { attempt: 1 }),
        hashed("a", "first"),
        timer(1),
        entry(JournalEvent::TimerFired { op: OpId(1) }),
    ];
    assert_eq!((1..=4).map(|at| step_end(&journal, at)).collect::<Vec<_>>(), [3, 3, 3, 4]);
}
