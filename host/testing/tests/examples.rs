//! The examples of this repository in virtual time, each with a crash around every commit.
#![allow(clippy::unwrap_used)]

use everstep_testing::{
    Failure, JournalEvent, RunId, RunState, StartBody, Timestamp, World, days, hours, millis,
    survives_crashes,
};
use serde_json::{Value, json};

fn example(name: &str) -> impl Fn() -> World {
    let folder = format!("{}/../../examples/{name}", env!("CARGO_MANIFEST_DIR"));
    move || World::of_crate(&folder)
}

fn count(world: &World, run: RunId, name: &str) -> usize {
    world.journal(run).iter().filter(|entry| entry.event.name() == name).count()
}

#[test]
fn onboarding_sleeps_a_day_between_its_emails() {
    survives_crashes(example("onboarding"), |world| {
        let began = world.now();
        let run = world.start("user-onboarding", json!({ "user_id": "u1", "email": "a@b.c" }));
        world.run_until_idle();
        let RunState::Sleeping { timer, wakeup_at } = world.state(run) else {
            panic!("{:?}", world.state(run))
        };
        assert_eq!((timer.as_str(), *wakeup_at), ("before-tips", began.plus(86_400_000)));
        assert!(world.task_calls("send-tips").is_empty());
        world.advance(hours(23));
        assert_eq!(world.state(run).kind().as_str(), "sleeping");
        world.advance(hours(1));
        assert_eq!(world.output(run), json!({ "success": true, "user_id": "u1" }));
        assert_eq!(world.task_calls("send-tips")[0]["to"], "a@b.c");
        assert_eq!(world.now().since(began), 86_400_000);
        // The real tasks ran, in the sandbox: without a mail server they print.
        let said: Vec<_> = world.logs(run).iter().map(|line| line.message.as_str()).collect();
        assert!(said.contains(&"to a@b.c: Tips for your first days"), "{said:?}");
        assert!(said.contains(&"onboarded"), "{said:?}");
    });
}

#[test]
fn a_stub_takes_the_place_of_a_task() {
    survives_crashes(example("onboarding"), |world| {
        world.stub("send-verification-email", |email: Value| match email["to"].as_str() {
            Some("a@b.c") => Ok(()),
            _ => Err(Failure::new("mail.refused", "no such address").not_retryable()),
        });
        let start = |world: &mut World, email: &str| {
            world.start("user-onboarding", json!({ "user_id": "u", "email": email }))
        };
        let (good, bad) = (start(world, "a@b.c"), start(world, "nobody"));
        world.skip_to_end(good);
        assert_eq!(world.output(good)["success"], true);
        assert_eq!(world.failure(bad).code, "mail.refused");
        let addresses: Vec<_> =
            world.task_calls("send-verification-email").iter().map(|it| it["to"].clone()).collect();
        assert_eq!(addresses, ["a@b.c", "nobody"]);
        let said = |run| world.logs(run).iter().any(|line| line.message.contains("verify"));
        assert!(!said(good), "the task itself has not run");
    });
}

#[test]
fn injected_failures_are_retried_by_the_policy_of_the_task() {
    survives_crashes(example("payment"), |world| {
        world.fail("charge", 2, Failure::new("card.network", "no answer"));
        let run = world.start("payment", json!({ "amount_cents": 4_200 }));
        world.run_until_idle();
        let RunState::AwaitingRetry { next_attempt_at, failure, .. } = world.state(run) else {
            panic!("{:?}", world.state(run))
        };
        assert_eq!(failure.code, "card.network");
        assert_eq!(*next_attempt_at, world.now().plus(100));
        world.skip_to_end(run);
        // The task itself answered the third attempt.
        assert_eq!(world.output(run)["attempts"], 3);
        assert_eq!(world.task_calls("charge").len(), 3);
        let delays = world.journal(run).iter().filter_map(|entry| match &entry.event {
            JournalEvent::TaskAttemptFailed { retry_at, .. } => Some(retry_at.since(entry.at)),
            _ => None,
        });
        assert_eq!(delays.collect::<Vec<_>>(), [100, 200]);
    });
}

#[test]
fn a_task_that_always_fails_fails_the_run_and_an_operator_can_mend_it() {
    survives_crashes(example("payment"), |world| {
        world.fail("charge", 5, Failure::new("card.network", "no answer"));
        let run = world.start("payment", json!({ "amount_cents": 1 }));
        world.skip_to_end(run);
        assert_eq!(world.failure(run).code, "card.network");
        assert_eq!(count(world, run, "TaskFailed"), 1);
        world.retry_with(run, "charge", json!({ "attempts": 0, "reference": "by hand" }));
        world.skip_to_end(run);
        assert_eq!(world.output(run)["reference"], "by hand");
        assert_eq!(world.task_calls("charge").len(), 5);
    });
}

