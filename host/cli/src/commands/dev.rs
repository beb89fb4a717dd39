//! `everstep dev`: a server for one crate (or workspace), which is built and uploaded again whenever
//! its sources change. A build or an upload that fails is shown, and the watch goes on.

use super::{build, gate, server, upload};
use crate::context::Context;
use crate::exit::{Ended, Failure};
use crate::guest::GuestCargo;
use crate::{durations, text};
use everstep_client::{Client, UploadOptions};
use everstep_server::ServerOptions;
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use serde_json::json;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long the files must be left alone before they are built.
const QUIET: Duration = Duration::from_millis(300);

/// Serve, build, upload and watch a workflow crate; state is kept in .everstep/.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep dev
  everstep dev examples/onboarding --listen 127.0.0.1:9191

With --json, each thing that happens is one line on stdout.")]
pub(crate) struct Args {
    /// The folder of the crate
    #[arg(default_value = ".")]
    path: PathBuf,
    /// Address and port; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:9090", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let folder = build::crate_folder(&args.path)?;
    server::log_to_stderr(&context.output);
    let state = state_folder(&folder)?;
    let server = server::start(ServerOptions::new(args.listen, state.join("data"))).await?;
    let url = server::url(&server);
    let ended = async {
        report(
            context,
            &format!("listening on {url}"),
            &json!({"event": "listening", "url": url}),
        )?;
        let client = Client::new(&url)?;
        tokio::select! {
            ended = watch(context, &client, &folder) => ended,
            signal = server::stop_signal() => signal,
        }
    }
    .await;
    // Whatever ended the watch: the server's data is closed properly.
    let stopped = server::shut_down(&context.output, server).await;
    ended.and(stopped)
}

/// Builds and uploads, now and after every change.
async fn watch(context: &Context, client: &Client, folder: &Path) -> Result<(), Failure> {
    let (sender, mut changes) = mpsc::channel(1);
    // Watching begins before the first build, so that no change is missed.
    let _watcher = watcher(&source_folders(folder).await, sender)?;
    loop {
        cycle(context, client, folder).await?;
        context.output.note("waiting for changes; Ctrl-C stops");
        settled_change(&mut changes).await?;
    }
}

/// Returns when something has changed and been left alone for a moment.
async fn settled_change(changes: &mut mpsc::Receiver<()>) -> Result<(), Failure> {
    let ended = || Failure::new("dev.watch", "the files are no longer watched");
    changes.recv().await.ok_or_else(ended)?;
    while let Ok(change) = tokio::time::timeout(QUIET, changes.recv()).await {
        change.ok_or_else(ended)?;
    }
    Ok(())
}

/// One build and upload. Fails only when nobody can be told about it.
async fn cycle(context: &Context, client: &Client, folder: &Path) -> Result<(), Failure> {
    let begun = Instant::now();
    let components = match build::build(&context.output, folder).await {
        Ok(components) => components,
        Err(failure) => return show(context, &failure),
    };
    let took = durations::short(begun.elapsed());
    for component in components {
        let size = text::bytes(component.size);
        let line = format!("built {} ({size}) in {took}", component.name);
        report(context, &line, &json!({"event": "built", "component": component}))?;
        // Whoever develops wants open runs to follow the code as far as they can.
        let options = UploadOptions::forced();
        let uploaded = upload::upload(&context.output, client, &component.path, options).await?;
        match gate::answer(context, uploaded) {
            Ok(uploaded) => {
                if let Some(report) = uploaded.upgrade.as_ref().filter(|report| report.runs > 0) {
                    gate::show(context, report);
                }
                let what = if uploaded.created { "uploaded" } else { "unchanged" };
                let names = upload::workflows(&uploaded.module).join(", ");
                let event = json!({"event": what, "module": uploaded.module});
                report(context, &format!("{what}: {names}"), &event)?;
            }
            Err(failure) => show(context, &failure)?,
        }
    }
    Ok(())
}

fn report(context: &Context, line: &str, event: &serde_json::Value) -> Result<(), Failure> {
    context.output.note(line);
    if context.output.is_json() { context.output.row(event) } else { Ok(()) }
}

fn show(context: &Context, failure: &Failure) -> Result<(), Failure> {
    context.output.failure(failure);
    match &failure.report {
        Some(report) if context.output.is_json() => context.output.row(&json!({
            "event": "failed", "code": report.code, "detail": report.detail, "fix": report.fix,
        })),
        _ => Ok(()),
    }
}

