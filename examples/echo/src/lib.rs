//! A run that lives for ever.
//!
//! Shows events that are kept in order, a wait for whichever comes first, a published state, a side
//! value, and a journal that begins anew so that it never grows.
//!
//! `everstep start echo --input '{"per_generation": 3}'`, then `everstep event send RUN message --data
//! '"hello"'` as often as you like, and `everstep event send RUN close`.

use everstep_sdk::prelude::*;

#[payload]
struct Chat {
    /// After how many messages the journal begins anew.
    #[serde(default = "hundred")]
    per_generation: u32,
    /// What was said so far.
    #[serde(default)]
    said: Vec<String>,
    #[serde(default)]
    generation: u32,
}

fn hundred() -> u32 {
    100
}

#[payload]
struct Transcript {
    said: Vec<String>,
    generation: u32,
}

/// Repeats messages until somebody says that it is enough.
#[workflow(version = "1.0", events(message = String, close = ()))]
async fn echo(run: Run, mut chat: Chat) -> WorkflowResult<Transcript> {
    let greet = || format!("generation {}, {}", chat.generation, run.uuid());
    let greeting = run.side_value("greeting", greet)?;
    run.logger().info(greeting, fields![]);
    // What is drawn behind a side value is the same in a replay, which does not compute it.
    run.sleep_named(&format!("breath-{}", run.random() % 1_000), millis(1)).await;
    for _ in 0..chat.per_generation {
        select! {
            message = run.event::<String>("message") => chat.said.push(message),
            () = run.event::<()>("close") => {
                return Ok(Transcript { said: chat.said, generation: chat.generation });
            }
        }
        run.publish(&chat.said);
    }
    chat.generation += 1;
    Err(run.continue_as_new(chat))
}

everstep_sdk::module!(workflows: [echo]);
