//! Finding the compiler for guests. It is the cargo that `EVERSTEP_GUEST_CARGO` names, else the
//! plain one when its wasm32-wasip2 library is installed, else the one that
//! scripts/setup-guest-toolchain.sh has set up. Used by `build`, `dev` and `doctor`.

use crate::exit::Failure;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use tokio::process::Command;

pub(crate) const TARGET: &str = "wasm32-wasip2";

/// What an outer cargo, rustup or make leaves in the environment, all of it wrong for a guest. The
/// set-up script's own wrapper forgets the same.
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

/// A cargo that builds guests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct GuestCargo {
    pub(crate) program: PathBuf,
    /// Where it was found, for people.
    pub(crate) origin: &'static str,
}

impl GuestCargo {
    /// The compiler of this machine.
    pub(crate) async fn find() -> Result<Self, Failure> {
        let environment = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        Self::choose(environment, plain_cargo_has_target().await)
    }

    fn choose(
        environment: impl Fn(&str) -> Option<OsString>,
        plain_has_target: bool,
    ) -> Result<Self, Failure> {
        if let Some(named) = environment("EVERSTEP_GUEST_CARGO").map(PathBuf::from) {
            if named.is_file() {
                return Ok(Self { program: named, origin: "EVERSTEP_GUEST_CARGO" });
            }
            let detail =
                format!("EVERSTEP_GUEST_CARGO names {}, which is no file", named.display());
            return Err(Failure::new("toolchain.missing", detail)
                .fix("run scripts/setup-guest-toolchain.sh, or unset EVERSTEP_GUEST_CARGO"));
        }
        if plain_has_target {
            return Ok(Self { program: "cargo".into(), origin: "cargo with the target installed" });
        }
        if let Some(program) = set_up(environment).filter(|program| program.is_file()) {
            return Ok(Self { program, origin: "set up by setup-guest-toolchain.sh" });
        }
        let detail = format!("no Rust compiler with the target {TARGET} was found");
        Err(Failure::new("toolchain.missing", detail).fix(format!(
            "type `rustup target add {TARGET}`; without rustup, run \
             scripts/setup-guest-toolchain.sh of the Everstep repository"
        )))
    }

    /// A command of this cargo in a folder.
    pub(crate) fn command(&self, folder: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(folder).kill_on_drop(true);
        for name in OUTER {
            command.env_remove(name);
        }
        if let Some(target) = std::env::var_os("GUEST_TARGET_DIR").filter(|dir| !dir.is_empty()) {
            command.env("CARGO_TARGET_DIR", target);
        }
        command
    }
}

/// Where the set-up script puts its cargo.
fn set_up(environment: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = environment("GUEST_TOOLCHAIN_DIR").map(PathBuf::from).or_else(|| {
        let data = environment("XDG_DATA_HOME").map(PathBuf::from);
        let data = data.or_else(|| Some(Path::new(&environment("HOME")?).join(".local/share")));
        data.map(|data| data.join("everstep/guest-toolchain"))
    })?;
    Some(folder.join("bin/guest-cargo"))
}

/// Whether `rustc` has the standard library of the target.
async fn plain_cargo_has_target() -> bool {
    let mut rustc = Command::new("rustc");
    rustc.args(["--print", "target-libdir", "--target", TARGET]).env_remove("RUSTUP_TOOLCHAIN");
    let Ok(output) = rustc.output().await else { return false };
    let libdir = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let Ok(files) = std::fs::read_dir(libdir) else { return false };
    output.status.success()
        && files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_compiler_is_chosen_by_what_is_there() {
        let home = tempfile::tempdir().unwrap();
        let cargo = home.path().join(".local/share/everstep/guest-toolchain/bin/guest-cargo");
        std::fs::create_dir_all(cargo.parent().unwrap()).unwrap();
        let in_home = |name: &str| (name == "HOME").then(|| home.path().into());

        let error = GuestCargo::choose(in_home, false).unwrap_err().report.unwrap();
        assert_eq!(error.code, "toolchain.missing");
        let fix = error.fix.unwrap();
        assert!(fix.contains("rustup target add wasm32-wasip2"), "{fix}");
        assert!(fix.contains("scripts/setup-guest-toolchain.sh"), "{fix}");

        std::fs::write(&cargo, "").unwrap();
        assert_eq!(GuestCargo::choose(in_home, false).unwrap().program, cargo);
        assert_eq!(GuestCargo::choose(in_home, true).unwrap().program, Path::new("cargo"));

        let named = |name: &str| (name == "EVERSTEP_GUEST_CARGO").then(|| cargo.clone().into());
        assert_eq!(GuestCargo::choose(named, true).unwrap().program, cargo);
        let nowhere = |name: &str| (name == "EVERSTEP_GUEST_CARGO").then(|| "/no/cargo".into());
        assert!(GuestCargo::choose(nowhere, true).is_err());
    }
}
