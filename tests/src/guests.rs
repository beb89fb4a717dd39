//! The example guests, built once per test process by the guest compiler. A build with nothing to
//! do takes a fraction of a second; cargo's own lock makes parallel test processes wait.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The compiler for guests, as `make` or the set-up script leaves it.
#[must_use]
pub fn guest_cargo() -> PathBuf {
    if let Some(path) = std::env::var_os("EVERSTEP_GUEST_CARGO") {
        return path.into();
    }
    let from = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
    let directory = from("GUEST_TOOLCHAIN_DIR").unwrap_or_else(|| {
        let data = from("XDG_DATA_HOME")
            .or_else(|| from("HOME").map(|home| home.join(".local/share")))
            .expect("HOME is set");
        data.join("everstep/guest-toolchain")
    });
    directory.join("bin/guest-cargo")
}

/// The component of an example.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn guest(example: &str) -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let components = BUILT.get_or_init(|| build(&["--release"]).join("release"));
    component(components, example)
}

/// The component of an example, with the lines of its code in it.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn guest_with_lines(example: &str) -> PathBuf {
    let components = build(&["--profile", "lines", "--package", example]).join("lines");
    component(&components, example)
}

fn component(folder: &Path, example: &str) -> PathBuf {
    let path = folder.join(format!("{}.wasm", example.replace('-', "_")));
    assert!(path.exists(), "there is no example `{example}` ({})", path.display());
    path
}

/// Builds examples and gives the folder of the profiles.
fn build(which: &[&str]) -> PathBuf {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let cargo = guest_cargo();
    assert!(
        cargo.exists(),
        "there is no guest compiler at {}; type: scripts/setup-guest-toolchain.sh",
        cargo.display()
    );
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--target", "wasm32-wasip2"])
        .args(which)
        .current_dir(&examples)
        .status()
        .expect("the guest compiler starts");
    assert!(status.success(), "the examples do not build");
    let target =
        std::env::var_os("GUEST_TARGET_DIR").map_or(examples.join("target"), PathBuf::from);
    target.join("wasm32-wasip2")
}
