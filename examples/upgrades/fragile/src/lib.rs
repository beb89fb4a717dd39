//! Code with a mistake: it panics where `../mended` goes on. Its runs get stuck there.

use everstep_sdk::prelude::*;

/// Reads prices.
#[task]
async fn prices(count: usize) -> TaskResult<Vec<u64>> {
    Ok((1..=count as u64).collect())
}

/// The second price.
#[workflow(version = "1.0")]
async fn second_price(run: Run, count: usize) -> WorkflowResult<u64> {
    let prices = prices.start(&run, count).await?;
    Ok(prices[1])
}

everstep_sdk::module!(workflows: [second_price], tasks: [prices]);
