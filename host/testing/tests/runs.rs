//! Runs that deal with each other and with operators, in virtual time, each with a crash around
//! every commit.
#![allow(clippy::unwrap_used)]

use everstep_testing::{
    Failure, Payload, RunId, RunState, StartBody, StateKind, World, days, hours, minutes, secs,
    survives_crashes,
};
use serde_json::{Value, json};

fn example(name: &str) -> impl Fn() -> World {
    let folder = format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"));
    move || World::of_crate(&folder)
}

fn kind(world: &World, run: RunId) -> StateKind {
    world.state(run).kind()
}

fn count(world: &World, run: RunId, name: &str) -> usize {
    world.journal(run).iter().filter(|entry| entry.event.name() == name).count()
}

const HOUR: u64 = 3_600_000;
/// A trip with a day between booking and paying.
fn trip() -> Value {
    json!({ "card": "good", "think_ms": 24 * HOUR })
}

#[test]
fn a_parent_waits_for_its_children() {
    survives_crashes(example("family"), |world| {
        let run = world.start("gather", json!({ "children": 5 }));
        world.run_until_idle();
        assert_eq!(world.output(run), json!(55));
        let outputs: Vec<_> =
            world.children(run).into_iter().map(|child| world.output(child)).collect();
        assert_eq!(outputs, [1, 4, 9, 16, 25].map(Value::from));
    });
}

#[test]
fn the_failure_of_a_child_is_its_parents_failure() {
    survives_crashes(example("family"), |world| {
        let run = world.start("gather", json!({ "children": 13 }));
        world.run_until_idle();
        assert_eq!(world.failure(run).code, "number.unlucky");
    });
}

#[test]
fn cancelling_a_parent_cancels_its_children_unless_they_are_abandoned() {
    survives_crashes(example("family"), |world| {
        for (abandon, expected) in [(false, StateKind::Cancelled), (true, StateKind::AwaitingEvent)]
        {
            let run = world.start("cascade", json!({ "levels": 3, "abandon": abandon }));
            world.run_until_idle();
            let child = world.children(run)[0];
            let grandchild = world.children(child)[0];
            assert_eq!(*world.state(run), RunState::AwaitingChild { child });
            assert_eq!(kind(world, grandchild), StateKind::AwaitingEvent);
            world.cancel(run, "enough");
            world.run_until_idle();
            assert_eq!(*world.state(run), RunState::Cancelled { reason: "enough".into() });
            assert_eq!(kind(world, grandchild), expected);
            if abandon {
                world.send_event(grandchild, "go", 7);
                world.run_until_idle();
                assert_eq!(world.output(child), json!(8));
            }
        }
    });
}

#[test]
fn runs_send_each_other_events() {
    survives_crashes(example("family"), |world| {
        let run = world.start("mentor", json!({ "patience_ms": 30 * 24 * HOUR }));
        world.run_until_idle();
        assert_eq!(kind(world, run), StateKind::AwaitingChild);
        let began = world.now();
        world.skip_to_end(run);
        assert_eq!(world.now().since(began), 30 * 24 * HOUR);
        assert_eq!(
            world.output(run),
            json!({ "hurried": true, "heard": "how long may I take?", "learned": 42 })
        );
        assert_eq!(count(world, world.children(run)[0], "EventReceived"), 1);
    });
}

#[test]
fn a_child_of_no_workflow_is_refused_to_its_parent() {
    survives_crashes(example("family"), |world| {
        let run = world.start("strange", json!({ "workflow": "nobody" }));
        world.run_until_idle();
        assert_eq!(world.failure(run).code, "run.unknown_workflow");
        assert!(world.children(run).is_empty());
    });
}

#[test]
fn a_run_begins_anew_with_the_events_that_wait() {
    survives_crashes(example("echo"), |world| {
        let run = world.start("echo", json!({ "per_generation": 2 }));
        for word in ["a", "b", "c", "d", "e"] {
            world.send_event(run, "message", word);
        }
        world.advance(hours(1));
        assert_eq!(world.published(run), Some(json!(["a", "b", "c", "d", "e"])));
        assert_eq!(count(world, run, "RunContinued"), 2);
        world.send_event(run, "close", ());
        world.run_until_idle();
        let said = json!({ "said": ["a", "b", "c", "d", "e"], "generation": 2 });
        assert_eq!(world.output(run), said);
    });
}

