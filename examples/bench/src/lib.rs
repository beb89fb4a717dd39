//! The workflows behind `everstep bench`: as little work as possible, so that what is measured is
//! the host.

use everstep_sdk::prelude::*;

#[payload]
struct Steps {
    steps: u32,
}

#[payload]
struct Tasks {
    tasks: u32,
}

/// Does nothing.
#[task]
async fn nothing() -> TaskResult<()> {
    Ok(())
}

/// Tasks one after the other; gives how many.
#[workflow(version = "1.0")]
async fn bench_steps(run: Run, input: Steps) -> WorkflowResult<u32> {
    for _ in 0..input.steps {
        nothing.start(&run, ()).await?;
    }
    Ok(input.steps)
}

/// Tasks one after the other, and then a wait that nothing ends.
#[workflow(version = "1.0", events(never = ()))]
async fn bench_waits(run: Run, input: Steps) -> WorkflowResult<u32> {
    for _ in 0..input.steps {
        nothing.start(&run, ()).await?;
    }
    run.event::<()>("never").await;
    Ok(input.steps)
}

/// Tasks all at once, joined; gives how many.
#[workflow(version = "1.0")]
async fn bench_fan_out(run: Run, input: Tasks) -> WorkflowResult<u32> {
    try_join_all((0..input.tasks).map(|_| nothing.start(&run, ()))).await?;
    Ok(input.tasks)
}

everstep_sdk::module!(workflows: [bench_steps, bench_waits, bench_fan_out], tasks: [nothing]);
