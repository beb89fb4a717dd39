//! Steps that an external ledger witnesses.
//!
//! Each step is a task that tells the ledger when it begins and when it ends, with the idempotency
//! token of its execution; between the steps the run sleeps. Whoever kills the host at random
//! moments can then read from the ledger, and from the output, whether the host kept its promises.
//!
//! The ledger gets `POST` requests with a JSON body of the type [`Entry`] and answers any 2xx.

use everstep_sdk::http;
use everstep_sdk::prelude::*;
use std::time::SystemTime;

#[payload]
struct Plan {
    steps: u32,
    /// The sleep after each step, in milliseconds.
    sleep_ms: u64,
    /// The URL of the ledger on 127.0.0.1.
    ledger: String,
}

#[payload]
struct Step {
    step: u32,
    ledger: String,
}

#[payload]
enum Phase {
    #[serde(rename = "begin")]
    Begin,
    #[serde(rename = "end")]
    End,
}

/// What the ledger is told.
#[payload]
struct Entry {
    run: String,
    step: u32,
    phase: Phase,
    attempt: u32,
    token: String,
    /// The clock of the task.
    at: Timestamp,
    /// What the step is about to return; only at its end.
    value: Option<String>,
    /// What the host that executes the step is called, if it was given the secret `WITNESS`.
    host: Option<String>,
}

#[payload]
struct Outcome {
    /// What each step returned.
    values: Vec<String>,
    /// For each sleep, when it was due and when it ended, by the clock of the workflow.
    sleeps: Vec<(Timestamp, Timestamp)>,
}

/// One step. Its value differs with every attempt, so that a result which changed would show.
#[task(
    retry = fixed(max_attempts = 1_000, delay = millis(20)),
    hosts = ["127.0.0.1:*"],
    secrets = ["WITNESS"],
)]
async fn step(context: TaskContext, input: Step) -> TaskResult<String> {
    let now = || Timestamp::from(SystemTime::now());
    let value = format!("{}#{}@{}", input.step, context.attempt(), now().as_millis());
    let tell = |phase, value| {
        let entry = Entry {
            run: context.run_id().into(),
            step: input.step,
            phase,
            attempt: context.attempt(),
            token: context.idempotency_token().into(),
            at: now(),
            value,
            host: context.secret("WITNESS").ok(),
        };
        http::post(&input.ledger).timeout(secs(10)).json(&entry).send()?.success()
    };
    tell(Phase::Begin, None)?;
    tell(Phase::End, Some(value.clone()))?;
    Ok(value)
}

/// Steps and sleeps in turn.
#[workflow(version = "1.0")]
async fn crash(run: Run, plan: Plan) -> WorkflowResult<Outcome> {
    let mut outcome = Outcome { values: Vec::new(), sleeps: Vec::new() };
    for number in 1..=plan.steps {
        let input = Step { step: number, ledger: plan.ledger.clone() };
        outcome.values.push(step.start(&run, input).await?);
        let due = run.now() + millis(plan.sleep_ms);
        run.sleep(millis(plan.sleep_ms)).await;
        outcome.sleeps.push((due, run.now()));
    }
    Ok(outcome)
}

everstep_sdk::module!(workflows: [crash], tasks: [step]);
