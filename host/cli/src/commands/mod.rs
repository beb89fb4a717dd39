//! One file per verb. Each has its `Args` and a `run` that says how it ended.

pub(crate) mod bench;
pub(crate) mod build;
pub(crate) mod completions;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod event;
mod gate;
pub(crate) mod host;
pub(crate) mod hosts;
pub(crate) mod inspect;
pub(crate) mod modules;
pub(crate) mod new;
pub(crate) mod runs;
pub(crate) mod schedules;
pub(crate) mod server;
pub(crate) mod start;
pub(crate) mod store;
pub(crate) mod upload;

use crate::args::Verb;
use crate::context::Context;
use crate::exit::Ended;

/// Does what was typed.
pub(crate) async fn run(context: &Context, verb: Verb) -> Ended {
    match verb {
        Verb::New(args) => new::run(context, args).await,
        Verb::Build(args) => build::run(context, args).await,
        Verb::Inspect(args) => inspect::run(context, args).await,
        Verb::Server(args) => server::run(context, args).await,
        Verb::Host(args) => host::run(context, args).await,
        Verb::Hosts(verb) => hosts::run(context, verb).await,
        Verb::Upload(args) => upload::run(context, args).await,
        Verb::Start(args) => start::run(context, args).await,
        Verb::Modules(verb) => modules::run(context, verb).await,
        Verb::Event(verb) => event::run(context, verb).await,
        Verb::Runs(verb) => runs::run(context, verb).await,
        Verb::Schedules(verb) => schedules::run(context, verb).await,
        Verb::Store(verb) => store::run(context, verb).await,
        Verb::Dev(args) => dev::run(context, args).await,
        Verb::Doctor(args) => doctor::run(context, args).await,
        Verb::Bench(args) => bench::run(context, args).await,
        Verb::Completions(args) => completions::run(context, args),
    }
}
