//! The everstep command line: server, client and tools in one binary.
//!
//! `args.rs` says what can be typed, `commands/` has one file per verb, `output.rs` is the only
//! place that writes to the terminal, and `exit.rs` names the exit codes.

mod args;
mod commands;
mod context;
mod durations;
mod exit;
mod guest;
mod output;
mod store_at;
mod text;

use clap::Parser;
use std::process::ExitCode;

/// A fleet makes a fifth more steps with it than with the system's; see docs/performance.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = args::Cli::parse();
    let output = output::Output::new(cli.global.json);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ended = match runtime {
        Ok(runtime) => {
            let context = context::Context { server: cli.global.server, output: output.clone() };
            let ended = runtime.block_on(commands::run(&context, cli.verb));
            // A read of the standard input that nobody waits for must not hold the process.
            runtime.shutdown_background();
            ended
        }
        Err(error) => Err(exit::Failure::new("system.threads", error.to_string())),
    };
    let code = ended.unwrap_or_else(|failure| {
        output.failure(&failure);
        failure.exit
    });
    ExitCode::from(code as u8)
}
