//! Orders that are checked first. An open order has not been, and no replay can make up for that: this
//! code does not pass the gate under the old version.

use everstep_sdk::prelude::*;

/// Looks whether the customer is known.
#[task]
async fn check(order: u64) -> TaskResult<bool> {
    Ok(order > 0)
}

/// Takes the goods from the shelf.
#[task]
async fn reserve(order: u64) -> TaskResult<String> {
    Ok(format!("shelf {}", order % 10))
}

/// Hands the goods over.
#[task]
async fn ship(shelf: String) -> TaskResult<String> {
    Ok(format!("SHIPPED FROM {}", shelf.to_uppercase()))
}

/// An order waits for its payment, for weeks if need be.
#[workflow(version = "1.0", events(paid = ()))]
async fn order(run: Run, number: u64) -> WorkflowResult<String> {
    check.start(&run, number).await?;
    let shelf = reserve.start(&run, number).await?;
    run.event::<()>("paid").await;
    ship.start(&run, shelf).await
}

everstep_sdk::module!(workflows: [order], tasks: [check, reserve, ship]);
