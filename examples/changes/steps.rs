// One workflow in several wordings, for the question what a change of the code means for runs that
// are under way. Each crate beside this file includes it with another `VARIANT`.
//
// The run does two tasks, sleeps, and waits for an event. Appending behind that and changing how long
// something takes is safe; everything else asks for something else than the journal has.

use everstep_sdk::prelude::*;

#[allow(dead_code)]
#[derive(PartialEq)]
enum Variant {
    Base,
    Appended,
    Retimed,
    Inserted,
    Removed,
    Reordered,
    Renamed,
    Reworded,
}
use Variant::*;

/// Does nothing in particular.
#[task]
async fn first(n: u64) -> TaskResult<u64> {
    Ok(n)
}

/// The same.
#[task]
async fn second(n: u64) -> TaskResult<u64> {
    Ok(n)
}

/// The same.
#[task]
async fn third(n: u64) -> TaskResult<u64> {
    Ok(n)
}

/// See the top of the file.
#[workflow(version = "1.0", events(go = ()))]
async fn changes(run: Run) -> WorkflowResult<u64> {
    if VARIANT == Inserted {
        third.start(&run, 0).await?;
    }
    let input = if VARIANT == Reworded { 9 } else { 1 };
    if VARIANT == Reordered {
        second.start(&run, 2).await?;
        first.start(&run, input).await?;
    } else {
        let attempts = if VARIANT == Retimed { 7 } else { 2 };
        let retry = Fixed { max_attempts: attempts, delay: secs(1) };
        first.retry(RetryPolicy::Fixed(retry)).start(&run, input).await?;
        match VARIANT {
            Removed => {}
            Renamed => drop(third.start(&run, 2).await?),
            _ => drop(second.start(&run, 2).await?),
        }
    }
    let length = if VARIANT == Retimed { days(30) } else { millis(5) };
    run.sleep_named("pause", length).await;
    run.event::<()>("go").await;
    if VARIANT == Appended {
        return third.start(&run, 3).await;
    }
    Ok(0)
}

everstep_sdk::module!(workflows: [changes], tasks: [first, second, third]);
