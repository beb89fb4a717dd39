//! Orders, as they were first: reserve, wait for the payment, ship. The crates beside this one are
//! later versions of the same code; docs/upgrades.md tells their story.

use everstep_sdk::prelude::*;

/// Takes the goods from the shelf.
#[task]
async fn reserve(order: u64) -> TaskResult<String> {
    Ok(format!("shelf {}", order % 10))
}

/// Hands the goods over.
#[task]
async fn ship(shelf: String) -> TaskResult<String> {
    Ok(format!("shipped from {shelf}"))
}

/// An order waits for its payment, for weeks if need be.
#[workflow(version = "1.0", events(paid = ()))]
async fn order(run: Run, number: u64) -> WorkflowResult<String> {
    let shelf = reserve.start(&run, number).await?;
    run.event::<()>("paid").await;
    ship.start(&run, shelf).await
}

everstep_sdk::module!(workflows: [order], tasks: [reserve, ship]);
