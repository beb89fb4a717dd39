//! `everstep build`: compiles a workflow crate with the guest compiler. Cargo itself says, in its
//! JSON messages, where the component lies. `dev` builds through here, too.

use crate::context::Context;
use crate::durations;
use crate::exit::{Ended, Exit, Failure};
use crate::guest::{GuestCargo, TARGET};
use crate::output::{Output, Progress};
use crate::text;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Build a workflow crate to a component and print its path.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep build
  everstep build examples/onboarding
  everstep upload \"$(everstep build)\"")]
pub(crate) struct Args {
    /// The folder of the crate (of a workspace: builds all its components)
    #[arg(default_value = ".")]
    path: PathBuf,
}

/// A built component.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Component {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let begun = Instant::now();
    let components = build(&context.output, &args.path).await?;
    if context.output.is_json() {
        context.output.value(&serde_json::json!({ "components": components }))?;
        return Ok(Exit::Done);
    }
    let took = durations::short(begun.elapsed());
    for component in components {
        let size = text::bytes(component.size);
        context.output.note(&format!("built {} ({size}) in {took}", component.name));
        context.output.line(&component.path.display().to_string())?;
    }
    Ok(Exit::Done)
}

/// Compiles the crate, or the crates, of a folder.
pub(crate) async fn build(output: &Output, folder: &Path) -> Result<Vec<Component>, Failure> {
    let folder = crate_folder(folder)?;
    let cargo = GuestCargo::find().await?;
    let mut command = cargo.command(&folder);
    command
        .args(["build", "--release", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    // On a terminal the spinner shows the progress, and only what the compiler has to say is let
    // through above it. Elsewhere cargo's own lines are as good as ours.
    if output.is_watched() {
        let colour = if output.has_colour() { "always" } else { "never" };
        command.arg("--quiet").env("CARGO_TERM_COLOR", colour).stderr(Stdio::piped());
    }
    let program = cargo.program.display().to_string();
    let no_cargo = |e: std::io::Error| {
        Failure::new("toolchain.missing", format!("cannot run {program}: {e}"))
            .fix("`everstep doctor` checks the compiler")
    };
    let mut child = command.spawn().map_err(no_cargo)?;
    let progress = output.spinner(format!("building {}", folder.display()));
    let said = child.stderr.take().map(|errors| tokio::spawn(pass_on(output.clone(), errors)));
    let components = match child.stdout.take() {
        Some(messages) => collect(messages, &folder, &progress).await?,
        None => Vec::new(),
    };
    let status = child.wait().await.map_err(no_cargo)?;
    if let Some(said) = said {
        // It ends with cargo, and has printed all it could.
        let _ = said.await;
    }
    if !status.success() {
        return Err(Failure::new("build.failed", format!("{} does not build", folder.display()))
            .fix("see the compiler's messages above"));
    }
    if components.is_empty() {
        let detail = format!("{} builds, but gives no component", folder.display());
        return Err(Failure::new("build.no_component", detail)
            .fix("add `[lib] crate-type = [\"cdylib\"]` to its Cargo.toml"));
    }
    Ok(components)
}

/// The folder, provided that it has a Cargo.toml.
pub(crate) fn crate_folder(path: &Path) -> Result<PathBuf, Failure> {
    let folder = if path.ends_with("Cargo.toml") { path.parent().unwrap_or(path) } else { path };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    match folder.canonicalize() {
        Ok(full) if full.join("Cargo.toml").is_file() => Ok(full),
        Ok(full) => {
            Err(Failure::usage("build.no_crate", format!("{} has no Cargo.toml", full.display()))
                .fix("name the folder of a workflow crate"))
        }
        Err(e) => Err(Failure::usage("build.no_crate", format!("{}: {e}", folder.display()))
            .fix("name the folder of a workflow crate")),
    }
}

async fn pass_on(output: Output, errors: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(errors).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        output.note(&line);
    }
}

/// The part of cargo's messages that is of use here.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    target: Target,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Deserialize, Default)]
struct Target {
    name: String,
    crate_types: Vec<String>,
}

impl Message {
    /// The component that the message announces, when it is one of a crate below the folder.
    fn component(&self, folder: &Path) -> Option<&Path> {
        let makes_one =
            self.target.crate_types.iter().any(|kind| kind == "cdylib" || kind == "bin");
        let is_ours = makes_one && self.manifest_path.starts_with(folder);
        let mut files = self.filenames.iter().filter(|_| is_ours);
        files.find(|file| file.extension().is_some_and(|end| end == "wasm")).map(PathBuf::as_path)
    }
}

async fn collect(
    messages: impl AsyncRead + Unpin,
    folder: &Path,
    progress: &Progress,
) -> Result<Vec<Component>, Failure> {
    let unreadable = |e: std::io::Error| Failure::new("build.failed", e.to_string());
    let mut lines = BufReader::new(messages).lines();
    let mut components = Vec::new();
    let mut compiled = 0;
    while let Some(line) = lines.next_line().await.map_err(unreadable)? {
        // Build scripts and macros may print anything in between.
        let Ok(message) = serde_json::from_str::<Message>(&line) else { continue };
        if message.reason != "compiler-artifact" {
            continue;
        }
        compiled += 1;
        progress.say(format!("building: {compiled} crates, {} is ready", message.target.name));
        if let Some(path) = message.component(folder) {
            let size = std::fs::metadata(path).map_err(unreadable)?.len();
            let name = message.target.name.clone();
            components.push(Component { name, path: path.to_owned(), size });
        }
    }
    Ok(components)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn announced(crate_types: &str, manifest: &str, file: &str) -> Option<PathBuf> {
        let message = format!(
            r#"{{"reason":"compiler-artifact","package_id":"x","manifest_path":"{manifest}",
            "target":{{"name":"w","kind":["x"],"crate_types":["{crate_types}"]}},
            "filenames":["{file}"],"fresh":true}}"#
        );
        let message: Message = serde_json::from_str(&message).unwrap();
        message.component(Path::new("/home/me/w")).map(Path::to_owned)
    }

    #[test]
    fn only_components_of_the_folder_count() {
        let ours = "/home/me/w/Cargo.toml";
        assert_eq!(announced("cdylib", ours, "/t/w.wasm"), Some("/t/w.wasm".into()));
        assert_eq!(announced("rlib", ours, "/t/libw.rlib"), None);
        assert_eq!(announced("cdylib", "/cargo/dep/Cargo.toml", "/t/dep.wasm"), None);
    }

    #[test]
    fn other_messages_are_passed_over() {
        for other in [r#"{"reason":"build-finished","success":true}"#, "hello"] {
            let message = serde_json::from_str::<Message>(other).ok();
            assert!(message.is_none_or(|m| m.component(Path::new("/")).is_none()));
        }
    }

    #[test]
    fn a_folder_without_a_crate_is_a_usage_error() {
        let empty = tempfile::tempdir().unwrap();
        let error = crate_folder(empty.path()).unwrap_err();
        assert_eq!(error.exit, Exit::Usage);
        assert!(crate_folder(&empty.path().join("nowhere")).is_err());
        std::fs::write(empty.path().join("Cargo.toml"), "").unwrap();
        let manifest = empty.path().join("Cargo.toml");
        assert_eq!(crate_folder(&manifest).unwrap(), crate_folder(empty.path()).unwrap());
    }
}
