//! `everstep completions`: what a shell needs to complete the verbs and options.

use crate::args::Cli;
use crate::context::Context;
use crate::exit::{Ended, Exit};
use clap::CommandFactory;
use clap_complete::Shell;

/// Print shell completions.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep completions bash > ~/.local/share/bash-completion/completions/everstep
  everstep completions zsh > ~/.zfunc/_everstep
  everstep completions fish > ~/.config/fish/completions/everstep.fish")]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(context: &Context, args: Args) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "everstep", &mut script);
    if context.output.is_json() {
        let script = String::from_utf8_lossy(&script);
        context.output.value(&serde_json::json!({
            "shell": args.shell.to_string(),
            "script": script,
        }))?;
    } else {
        context.output.raw(&script)?;
    }
    Ok(Exit::Done)
}