#[test]
fn a_cancelled_saga_gives_back_what_it_booked() {
    survives_crashes(example("travel"), |world| {
        let run = world.start("travel", trip());
        world.advance(hours(3));
        world.cancel(run, "no time");
        assert_eq!(kind(world, run), StateKind::Queued);
        world.run_until_idle();
        assert_eq!(*world.state(run), RunState::Cancelled { reason: "no time".into() });
        assert_eq!(world.task_calls("unbook"), [json!("hotel-1"), json!("flight-1")]);
        assert!(world.task_calls("charge").is_empty());
    });
}

#[test]
fn a_saga_that_takes_too_long_to_clean_up_is_ended() {
    survives_crashes(example("travel"), |world| {
        world.takes("unbook", hours(1));
        let run = world.start("travel", trip());
        world.run_until_idle();
        world.cancel_within(run, "no time", minutes(10));
        world.advance(minutes(10) - secs(1));
        assert_eq!(kind(world, run), StateKind::Running);
        world.advance(secs(1));
        assert_eq!(kind(world, run), StateKind::Cancelled);
        assert_eq!(world.task_calls("unbook"), [json!("hotel-1")]);
    });
}

#[test]
fn a_failed_saga_gives_back_what_it_booked() {
    survives_crashes(example("travel"), |world| {
        world.fail("charge", 2, Failure::new("card.network", "no answer"));
        let run = world.start("travel", trip());
        world.skip_to_end(run);
        assert_eq!(world.failure(run).code, "card.network");
        assert_eq!(world.task_calls("unbook").len(), 2);
    });
}

#[test]
fn a_terminated_run_is_not_told() {
    survives_crashes(example("travel"), |world| {
        let run = world.start("travel", trip());
        world.run_until_idle();
        world.terminate(run, "at once");
        world.run_until_idle();
        assert_eq!(kind(world, run), StateKind::Cancelled);
        assert!(world.task_calls("unbook").is_empty());
    });
}

#[test]
fn a_paused_run_keeps_what_ends_meanwhile() {
    survives_crashes(example("travel"), |world| {
        world.takes("book", hours(2));
        let run = world.start("travel", trip());
        world.advance(hours(1));
        world.pause(run, "a look at it");
        world.advance(hours(5));
        assert_eq!(*world.state(run), RunState::Paused { reason: "a look at it".into() });
        assert_eq!(count(world, run, "TaskCompleted"), 1);
        assert_eq!(world.task_calls("book").len(), 1);
        let resumed = world.now();
        world.resume(run);
        world.skip_to_end(run);
        assert_eq!(world.output(run), json!(["flight-1", "hotel-1"]));
        // The second booking takes two hours, and then it thinks for a day.
        assert_eq!(world.now().since(resumed), 26 * HOUR);
    });
}

#[test]
fn a_sleeping_run_can_be_woken() {
    survives_crashes(example("travel"), |world| {
        let run = world.start("travel", trip());
        world.run_until_idle();
        let began = world.now();
        world.wake(run);
        world.run_until_idle();
        assert_eq!(world.output(run), json!(["flight-1", "hotel-1"]));
        assert_eq!(world.now(), began);
    });
}

#[test]
fn attempts_that_take_too_long_are_cut_off_and_made_again() {
    survives_crashes(example("trial"), |world| {
        world.takes("activate-subscription", minutes(1));
        let run = world.start("trial", json!({ "user": "u1" }));
        world.send_event(run, "payment", json!({ "amount_cents": 900 }));
        let began = world.now();
        world.skip_to_end(run);
        assert_eq!(world.failure(run).code, "task.timeout");
        assert_eq!(world.task_calls("activate-subscription").len(), 8);
        // Eight attempts of 30 seconds, and 1, 2, 4 … seconds between them, at most a minute.
        assert_eq!(world.now().since(began), 8 * 30_000 + 1_000 * (1 + 2 + 4 + 8 + 16 + 32 + 60));

        world.takes("activate-subscription", secs(29));
        world.retry(run);
        world.skip_to_end(run);
        assert_eq!(world.output(run), json!({ "subscribed": true }));
        assert_eq!(world.task_calls("start-trial").len(), 1, "what succeeded is used again");
    });
}

