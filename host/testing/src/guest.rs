//! Building workflow crates for `wasm32-wasip2`. The compiler is found as `everstep build` finds it;
//! cargo itself says, in its JSON messages, where the components lie.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

const TARGET: &str = "wasm32-wasip2";

/// What the cargo that runs the test leaves in the environment, all of it wrong for a guest.
const OUTER: &[&str] = &[
    "CARGO",
    "RUSTC",
    "RUSTDOC",
    "RUSTC_WRAPPER",
    "RUSTC_WORKSPACE_WRAPPER",
    "RUSTC_BOOTSTRAP",
    "RUSTUP_TOOLCHAIN",
    "RUSTFLAGS",
    "RUSTDOCFLAGS",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_ENCODED_RUSTDOCFLAGS",
    "CARGO_BUILD_TARGET",
    "CARGO_BUILD_RUSTC",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_RUSTC_WRAPPER",
    "CARGO_BUILD_TARGET_DIR",
    "CARGO_TARGET_DIR",
    "CARGO_MAKEFLAGS",
    "MAKEFLAGS",
    "MFLAGS",
];

/// Builds the workflow crate in a folder, or all crates of a workspace, and gives the components. A
/// folder is built once per process.
///
/// # Panics
/// When it does not build, or gives no component.
pub fn build(folder: impl AsRef<Path>) -> Vec<PathBuf> {
    static BUILT: Mutex<BTreeMap<PathBuf, Vec<PathBuf>>> = Mutex::new(BTreeMap::new());
    let folder = folder.as_ref();
    let folder = folder
        .canonicalize()
        .unwrap_or_else(|error| panic!("there is no crate in {}: {error}", folder.display()));
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built.entry(folder).or_insert_with_key(|folder| compile(folder)).clone()
}

fn compile(folder: &Path) -> Vec<PathBuf> {
    let cargo = cargo();
    let mut command = Command::new(&cargo);
    command
        .args(["build", "--quiet", "--release", "--target", TARGET])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    for name in OUTER {
        command.env_remove(name);
    }
    if let Some(target) = variable("GUEST_TARGET_DIR") {
        command.env("CARGO_TARGET_DIR", target);
    }
    let output = command.output().unwrap_or_else(|error| {
        panic!("cannot run {}: {error}; `everstep doctor` checks the compiler", cargo.display())
    });
    assert!(
        output.status.success(),
        "{} does not build for {TARGET}; see the compiler's messages above",
        folder.display()
    );
    let messages = String::from_utf8_lossy(&output.stdout);
    // Build scripts and macros may print anything in between.
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let components: Vec<PathBuf> = messages.filter_map(|it| it.component(folder)).collect();
    assert!(
        !components.is_empty(),
        "{} gives no component; add `[lib] crate-type = [\"cdylib\"]` to its Cargo.toml",
        folder.display()
    );
    components
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// What `EVERSTEP_GUEST_CARGO` names; else the plain cargo when it has the target's library; else
/// what the set-up script has left.
fn cargo() -> PathBuf {
    if let Some(named) = variable("EVERSTEP_GUEST_CARGO") {
        return named.into();
    }
    if plain_cargo_has_target() {
        return "cargo".into();
    }
    let folder = variable("GUEST_TOOLCHAIN_DIR").map(PathBuf::from).or_else(|| {
        let data = variable("XDG_DATA_HOME").map(PathBuf::from);
        let data = data.or_else(|| Some(Path::new(&variable("HOME")?).join(".local/share")));
        data.map(|data| data.join("everstep/guest-toolchain"))
    });
    match folder.map(|folder| folder.join("bin/guest-cargo")).filter(|cargo| cargo.is_file()) {
        Some(cargo) => cargo,
        None => panic!(
            "there is no Rust compiler with the target {TARGET}; type `rustup target add {TARGET}`, \
             or run scripts/setup-guest-toolchain.sh of the Everstep repository"
        ),
    }
}

fn plain_cargo_has_target() -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]).env_remove("RUSTUP_TOOLCHAIN");
    let Ok(output) = rustc.output() else { return false };
    let libdir = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let Ok(files) = std::fs::read_dir(libdir) else { return false };
    files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
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
    crate_types: Vec<String>,
}

impl Message {
    /// The component that the message announces, when it is one of a crate below the folder.
    fn component(self, folder: &Path) -> Option<PathBuf> {
        let makes_one = self.target.crate_types.iter().any(|it| it == "cdylib" || it == "bin");
        let is_ours = makes_one && self.manifest_path.starts_with(folder);
        let is_announced = self.reason == "compiler-artifact" && is_ours;
        let mut files = self.filenames.into_iter().filter(|_| is_announced);
        files.find(|file| file.extension().is_some_and(|end| end == "wasm"))
    }
}
