//! The tests that `docs/testing.md` shows, word for word but for where the crate lies; a test of the
//! documents compares them.

/// The folder of the crate under test. A workflow crate says `env!("CARGO_MANIFEST_DIR")`.
const TRIAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/trial");

use everstep_testing::{Failure, World, days, survives_crashes};
use serde_json::{Value, json};

fn world() -> World {
    let mut world = World::of_crate(TRIAL);
    world.stub("activate-subscription", |_: Value| Ok(()));
    world
}

#[test]
fn without_a_payment_the_trial_ends_after_two_weeks() {
    let mut world = world();
    let run = world.start("trial", json!({ "user": "u1" }));
    world.advance(days(13));
    assert_eq!(world.published(run), Some(json!({ "phase": "trial" })));
    world.advance(days(1));
    assert_eq!(world.output(run), json!({ "subscribed": false }));
    assert_eq!(world.task_calls("cancel-trial"), [json!("u1")]);
}

#[test]
fn a_payment_on_day_13_subscribes() {
    let mut world = world();
    let run = world.start("trial", json!({ "user": "u1" }));
    world.advance(days(13));
    world.send_event(run, "payment", json!({ "amount_cents": 900 }));
    world.run_until_idle();
    assert_eq!(world.output(run), json!({ "subscribed": true }));
}

#[test]
fn neither_a_failing_task_nor_crashes_change_the_result() {
    survives_crashes(world, |world| {
        let failure = Failure::new("billing.unavailable", "the billing system is down");
        world.fail("activate-subscription", 3, failure);
        let run = world.start("trial", json!({ "user": "u1" }));
        world.send_event(run, "payment", json!({ "amount_cents": 900 }));
        world.skip_to_end(run);
        assert_eq!(world.output(run), json!({ "subscribed": true }));
        assert_eq!(world.task_calls("activate-subscription").len(), 4);
    });
}
