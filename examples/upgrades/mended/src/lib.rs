//! The code of `../fragile` with its mistake mended.

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
    Ok(prices.get(1).copied().unwrap_or_default())
}

everstep_sdk::module!(workflows: [second_price], tasks: [prices]);
