//! Good morning, at the right time.
//!
//! Shows a workflow that is started long before it begins: the host keeps the start, over restarts,
//! until it is due.
//!
//! `everstep start morning --delay 8h --input '"Ann"'`

use everstep_sdk::prelude::*;

#[payload]
struct Greeting {
    text: String,
    /// When the run began, not when it was started.
    at: Timestamp,
}

/// Greets somebody.
#[workflow(version = "1.0")]
async fn morning(run: Run, name: String) -> WorkflowResult<Greeting> {
    let at = run.now();
    run.logger().info("good morning", fields!["name" => name, "at" => at]);
    Ok(Greeting { text: format!("Good morning, {name}!"), at })
}

everstep_sdk::module!(workflows: [morning]);
