//! A workflow that tries to be nondeterministic in every way that it can think of.
//!
//! Each trick looks at something that differs between two executions of an ordinary program. What it
//! saw becomes the input of a task, and the output, so any difference in a replay is a divergence.
//! `tests/tests/determinism.rs` replays every trick many times; `docs/determinism.md` tells why they
//! all fail.
//!
//! `everstep start chaotic --input '"clock"'`

mod floats;
mod machine;
mod memory;

use everstep_sdk::prelude::*;

/// What to look at.
#[payload]
#[derive(Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Trick {
    /// `SystemTime`, `Instant`, and how far they move.
    Clock,
    /// The operating system's source of random bytes.
    Random,
    /// The order of hash maps, whose keys are random.
    HashMap,
    /// The bits of results that are not a number.
    NanBits,
    /// Arithmetic whose last bits depend on rounding.
    FloatArithmetic,
    /// The functions whose results no standard prescribes.
    Transcendental,
    /// Vector instructions, also those that may differ between processors.
    Simd,
    /// How much memory there is.
    MemoryLimit,
    /// What lies in memory that nobody has written.
    UninitialisedMemory,
    /// Where things are: on the stack, on the heap, and functions.
    Addresses,
    /// Environment, arguments, working directory.
    Environment,
    /// Standard input.
    Stdin,
    /// How many processors there are, and which thread this is.
    Processors,
    /// Which of several operations ends first.
    Race,
    /// Blocks the thread. The run gets stuck.
    Sleep,
    /// Calls without end. The run gets stuck.
    Recursion,
    /// Computes without end. The run gets stuck.
    Spin,
}

/// Takes what was seen, and gives it back.
#[task]
async fn witness(seen: Vec<String>) -> TaskResult<Vec<String>> {
    Ok(seen)
}

/// Does a trick twice, with a task in between that is told of the first time.
#[workflow(version = "1.0")]
async fn chaotic(run: Run, trick: Trick) -> WorkflowResult<Vec<String>> {
    let first = look(&run, trick).await;
    let mut seen = witness.start(&run, first).await?;
    seen.extend(look(&run, trick).await);
    Ok(seen)
}

async fn look(run: &Run, trick: Trick) -> Vec<String> {
    match trick {
        Trick::Clock => machine::clock(),
        Trick::Random => machine::random(),
        Trick::HashMap => machine::hash_map(),
        Trick::NanBits => floats::nan_bits(),
        Trick::FloatArithmetic => floats::arithmetic(),
        Trick::Transcendental => floats::transcendental(),
        Trick::Simd => floats::simd(),
        Trick::MemoryLimit => memory::limit(),
        Trick::UninitialisedMemory => memory::uninitialised(),
        Trick::Addresses => memory::addresses(),
        Trick::Environment => machine::environment(),
        Trick::Stdin => machine::stdin(),
        Trick::Processors => machine::processors(),
        Trick::Race => race(run).await,
        Trick::Sleep => machine::sleep(),
        Trick::Recursion => memory::recursion(),
        Trick::Spin => machine::spin(),
    }
}

/// Tasks and a sleep of about one length; which ends first is decided once, by the host.
async fn race(run: &Run) -> Vec<String> {
    let tasks = (0..3).map(|n| witness.start(run, vec![format!("racer {n}")]));
    let mut tasks = everstep_sdk::futures::future::select_all(tasks).fuse();
    let first = select! {
        (winner, ..) = tasks =>
            winner.map_or_else(|failure| failure.code().to_owned(), |seen| seen.join(" ")),
        () = run.sleep(millis(1)) => "the sleep".to_owned(),
    };
    vec![first]
}

use everstep_sdk::futures::FutureExt;

everstep_sdk::module!(workflows: [chaotic], tasks: [witness]);