/// The folder for data, which is not to be committed with the crate.
fn state_folder(folder: &Path) -> Result<PathBuf, Failure> {
    let state = folder.join(".everstep");
    let made = std::fs::create_dir_all(&state)
        .and_then(|()| std::fs::write(state.join(".gitignore"), "*\n"));
    made.map(|()| state.clone()).map_err(|e| {
        Failure::new("dev.state", format!("cannot write to {}: {e}", state.display()))
            .fix("make the crate's folder writable")
    })
}

/// The folders of the crate and of every crate that it uses by path.
async fn source_folders(folder: &Path) -> Vec<PathBuf> {
    #[derive(serde::Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    #[derive(serde::Deserialize)]
    struct Package {
        source: Option<String>,
        manifest_path: PathBuf,
    }
    let mut folders = vec![folder.to_owned()];
    let Ok(cargo) = GuestCargo::find().await else { return folders };
    let mut command = cargo.command(folder);
    command.args(["metadata", "--format-version", "1"]).stdin(Stdio::null()).stderr(Stdio::null());
    // When cargo cannot say, the build says why, and the crate's own folder is watched.
    let Ok(output) = command.output().await else { return folders };
    let Ok(metadata) = serde_json::from_slice::<Metadata>(&output.stdout) else { return folders };
    let local = metadata.packages.into_iter().filter(|package| package.source.is_none());
    folders.extend(local.filter_map(|p| p.manifest_path.parent().map(Path::to_owned)));
    folders.sort();
    folders.dedup();
    folders
}

/// Watches sources and manifests, not what builds and servers write.
fn watcher(folders: &[PathBuf], changed: mpsc::Sender<()>) -> Result<RecommendedWatcher, Failure> {
    let unwatchable = |e: notify::Error| {
        Failure::new("dev.watch", format!("the files cannot be watched: {e}"))
            .fix("raise the limit of watches (fs.inotify.max_user_watches)")
    };
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
        // The compiler opens every file, which is no change.
        let changes = event.is_ok_and(|event| {
            !event.kind.is_access() && event.paths.iter().any(|path| is_source(path))
        });
        if changes {
            // When one change waits already, this one is built with it.
            let _ = changed.try_send(());
        }
    })
    .map_err(unwatchable)?;
    for folder in folders {
        watcher.watch(folder, RecursiveMode::NonRecursive).map_err(unwatchable)?;
        let sources = folder.join("src");
        if sources.is_dir() {
            watcher.watch(&sources, RecursiveMode::Recursive).map_err(unwatchable)?;
        }
    }
    Ok(watcher)
}

fn is_source(path: &Path) -> bool {
    let in_sources = path.components().any(|part| part.as_os_str() == "src");
    let name = path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let is_backup = name.ends_with('~') || name.starts_with('.');
    !is_backup && (in_sources || name == "Cargo.toml" || name == "build.rs")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_sources_lead_to_a_build() {
        for source in ["/w/Cargo.toml", "/w/build.rs", "/w/src/lib.rs", "/w/src/mail.html"] {
            assert!(is_source(Path::new(source)), "{source}");
        }
        for other in ["/w/Cargo.lock", "/w/target", "/w/.everstep", "/w/src/.lib.rs.swp"] {
            assert!(!is_source(Path::new(other)), "{other}");
        }
    }

    #[tokio::test]
    async fn a_change_is_noticed_and_a_look_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let source = folder.path().join("src/lib.rs");
        std::fs::create_dir_all(folder.path().join("src")).unwrap();
        std::fs::write(&source, "x").unwrap();
        let (sender, mut changes) = mpsc::channel(1);
        let _watcher = watcher(&[folder.path().to_owned()], sender).unwrap();
        std::fs::write(folder.path().join("Cargo.lock"), "x").unwrap();
        std::fs::read(&source).unwrap();
        let quiet = tokio::time::timeout(QUIET * 2, changes.recv()).await;
        assert!(quiet.is_err(), "neither a lock file nor a read is a change of the sources");
        std::fs::write(&source, "y").unwrap();
        std::fs::write(folder.path().join("src/mail.rs"), "x").unwrap();
        let noticed = tokio::time::timeout(QUIET * 30, settled_change(&mut changes)).await;
        noticed.unwrap().unwrap();
        assert!(changes.is_empty(), "both are built at once");
    }

    #[test]
    fn the_state_is_kept_out_of_git() {
        let folder = tempfile::tempdir().unwrap();
        let state = state_folder(folder.path()).unwrap();
        assert_eq!(std::fs::read_to_string(state.join(".gitignore")).unwrap(), "*\n");
    }
}
