//! `everstep doctor`: looks at what workflows need on this machine, one check after the other, and
//! says for each what to type when it is not well.

use crate::context::Context;
use crate::exit::{Ended, Exit, Failure};
use crate::guest::{GuestCargo, TARGET};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The compiler version that guests and the SDK need.
const RUST_VERSION: &str = env!("CARGO_PKG_RUST_VERSION");

/// Check this machine's set-up and say how to fix it.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep doctor
  everstep doctor --store /var/lib/everstep --server http://10.0.0.7:9090 --json

It exits with 1 when a check fails; warnings do not count.")]
pub(crate) struct Args {
    /// The folder that a server here would use
    #[arg(long, default_value = ".everstep/data", value_name = "PATH")]
    store: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: String) -> Self {
        Self { name, verdict: Verdict::Ok, detail, fix: None }
    }

    fn bad(name: &'static str, verdict: Verdict, detail: String, fix: String) -> Self {
        Self { name, verdict, detail, fix: Some(fix) }
    }
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    let compiler = GuestCargo::find().await;
    let checks = [
        guest_compiler(compiler.as_ref()),
        compiler_version(compiler.as_ref().ok()).await,
        data_folder(&args.store),
        server(context).await,
    ];
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    if context.output.is_json() {
        let version = env!("CARGO_PKG_VERSION");
        context.output.value(&serde_json::json!({ "version": version, "checks": checks }))?;
    } else {
        context.output.line(&format!("everstep {}", env!("CARGO_PKG_VERSION")))?;
        for check in &checks {
            print(context, check)?;
        }
    }
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

fn print(context: &Context, check: &Check) -> Result<(), Failure> {
    let paint = context.output.paint;
    let verdict = match check.verdict {
        Verdict::Ok => paint.good("ok  "),
        Verdict::Warn => paint.warn("warn"),
        Verdict::Fail => paint.bad("fail"),
    };
    context.output.line(&format!("{verdict}  {:<16}  {}", check.name, check.detail))?;
    match &check.fix {
        Some(fix) => context.output.line(&format!("{:22}  {} {fix}", "", paint.good("fix:"))),
        None => Ok(()),
    }
}

fn guest_compiler(found: Result<&GuestCargo, &Failure>) -> Check {
    let name = "guest compiler";
    match found {
        Ok(cargo) => Check::ok(name, format!("{} ({})", cargo.program.display(), cargo.origin)),
        Err(failure) => {
            let report = failure.report.clone();
            let (detail, fix) = report.map(|r| (r.detail, r.fix)).unwrap_or_default();
            Check::bad(name, Verdict::Fail, detail, fix.unwrap_or_default())
        }
    }
}

async fn compiler_version(cargo: Option<&GuestCargo>) -> Check {
    let name = "compiler version";
    let fix = || format!("type `rustup update`, then `rustup target add {TARGET}`");
    let Some(cargo) = cargo else {
        return Check::bad(name, Verdict::Fail, "there is no compiler to ask".into(), fix());
    };
    let said = cargo.command(Path::new(".")).arg("--version").output().await;
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    match said {
        Ok(said) => match version_in(&said) {
            Some(version) if Some(version) >= version_in(RUST_VERSION) => Check::ok(name, said),
            Some(_) => {
                let detail = format!("{said} is older than {RUST_VERSION}, which workflows need");
                Check::bad(name, Verdict::Fail, detail, fix())
            }
            None => {
                let detail = format!("{} does not say its version", cargo.program.display());
                Check::bad(name, Verdict::Fail, detail, fix())
            }
        },
        Err(e) => {
            let detail = format!("{} does not run: {e}", cargo.program.display());
            Check::bad(name, Verdict::Fail, detail, fix())
        }
    }
}

/// The first thing in a text that looks like `1.95` or `1.95.0`.
fn version_in(text: &str) -> Option<(u32, u32)> {
    text.split([' ', '-']).find_map(|word| {
        let mut parts = word.split('.').map(|part| part.parse().ok());
        Some((parts.next()??, parts.next()??))
    })
}

fn data_folder(folder: &Path) -> Check {
    let name = "data folder";
    // A relative path of which nothing exists would be made in the present folder.
    let existing = folder.ancestors().find(|place| place.exists()).unwrap_or(Path::new("."));
    write_test(name, folder, existing)
}

fn write_test(name: &'static str, folder: &Path, place: &Path) -> Check {
    let probe = place.join(format!(".everstep-doctor-{}", std::process::id()));
    let written = std::fs::write(&probe, b"x").and_then(|()| std::fs::remove_file(&probe));
    match written {
        Ok(()) => Check::ok(name, format!("{} is writable", folder.display())),
        Err(e) => Check::bad(
            name,
            Verdict::Fail,
            format!("{} cannot be written: {e}", folder.display()),
            "choose another folder with --store, or make it writable".into(),
        ),
    }
}

async fn server(context: &Context) -> Check {
    let name = "server";
    let asked = match context.client() {
        Ok(client) => client.ready().await.map_err(Failure::from),
        Err(failure) => Err(failure),
    };
    match asked {
        Ok(()) => Check::ok(name, format!("{} takes requests", context.server)),
        Err(failure) => {
            // Not running one is what most machines do most of the time.
            let absent = failure.exit == Exit::Unreachable;
            let verdict = if absent { Verdict::Warn } else { Verdict::Fail };
            let report = failure.report.map(|r| (r.detail, r.fix)).unwrap_or_default();
            Check::bad(name, verdict, report.0, report.1.unwrap_or_default())
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn versions_are_found_in_what_cargo_says() {
        assert_eq!(version_in("cargo 1.96.0 (abc 2026-01-01)"), Some((1, 96)));
        assert_eq!(version_in("1.95"), Some((1, 95)));
        assert_eq!(version_in("1.97.0-nightly"), Some((1, 97)));
        assert_eq!(version_in("plain cargo"), None);
        assert!(version_in(RUST_VERSION).is_some());
    }

    #[test]
    fn a_folder_need_not_exist_to_be_writable() {
        let place = tempfile::tempdir().unwrap();
        assert_eq!(data_folder(&place.path().join("a/b")).verdict, Verdict::Ok);
        assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0, "it leaves nothing");
        std::fs::write(place.path().join("file"), "").unwrap();
        let check = write_test("data folder", Path::new("x"), &place.path().join("file"));
        assert_eq!(check.verdict, Verdict::Fail);
    }
}
