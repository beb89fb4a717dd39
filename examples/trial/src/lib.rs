//! A trial subscription that ends with a payment, or after two weeks without one.
//!
//! Shows an event with a time limit, and what a run shows of itself. How it is tested in virtual
//! time stands in `docs/testing.md`.
//!
//! `everstep start trial --input '{"user": "u1"}'`, then
//! `everstep event send RUN payment --data '{"amount_cents": 900}'`

use everstep_sdk::prelude::*;

#[payload]
struct Signup {
    user: String,
    /// How long the trial is; two weeks unless said otherwise.
    #[serde(default = "two_weeks")]
    trial_ms: u64,
}

fn two_weeks() -> u64 {
    14 * 86_400_000
}

/// The user has paid.
#[payload]
struct Payment {
    amount_cents: u64,
}

#[payload]
struct Subscription {
    user: String,
    amount_cents: u64,
}

#[payload]
struct Ended {
    subscribed: bool,
}

#[payload]
struct Progress {
    phase: String,
}

/// Opens the account.
#[task]
async fn start_trial(user: String) -> TaskResult<()> {
    println!("{user} tries it");
    Ok(())
}

/// Makes the account one that is paid for.
#[task(retry = exponential(max_attempts = 8, initial = secs(1)), attempt_timeout = secs(30))]
async fn activate_subscription(subscription: Subscription) -> TaskResult<()> {
    println!("{} has subscribed for {} cents", subscription.user, subscription.amount_cents);
    Ok(())
}

/// Closes the account.
#[task]
async fn cancel_trial(user: String) -> TaskResult<()> {
    println!("{user} has not subscribed");
    Ok(())
}

/// Opens an account, and closes it again unless the user pays in time.
#[workflow(version = "1.0", events(payment = Payment))]
async fn trial(run: Run, input: Signup) -> WorkflowResult<Ended> {
    let show = |phase: &str| run.publish(Progress { phase: phase.into() });
    let Signup { user, trial_ms } = input;
    start_trial.start(&run, user.clone()).await?;
    show("trial");
    let payment = run.event::<Payment>("payment").timeout(millis(trial_ms)).await;
    let Awaited::Received(Payment { amount_cents }) = payment else {
        cancel_trial.start(&run, user).await?;
        show("ended");
        return Ok(Ended { subscribed: false });
    };
    activate_subscription.start(&run, Subscription { user, amount_cents }).await?;
    show("subscribed");
    Ok(Ended { subscribed: true })
}

everstep_sdk::module!(
    workflows: [trial],
    tasks: [start_trial, activate_subscription, cancel_trial],
);
