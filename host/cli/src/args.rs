//! What can be typed: the verbs and the options that all of them share. Each verb's own arguments
//! stand in its file below `commands/`.

use crate::commands::{
    bench, build, completions, dev, doctor, event, host, hosts, inspect, modules, new, runs,
    schedules, server, start, store, upload,
};
use clap::{Args, Parser, Subcommand};

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 the run or request failed, 2 usage, 3 server unreachable, 4 timeout, \
5 divergence

Examples:
  everstep dev                                   build, serve and watch the crate in this folder
  everstep start user-onboarding --input '{\"email\":\"ada@example.com\"}' --wait
  everstep runs list --state failed,stuck
  everstep runs show 0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f";

/// Durable workflows: compile, upload, run, watch.
#[derive(Debug, Parser)]
#[command(name = "everstep", version, after_help = AFTER_HELP, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What every verb takes.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Print data as JSON on stdout, everything else on stderr
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// The server to talk to
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "EVERSTEP_SERVER",
        hide_env_values = true,
        default_value = "http://127.0.0.1:9090",
        help_heading = "Global options"
    )]
    pub(crate) server: String,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Make a workflow crate that builds and runs
    New(new::Args),
    /// Build a workflow crate to a component and print its path
    Build(build::Args),
    /// Show what a component contains, asks for and imports
    Inspect(inspect::Args),
    /// Run the server, and a host in the same process
    Server(server::Args),
    /// Run a host: it executes the runs of a server on another machine
    Host(host::Args),
    /// The hosts that execute runs
    #[command(subcommand)]
    Hosts(hosts::Verb),
    /// Upload a component
    Upload(upload::Args),
    /// Start a run and print its id
    Start(start::Args),
    /// Send events to runs
    #[command(subcommand)]
    Event(event::Verb),
    /// Everything about runs
    #[command(subcommand)]
    Runs(runs::Verb),
    /// Runs at times: cron expressions and intervals
    #[command(subcommand)]
    Schedules(schedules::Verb),
    /// The modules that the server has
    #[command(subcommand)]
    Modules(modules::Verb),
    /// The data of servers
    #[command(subcommand)]
    Store(store::Verb),
    /// Serve, build, upload and watch a workflow crate; state is kept in .everstep/
    Dev(dev::Args),
    /// Check this machine's set-up and say how to fix it
    Doctor(doctor::Args),
    /// Measure the speed of durable steps on this machine
    Bench(bench::Args),
    /// Print shell completions
    Completions(completions::Args),
}

/// Reads a label, wherever one is typed.
pub(crate) fn parse_tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is not of the form KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_verb_has_examples() {
        fn check(command: &clap::Command, path: &str) {
            let path = format!("{path} {}", command.get_name());
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:"), "`{path}` has no examples");
            let verbs = command.get_subcommands().filter(|verb| verb.get_name() != "help");
            verbs.for_each(|verb| check(verb, &path));
        }
        check(&Cli::command(), "");
    }
}
