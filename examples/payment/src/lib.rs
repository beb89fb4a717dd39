//! A payment with a provider that is down for a while.
//!
//! Shows exponential retries: the provider fails as often as the input says, deterministically, and
//! the workflow sees only the success, or the failure that no attempt was left to overcome.
//!
//! `everstep start payment --input '{"amount_cents": 4200, "succeeds_at_attempt": 3}'`

use everstep_sdk::prelude::*;

#[payload]
struct Payment {
    amount_cents: u64,
    /// The first attempt that succeeds; 1 for no trouble at all.
    #[serde(default = "first")]
    succeeds_at_attempt: u32,
    /// Whether the card is refused, which no retry can change.
    #[serde(default)]
    declined: bool,
}

fn first() -> u32 {
    1
}

#[payload]
struct Charge {
    attempts: u32,
    /// The same for every attempt, so that the customer pays once.
    reference: String,
}

#[payload]
struct Paid {
    amount_cents: u64,
    attempts: u32,
    reference: String,
}

/// Charges the card.
#[task(retry = exponential(max_attempts = 5, initial = millis(100), max_delay = secs(2)))]
async fn charge(context: TaskContext, payment: Payment) -> TaskResult<Charge> {
    if payment.declined {
        return Err(TaskError::new("card.declined", "the bank declined the card")
            .with_details(fields_of(&payment))
            .not_retryable());
    }
    if context.attempt() < payment.succeeds_at_attempt {
        let message = format!("the provider is down (attempt {})", context.attempt());
        return Err(TaskError::new("provider.unavailable", message));
    }
    Ok(Charge { attempts: context.attempt(), reference: context.idempotency_token().into() })
}

fn fields_of(payment: &Payment) -> std::collections::BTreeMap<&'static str, u64> {
    [("amount_cents", payment.amount_cents)].into()
}

/// Charges a card, however long the provider is down.
#[workflow(version = "1.0")]
async fn payment(run: Run, input: Payment) -> WorkflowResult<Paid> {
    let amount_cents = input.amount_cents;
    let charge = charge.start(&run, input).await?;
    run.logger().info("paid", fields!["attempts" => charge.attempts]);
    Ok(Paid { amount_cents, attempts: charge.attempts, reference: charge.reference })
}

everstep_sdk::module!(workflows: [payment], tasks: [charge]);
