//! A long pipeline: several stages, a sleep, and somebody who has to agree.
//!
//! Shows a wait with a time limit, and a run that shows how far it is.
//!
//! `everstep start pipeline --input '{"rows": 1000, "sleep_ms": 500, "approval_ms": 60000}'`, then
//! `everstep event send RUN approval --data '{"by": "Ada", "granted": true}'`.

use everstep_sdk::prelude::*;

#[payload]
struct Order {
    rows: u64,
    sleep_ms: u64,
    approval_ms: u64,
}

#[payload]
struct Approval {
    by: String,
    granted: bool,
}

#[payload]
struct Report {
    loaded: u64,
    approved_by: String,
}

/// Reads the rows.
#[task]
async fn extract(rows: u64) -> TaskResult<Vec<u64>> {
    Ok((1..=rows.min(1_000)).collect())
}

/// Keeps every second one.
#[task]
async fn transform(rows: Vec<u64>) -> TaskResult<Vec<u64>> {
    Ok(rows.into_iter().filter(|row| row % 2 == 0).collect())
}

/// Writes them.
#[task]
async fn load(rows: Vec<u64>) -> TaskResult<u64> {
    Ok(rows.len() as u64)
}

/// Extracts, transforms, rests, asks, loads.
#[workflow(version = "1.0", events(approval = Approval))]
async fn pipeline(run: Run, order: Order) -> WorkflowResult<Report> {
    run.publish("extracting");
    let rows = extract.start(&run, order.rows).await?;
    run.publish("transforming");
    let rows = transform.start(&run, rows).await?;
    run.sleep_named("before-approval", millis(order.sleep_ms)).await;
    run.publish("waiting for approval");
    let approval = run.event::<Approval>("approval").timeout(millis(order.approval_ms)).await;
    match approval {
        Awaited::Received(Approval { by, granted: true }) => {
            run.publish("loading");
            Ok(Report { loaded: load.start(&run, rows).await?, approved_by: by })
        }
        Awaited::Received(Approval { by, .. }) => {
            Err(WorkflowError::new("approval.denied", format!("{by} said no")).not_retryable())
        }
        Awaited::TimedOut => {
            Err(WorkflowError::new("approval.timeout", "nobody answered").not_retryable())
        }
    }
}

everstep_sdk::module!(workflows: [pipeline], tasks: [extract, transform, load]);
