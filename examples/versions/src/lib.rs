//! Two versions of one workflow side by side. Each run keeps the version that it began with.
//!
//! `everstep start greeting --version 1.0 --input '"Ada"'`

use everstep_sdk::prelude::*;

/// What the first version says.
#[workflow(name = "greeting", version = "1.0", events(go = ()))]
async fn greeting_v1(run: Run, name: String) -> WorkflowResult<String> {
    run.event::<()>("go").await;
    Ok(format!("Hello {name}"))
}

/// What the second one says.
#[workflow(name = "greeting", version = "2.0", events(go = ()))]
async fn greeting_v2(run: Run, name: String) -> WorkflowResult<String> {
    run.event::<()>("go").await;
    Ok(format!("Good day, {name}, and welcome"))
}

everstep_sdk::module!(workflows: [greeting_v1, greeting_v2]);
