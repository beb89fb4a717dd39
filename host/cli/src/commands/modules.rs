//! `everstep modules`: what has been uploaded to the server.

mod versions;

use crate::commands::inspect::definitions;
use crate::commands::upload::workflows;
use crate::context::Context;
use crate::durations;
use crate::exit::{Ended, Exit};
use crate::text;
use clap::Subcommand;
use everstep_client::Digest;

#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:
  everstep modules list
  everstep modules versions onboarding
  everstep modules rollback onboarding")]
pub(crate) enum Verb {
    /// List the modules, oldest first
    List(ListArgs),
    /// Show what a module contains and asks for
    Show(ShowArgs),
    /// List workflows with their versions, and say which one new runs get
    Versions(versions::Args),
    /// Choose the version that new runs get which name none
    Default(versions::DefaultArgs),
    /// Take back the last change of what new runs get
    Rollback(versions::RollbackArgs),
    /// Close the versions of a module to new runs
    Retire(versions::RetireArgs),
}

/// List the modules, oldest first.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep modules list
  everstep modules list --json | jq -r '.manifest.workflows[] | .name + \" \" + .version'

With --json, each module is one line, with the schemas of its inputs and outputs.")]
pub(crate) struct ListArgs {}

/// Show what a module contains and asks for.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep modules show \"$(everstep upload onboarding.wasm)\"
  everstep modules show \"$(everstep upload onboarding.wasm)\" --json | jq '.manifest.tasks'")]
pub(crate) struct ShowArgs {
    /// The module's digest
    digest: Digest,
}

pub(crate) async fn run(context: &Context, verb: Verb) -> Ended {
    match verb {
        Verb::List(ListArgs {}) => list(context).await,
        Verb::Show(args) => show(context, args).await,
        Verb::Versions(args) => versions::list(context, args).await,
        Verb::Default(args) => versions::set_default(context, args).await,
        Verb::Rollback(args) => versions::roll_back(context, args).await,
        Verb::Retire(args) => versions::retire(context, args).await,
    }
}

async fn list(context: &Context) -> Ended {
    let modules = context.client()?.modules().await?.modules;
    if context.output.is_json() {
        modules.iter().try_for_each(|module| context.output.row(module))?;
        return Ok(Exit::Done);
    }
    if modules.is_empty() {
        context.output.note("no modules");
        return Ok(Exit::Done);
    }
    let (now, paint) = (context.now(), context.output.paint);
    let head = ["MODULE", "UPLOADED", "OPEN", "WORKFLOWS"].map(|title| paint.faint(title)).to_vec();
    let rows = modules.iter().map(|module| {
        vec![
            module.digest.to_string(),
            format!("{} ago", durations::between(module.uploaded_at, now)),
            module.open_runs.to_string(),
            text::one_line(&workflows(module).join(", "), 120),
        ]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    text::table(&rows).iter().try_for_each(|line| context.output.line(line))?;
    Ok(Exit::Done)
}

async fn show(context: &Context, args: ShowArgs) -> Ended {
    let module = context.client()?.module(args.digest).await?;
    if context.output.is_json() {
        context.output.value(&module)?;
        return Ok(Exit::Done);
    }
    let paint = context.output.paint;
    let head = [
        vec![paint.faint("digest"), module.digest.to_string()],
        vec![paint.faint("size"), text::bytes(module.size)],
        vec![paint.faint("uploaded"), module.uploaded_at.to_string()],
        vec![paint.faint("open runs"), module.open_runs.to_string()],
        vec![paint.faint("built by"), text::one_line(&module.manifest.sdk, 80)],
    ];
    let lines = text::table(&head).into_iter().chain(definitions(&module.manifest, paint));
    lines.into_iter().try_for_each(|line| context.output.line(&line))?;
    Ok(Exit::Done)
}
