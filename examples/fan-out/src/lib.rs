//! Many tasks at once.
//!
//! Shows that operations are ordinary futures: a hundred tasks run at the same time, wherever there
//! is room for them, and are joined.
//!
//! `everstep start fan-out --input '{"tasks": 100}'`

use everstep_sdk::prelude::*;

#[payload]
struct Work {
    #[serde(default = "hundred")]
    tasks: u64,
}

fn hundred() -> u64 {
    100
}

#[payload]
struct Total {
    tasks: u64,
    sum: u64,
}

/// Squares a number.
#[task]
async fn square(n: u64) -> TaskResult<u64> {
    Ok(n * n)
}

/// Adds the squares of the first numbers, each computed by a task of its own.
#[workflow(version = "1.0")]
async fn fan_out(run: Run, input: Work) -> WorkflowResult<Total> {
    let started = (1..=input.tasks).map(|n| square.start(&run, n));
    let squares = try_join_all(started).await?;
    Ok(Total { tasks: input.tasks, sum: squares.iter().sum() })
}

everstep_sdk::module!(workflows: [fan_out], tasks: [square]);
