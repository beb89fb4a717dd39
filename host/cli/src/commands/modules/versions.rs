//! `everstep modules versions|default|rollback|retire`: what new runs get.

use crate::commands::gate;
use crate::context::Context;
use crate::durations;
use crate::exit::{Ended, Exit};
use crate::text;
use everstep_client::{Digest, RollbackBody, WorkflowView};

/// List workflows with their versions, and say which one new runs get.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep modules versions
  everstep modules versions onboarding --json | jq .current

With --json, each workflow is one line, with what was changed.")]
pub(crate) struct Args {
    /// Only this workflow
    workflow: Option<String>,
}

/// Choose the version that new runs get which name none.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep modules default onboarding 1.0
  everstep modules default onboarding --newest")]
pub(crate) struct DefaultArgs {
    /// The workflow's name
    workflow: String,
    /// Its version
    #[arg(required_unless_present = "newest")]
    version: Option<String>,
    /// The newest version, whichever that will be
    #[arg(long, conflicts_with = "version")]
    newest: bool,
}

/// Take back the last change of what new runs get.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A version that was published is not what new runs get any more; a chosen default is the one before \
again; a module that was replaced comes back, and the open runs go back to it, if all pass. Once more \
takes back the change before.

Examples:
  everstep modules rollback onboarding --dry-run
  everstep modules rollback onboarding")]
pub(crate) struct RollbackArgs {
    /// The workflow's name
    workflow: String,
    #[command(flatten)]
    gate: gate::Options,
}

/// Close the versions of a module to new runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Refused while runs on the module are open. To open the versions again, upload the module again.

Examples:
  everstep modules retire \"$(everstep upload onboarding.wasm)\"")]
pub(crate) struct RetireArgs {
    /// The module's digest
    digest: Digest,
}

pub(super) async fn list(context: &Context, args: Args) -> Ended {
    let client = context.client()?;
    let workflows = match &args.workflow {
        Some(name) => vec![client.workflow(name).await?],
        None => client.workflows().await?.workflows,
    };
    if workflows.is_empty() && !context.output.is_json() {
        context.output.note("no workflows");
    }
    show(context, &workflows)
}

pub(super) async fn set_default(context: &Context, args: DefaultArgs) -> Ended {
    let workflow = context.client()?.set_default(&args.workflow, args.version).await?;
    show(context, &[workflow])
}

pub(super) async fn roll_back(context: &Context, args: RollbackArgs) -> Ended {
    let client = context.client()?;
    let gate::Options { allow_diverging, dry_run } = args.gate;
    let body = RollbackBody { allow_diverging, dry_run };
    let mut watch = gate::Watch::new(&context.output);
    let rolled_back = client.roll_back(&args.workflow, &body, |it| watch.show(it)).await;
    drop(watch);
    let rolled_back = gate::answer(context, rolled_back)?;
    if context.output.is_json() {
        context.output.value(&rolled_back)?;
        return gate::ended(args.gate, rolled_back.upgrade.as_ref());
    }
    if let Some(report) = &rolled_back.upgrade {
        gate::show(context, report);
    }
    show(context, &[rolled_back.workflow])?;
    if dry_run {
        context.output.note("a dry run: nothing was changed");
    }
    gate::ended(args.gate, rolled_back.upgrade.as_ref())
}

pub(super) async fn retire(context: &Context, args: RetireArgs) -> Ended {
    let module = context.client()?.retire_module(args.digest).await?;
    if context.output.is_json() {
        context.output.value(&module)?;
    } else {
        context.output.line(&format!("{} is closed to new runs", module.digest))?;
    }
    Ok(Exit::Done)
}

fn show(context: &Context, workflows: &[WorkflowView]) -> Ended {
    if context.output.is_json() {
        workflows.iter().try_for_each(|workflow| context.output.row(workflow))?;
        return Ok(Exit::Done);
    }
    if workflows.is_empty() {
        return Ok(Exit::Done);
    }
    let (now, paint) = (context.now(), context.output.paint);
    let head =
        ["WORKFLOW", "VERSION", "MODULE", "PUBLISHED", ""].map(|title| paint.faint(title)).to_vec();
    let rows = workflows.iter().flat_map(|workflow| {
        workflow.versions.iter().map(move |version| {
            let current = workflow.current.as_ref() == Some(&version.version);
            let role = match (version.retired_at, current) {
                (Some(_), _) => paint.faint("retired"),
                (None, true) if workflow.default.is_some() => paint.good("current, by choice"),
                (None, true) => paint.good("current"),
                (None, false) => String::new(),
            };
            vec![
                text::one_line(&workflow.name, 60),
                text::one_line(&version.version, 40),
                version.digest.to_string(),
                format!("{} ago", durations::between(version.published_at, now)),
                role,
            ]
        })
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    text::table(&rows).iter().try_for_each(|line| context.output.line(line))?;
    Ok(Exit::Done)
}
