//! Orders, with a mistake mended: what was shipped is said in capitals. Everything that an open order
//! has asked for is asked for again, so open orders can go on with this code.

use everstep_sdk::prelude::*;

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
    let shelf = reserve.start(&run, number).await?;
    run.event::<()>("paid").await;
    run.logger().info("paid", fields!["shelf" => &shelf]);
    ship.start(&run, shelf).await
}

everstep_sdk::module!(workflows: [order], tasks: [reserve, ship]);
