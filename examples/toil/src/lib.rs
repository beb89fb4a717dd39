//! Tasks under control: heartbeats and progress, a task that hears that it is not wanted any more,
//! limits on how many run and begin at once, secrets.
//!
//! `everstep start toil --input '{"counts": [40]}'`

use everstep_sdk::prelude::*;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[payload]
struct Toil {
    /// Numbers to count to, each in a task of its own.
    #[serde(default)]
    counts: Vec<u64>,
    /// Give the counting up after so long.
    #[serde(default)]
    patience_ms: Option<u64>,
    /// How many tasks that must not overlap.
    #[serde(default)]
    singles: u64,
    /// How many tasks of which ten may begin in a second.
    #[serde(default)]
    limited: u64,
    /// Fail once without a heartbeat.
    #[serde(default)]
    silent: bool,
    /// Read the secret.
    #[serde(default)]
    secret: bool,
}

#[payload]
struct Results {
    counted: Vec<u64>,
    singles: Vec<(u64, u64)>,
    limited: Vec<u64>,
    silent: Option<u64>,
    secret: Option<u64>,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

/// Counts, tells how far it is, and stops when nobody wants to know.
#[task(retry = never)]
async fn count(to: u64, context: TaskContext) -> TaskResult<u64> {
    for n in 1..=to {
        if context.is_cancelled() {
            context.logger().info("stopped early", fields!["at" => n]);
            return Ok(n);
        }
        context.heartbeat(n);
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(to)
}

/// Says when it began and ended.
#[task(concurrency = 1)]
async fn single(_n: u64) -> TaskResult<(u64, u64)> {
    let begun = now();
    std::thread::sleep(Duration::from_millis(30));
    Ok((begun, now()))
}

/// Says when it began.
#[task(rate = per_second(10))]
async fn limited(_n: u64) -> TaskResult<u64> {
    Ok(now())
}

/// Says something once and is silent then; the next attempt tells what the first one said.
#[task(retry = fixed(max_attempts = 2, delay = millis(10)), heartbeat_timeout = millis(300))]
async fn silent(context: TaskContext) -> TaskResult<u64> {
    if let Some(progress) = context.progress::<u64>() {
        return Ok(progress);
    }
    context.heartbeat(7);
    std::thread::sleep(Duration::from_secs(60));
    Ok(0)
}

/// Tells how long the secret is.
#[task(retry = never, secrets = ["TOIL_TOKEN"])]
async fn with_secret(context: TaskContext) -> TaskResult<u64> {
    Ok(context.secret("TOIL_TOKEN")?.len() as u64)
}

/// Does all that it is asked for.
#[workflow(version = "1.0")]
async fn toil(run: Run, input: Toil) -> WorkflowResult<Results> {
    let counting = try_join_all(input.counts.iter().map(|to| count.start(&run, *to)));
    let counted = match input.patience_ms {
        None => counting.await?,
        Some(ms) => {
            let mut counting = std::pin::pin!(futures::FutureExt::fuse(counting));
            select! {
                counted = counting => counted?,
                () = run.sleep(millis(ms)) => Vec::new(),
            }
        }
    };
    let singles = try_join_all((0..input.singles).map(|n| single.start(&run, n))).await?;
    let begun = try_join_all((0..input.limited).map(|n| limited.start(&run, n))).await?;
    let silent = match input.silent {
        true => Some(silent.start(&run, ()).await?),
        false => None,
    };
    let secret = match input.secret {
        true => Some(with_secret.start(&run, ()).await?),
        false => None,
    };
    Ok(Results { counted, singles, limited: begun, silent, secret })
}

use everstep_sdk::futures;

everstep_sdk::module!(
    workflows: [toil],
    tasks: [count, single, limited, silent, with_secret]
);