#[test]
fn a_run_is_ended_by_its_time_limit() {
    survives_crashes(example("trial"), |world| {
        let input = Some(Payload::from_value(&json!({ "user": "u1" })).unwrap());
        let timeout_ms = Some(7 * 24 * HOUR);
        let run = world.start_with(StartBody { input, timeout_ms, ..StartBody::new("trial") });
        world.advance(days(7));
        assert_eq!(world.failure(run).code, "run.timeout");
        assert!(world.task_calls("cancel-trial").is_empty());
    });
}

#[test]
fn a_key_names_one_run() {
    survives_crashes(example("trial"), |world| {
        let input = Payload::from_value(&json!({ "user": "u1" })).unwrap();
        let body = StartBody {
            input: Some(input),
            idempotency_key: Some("u1".into()),
            ..StartBody::new("trial")
        };
        let run = world.start_with(body.clone());
        assert_eq!(world.start_with(body), run);
        assert_eq!(world.runs(), [run]);
        world.skip_to_end(run);
    });
}

#[test]
fn a_panic_leaves_the_run_stuck_with_its_journal_as_it_was() {
    survives_crashes(example("sandbox-probe"), |world| {
        let run = world.start("sandbox-probe", json!({ "deed": "trap" }));
        world.advance(days(1));
        let RunState::Stuck { cause } = world.state(run) else { panic!("{:?}", world.state(run)) };
        assert_eq!(cause.code, "guest.trap");
        assert_eq!(world.journal(run).len(), 1);
        world.retry(run);
        world.run_until_idle();
        assert_eq!(kind(world, run), StateKind::Stuck, "the code has not changed");
    });
}

#[test]
#[should_panic(expected = "this workflow panics on purpose")]
fn a_run_that_is_stuck_does_not_end_and_the_panic_says_why() {
    let mut world = example("sandbox-probe")();
    let run = world.start("sandbox-probe", json!({ "deed": "trap" }));
    world.skip_to_end(run);
}

#[test]
fn every_execution_is_the_same() {
    let journals = || {
        let mut world = example("family")();
        let run = world.start("mentor", json!({ "patience_ms": 10 * HOUR }));
        world.skip_to_end(run);
        assert!(world.replay_all() >= 8);
        world.runs().iter().map(|run| world.journal(*run).to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(journals(), journals());
}

/// A crash between decision and commit makes a host repeat an attempt: a task runs at least once.
#[test]
fn crashes_do_come() {
    let mut world = example("travel")();
    world.crash_everywhere();
    let executed = std::rc::Rc::new(std::cell::Cell::new(0));
    let counted = std::rc::Rc::clone(&executed);
    world.stub("book", move |what: Value| {
        counted.set(counted.get() + 1);
        Ok(what)
    });
    let run = world.start("travel", trip());
    world.run_until_idle();
    assert_eq!(world.task_calls("book"), [json!("flight"), json!("hotel")]);
    assert_eq!(count(&world, run, "TaskCompleted"), 2);
    assert_eq!(executed.get(), 4);
}

/// What a stub must not do, and how it shows.
#[test]
#[should_panic(expected = "with crashes, run")]
fn a_stub_that_counts_its_calls_does_not_survive_crashes() {
    let world = || {
        let mut world = example("travel")();
        let mut calls = 0;
        world.stub("book", move |_: Value| {
            calls += 1;
            Ok(format!("booking {calls}"))
        });
        world
    };
    survives_crashes(world, |world| {
        let run = world.start("travel", trip());
        world.skip_to_end(run);
    });
}

/// More runs than a host keeps guests in memory.
#[test]
fn runs_that_are_not_in_memory_go_on_all_the_same() {
    let mut world = example("travel")();
    let runs: Vec<RunId> = (0..100).map(|_| world.start("travel", trip())).collect();
    world.advance(days(1));
    for run in runs {
        assert_eq!(world.output(run), json!(["flight-1", "hotel-1"]));
    }
}
