//! One task after the other, without a pause: a run that is hard to catch.

use everstep_sdk::prelude::*;

/// Passes a number on.
#[task]
async fn number(n: u64) -> TaskResult<u64> {
    Ok(n)
}

/// Adds numbers up.
#[workflow(version = "1.0")]
async fn busy(run: Run, count: u64) -> WorkflowResult<u64> {
    let mut sum = 0;
    for n in 1..=count {
        sum += number.start(&run, n).await?;
    }
    Ok(sum)
}

everstep_sdk::module!(workflows: [busy], tasks: [number]);
