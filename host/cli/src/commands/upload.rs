//! `everstep upload`: hands a component to the server, which checks it before it takes it. `dev`
//! uploads through here, too.

use super::gate;
use crate::context::Context;
use crate::exit::{Ended, Failure};
use crate::output::Output;
use crate::text;
use everstep_client::{Client, ClientError, ModuleView, UploadOptions, Uploaded};
use std::path::{Path, PathBuf};

/// Upload a component.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A version names one module. With --replace the component takes the place of the modules that have its \
versions. Every open run of theirs is replayed on it first, on the server, without effects. When all \
pass they are moved to it; when one does not, nothing changes, the report says why, and the exit code \
is 5.

Examples:
  everstep upload target/wasm32-wasip2/release/onboarding.wasm
  everstep upload onboarding.wasm --json | jq -r .module.digest
  everstep upload onboarding.wasm --replace --dry-run
  everstep upload onboarding.wasm --replace")]
pub(crate) struct Args {
    /// The component, as `everstep build` prints it
    file: PathBuf,
    /// Put it in the place of modules that have its versions, and move their open runs
    #[arg(long)]
    replace: bool,
    /// Take it although what worked for callers and readers may fail
    #[arg(long)]
    allow_narrowing: bool,
    /// Take it although its tasks ask for hosts or secrets that they did not ask for before
    #[arg(long)]
    allow_grants: bool,
    #[command(flatten)]
    gate: gate::Options,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let gate::Options { allow_diverging, dry_run } = args.gate;
    let options = UploadOptions {
        replace: args.replace,
        allow_diverging,
        allow_narrowing: args.allow_narrowing,
        allow_grants: args.allow_grants,
        dry_run,
    };
    let uploaded = upload(&context.output, &context.client()?, &args.file, options).await;
    let uploaded = gate::answer(context, uploaded?)?;
    if context.output.is_json() {
        context.output.value(&uploaded)?;
        return gate::ended(args.gate, uploaded.upgrade.as_ref());
    }
    if !uploaded.created && uploaded.upgrade.is_none() {
        context.output.note("the server has it already");
    }
    gate::changes(&uploaded.changes).iter().for_each(|line| context.output.note(line));
    if let Some(report) = &uploaded.upgrade {
        gate::show(context, report);
    }
    context.output.line(&uploaded.module.digest.to_string())?;
    for name in workflows(&uploaded.module) {
        context.output.note(&format!("  {name}"));
    }
    for grant in super::inspect::grants(&uploaded.module.manifest) {
        context.output.note(&format!("  {grant}"));
    }
    if !uploaded.active {
        context.output.note("a dry run: nothing was changed");
    }
    gate::ended(args.gate, uploaded.upgrade.as_ref())
}

/// Uploads a file and shows how far it is.
pub(crate) async fn upload(
    output: &Output,
    client: &Client,
    file: &Path,
    options: UploadOptions,
) -> Result<Result<Uploaded, ClientError>, Failure> {
    let bytes = read(file)?;
    let total = bytes.len() as u64;
    let progress = output.byte_bar(format!("uploading {}", file.display()), total);
    let move_on = progress.position();
    let mut watch = gate::Watch::new(output);
    Ok(client.upload_observed(bytes, options, move_on, |how_far| watch.show(how_far)).await)
}

/// The bytes of a component.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|e| {
        Failure::usage("file.unreadable", format!("cannot read {}: {e}", file.display()))
            .fix("name a component; `everstep build` makes one and prints its path")
    })
}

/// The workflows of a module with their versions, one line each.
pub(crate) fn workflows(module: &ModuleView) -> Vec<String> {
    let lines = module.manifest.workflows.iter();
    lines.map(|w| text::one_line(&format!("{} {}", w.name, w.version), 120)).collect()
}