#[test]
fn a_whole_run_is_tried_again() {
    survives_crashes(example("payment"), |world| {
        world.fail("charge", 5, Failure::new("card.network", "no answer"));
        let retry =
            Some(everstep_testing::RetryPolicy::Fixed { max_attempts: 2, delay_ms: 3_600_000 });
        let input =
            Some(everstep_testing::Payload::from_value(&json!({ "amount_cents": 1 })).unwrap());
        let run = world.start_with(StartBody { retry, input, ..StartBody::new("payment") });
        world.skip_to_end(run);
        assert_eq!(world.output(run)["attempts"], 1);
        assert_eq!(count(world, run, "AttemptStarted"), 2);
    });
}

#[test]
fn fan_out_joins_its_tasks() {
    survives_crashes(example("fan-out"), |world| {
        let run = world.start("fan-out", json!({ "tasks": 20 }));
        world.run_until_idle();
        assert_eq!(world.output(run), json!({ "tasks": 20, "sum": 2_870 }));
        assert_eq!(world.task_calls("square").len(), 20);
    });
}

#[test]
fn a_start_for_later_begins_at_its_time() {
    survives_crashes(example("morning"), |world| {
        let at = world.now().plus(3_600_000);
        let input = Some(everstep_testing::Payload::from_value("Ann").unwrap());
        let run = world.start_with(StartBody { at: Some(at), input, ..StartBody::new("morning") });
        world.run_until_idle();
        assert_eq!(*world.state(run), RunState::Scheduled { at });
        world.advance(days(1));
        let began: Timestamp = serde_json::from_value(world.output(run)["at"].clone()).unwrap();
        assert_eq!(began, at);
    });
}

#[test]
fn a_payment_before_the_wait_is_kept() {
    survives_crashes(example("trial"), |world| {
        world.takes("start-trial", hours(1));
        let run = world.start("trial", json!({ "user": "u1" }));
        world.run_until_idle();
        world.send_event(run, "payment", json!({ "amount_cents": 900 }));
        world.run_until_idle();
        assert_eq!(count(world, run, "EventAwaited"), 0);
        assert_eq!(world.state(run).kind().as_str(), "running");
        world.advance(hours(1));
        assert_eq!(world.output(run), json!({ "subscribed": true }));
        assert_eq!(count(world, run, "EventTimedOut"), 0);
        assert_eq!(
            world.task_calls("activate-subscription"),
            [json!({ "user": "u1", "amount_cents": 900 })]
        );
    });
}

#[test]
fn a_payment_with_a_reference_is_received_once() {
    survives_crashes(example("trial"), |world| {
        let run = world.start("trial", json!({ "user": "u1" }));
        let payment = json!({ "amount_cents": 900 });
        assert!(world.send_event_once(run, "payment", &payment, "invoice-1"));
        assert!(!world.send_event_once(run, "payment", &payment, "invoice-1"));
        assert!(world.send_event_once(run, "payment", &payment, "invoice-2"));
        world.run_until_idle();
        assert_eq!(world.output(run), json!({ "subscribed": true }));
        assert!(!world.send_event_once(run, "payment", &payment, "invoice-1"), "even at the end");
        assert_eq!(count(world, run, "EventReceived"), 2);
        assert_eq!(world.task_calls("activate-subscription").len(), 1);
    });
}

#[test]
fn the_time_limit_of_an_event_is_exact() {
    survives_crashes(example("trial"), |world| {
        let run = world.start("trial", json!({ "user": "u1" }));
        world.run_until_idle();
        world.advance(days(14) - millis(1));
        assert_eq!(world.state(run).kind().as_str(), "awaiting_event");
        world.advance(millis(1));
        assert_eq!(world.output(run), json!({ "subscribed": false }));
        assert_eq!(world.published(run), Some(json!({ "phase": "ended" })));
    });
}

#[test]
#[should_panic(expected = "takes no event `paymnt`; it takes: payment")]
fn an_event_that_the_workflow_does_not_take_is_refused() {
    let mut world = example("trial")();
    let run = world.start("trial", json!({ "user": "u1" }));
    world.send_event(run, "paymnt", json!({ "amount_cents": 900 }));
}

#[test]
#[should_panic(expected = "the input does not match the schema of `trial` version `1.0`")]
fn an_input_that_does_not_fit_is_refused() {
    let mut world = example("trial")();
    world.start("trial", json!({ "usr": "u1" }));
}

#[test]
#[should_panic(expected = "waits for event `payment`")]
fn the_output_of_a_run_that_waits_is_explained() {
    let mut world = example("trial")();
    let run = world.start("trial", json!({ "user": "u1" }));
    world.run_until_idle();
    let _ = world.output(run);
}

#[test]
#[should_panic(expected = "no module has a task `send-mail`")]
fn a_stub_for_no_task_is_refused() {
    example("trial")().stub("send-mail", |_: Value| Ok(()));
}
