//! `everstep upload`: hands a component to the server, which checks it before it takes it. `dev`
//! uploads through here, too.

use crate::context::Context;
use crate::exit::{Ended, Exit, Failure};
use crate::output::Output;
use crate::text;
use everstep_client::{Client, ModuleView, Uploaded};
use std::path::{Path, PathBuf};

/// Upload a component.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep upload target/wasm32-wasip2/release/onboarding.wasm
  everstep upload onboarding.wasm --json | jq -r .module.digest")]
pub(crate) struct Args {
    /// The component, as `everstep build` prints it
    file: PathBuf,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let uploaded = upload(&context.output, &context.client()?, &args.file).await?;
    if context.output.is_json() {
        context.output.value(&uploaded)?;
        return Ok(Exit::Done);
    }
    if !uploaded.created {
        context.output.note("the server has it already");
    }
    context.output.line(&uploaded.module.digest.to_string())?;
    for name in workflows(&uploaded.module) {
        context.output.note(&format!("  {name}"));
    }
    for grant in super::inspect::grants(&uploaded.module.manifest) {
        context.output.note(&format!("  {grant}"));
    }
    Ok(Exit::Done)
}

/// Uploads a file and shows how far it is.
pub(crate) async fn upload(
    output: &Output,
    client: &Client,
    file: &Path,
) -> Result<Uploaded, Failure> {
    let bytes = read(file)?;
    let total = bytes.len() as u64;
    let progress = output.byte_bar(format!("uploading {}", file.display()), total);
    let move_on = progress.position();
    Ok(client.upload_observed(bytes, move_on).await?)
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
