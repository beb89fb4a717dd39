//! Tests of scripts/setup-guest-toolchain.sh, run by everyone who runs the tests on Linux.
//! Each test but the last builds a small machine of stand-in programs, the only ones on its PATH,
//! so nothing here reaches the network or changes the system.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The programs which the script uses and which are the same on every machine.
const ORDINARY: &[&str] = &[
    "awk", "bash", "cat", "chmod", "cmp", "cp", "dirname", "env", "find", "flock", "grep", "id",
    "ln", "ls", "mkdir", "mv", "rm", "sed", "sh", "sleep", "sort", "tail", "timeout", "touch",
    "uname",
];

/// A rustc whose standard library for the target appears when a rustup adds it.
const RUSTC: &str = r#"case "$*" in
  *target-libdir*) echo "$MACHINE/libdir" ;;
  *sysroot*) echo "$MACHINE/sysroot" ;;
  *) echo "rustc 1.95.0 (plain)" ;;
esac"#;
const CARGO: &str = "echo plain cargo \"$@\"; env";
const RUSTUP_ADDS: &str = "touch $MACHINE/libdir/libstd-1.rlib";
const RUSTUP_FAILS: &str = "exit 1";
const RUSTUP_HANGS: &str = "sleep 20; touch $MACHINE/libdir/libstd-1.rlib";

/// A Debian whose packages unpack to a stand-in compiler. It offers the version in $MACHINE/offer.
const APT_CACHE: &str = r#"case "$1" in
  policy) echo "  Candidate: $(cat "$MACHINE/offer")" ;;
  pkgnames) echo lld-9; echo lld-22 ;;
esac"#;
const APT_GET: &str = r#"case "$1" in
  install) for last; do :; done; echo "Inst rustc-web (1.96)"; echo "Inst $last (22.1)" ;;
  download) touch rustc-web.deb lld-22.deb ;;
  update) echo 1.96.0 > "$MACHINE/offer" ;;
esac"#;
const DPKG: &str = r#"case "$1" in
  --compare-versions) [ "$(printf '%s\n' "$2" "$4" | sort -V | tail -n 1)" = "$2" ] ;;
  -x) cd "$3" && mkdir -p usr/bin usr/src usr/share usr/lib/llvm-22/bin usr/lib/wasm32-wasi &&
      touch usr/lib/llvm-22/bin/lld usr/lib/wasm32-wasi/crt1-command.o &&
      touch usr/lib/wasm32-wasi/crt1-reactor.o usr/lib/wasm32-wasi/libc.a &&
      cp "$MACHINE/bin/debian-rustc" usr/bin/rustc && cp "$MACHINE/bin/debian-cargo" usr/bin/cargo ;;
esac"#;
const DEBIAN_RUSTC: &str = "echo 'rustc 1.96.0 (debian)'";
const DEBIAN_CARGO: &str = r#"case "$1" in
  build) d=target/wasm32-wasip2/release/deps && mkdir -p $d && touch $d/libstd-1.rlib ;;
  install) ;;
  *) echo debian cargo "$@"; env ;;
esac"#;

struct Machine {
    root: tempfile::TempDir,
}

impl Machine {
    fn new(programs: &[(&str, &str)]) -> Self {
        let machine = Self { root: tempfile::tempdir().unwrap() };
        for folder in ["bin", "libdir", "home"] {
            fs::create_dir(machine.path(folder)).unwrap();
        }
        for name in ORDINARY {
            let mut places = ["/usr/bin", "/bin"].map(|d| Path::new(d).join(name)).into_iter();
            let program = places.find(|p| p.exists()).expect(name);
            std::os::unix::fs::symlink(program, machine.path("bin").join(name)).unwrap();
        }
        for (name, body) in programs {
            machine.install(name, body);
        }
        machine
    }

    fn with_rust(programs: &[(&str, &str)]) -> Self {
        let machine = Self::new(programs);
        machine.install("rustc", RUSTC);
        machine.install("cargo", CARGO);
        machine
    }

    /// Adds an apt and a dpkg that offer rustc-web in this version.
    fn with_debian(self, offer: &str) -> Self {
        for (name, body) in [
            ("apt-cache", APT_CACHE),
            ("apt-get", APT_GET),
            ("dpkg", DPKG),
            ("debian-rustc", DEBIAN_RUSTC),
            ("debian-cargo", DEBIAN_CARGO),
            ("id", "echo 0"),
        ] {
            self.install(name, body);
        }
        fs::write(self.path("offer"), offer).unwrap();
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Puts a program on the machine's PATH that writes down how it was called. Another process
    /// writes the file: were it open here while a parallel test forks, it could not be run.
    fn install(&self, name: &str, body: &str) {
        let path = self.path("bin").join(name);
        let _ = fs::remove_file(&path);
        let mut child = Command::new("install")
            .args(["-m", "755", "/dev/stdin"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let text = format!("#!/bin/sh\necho \"{name} $*\" >> \"$MACHINE/calls\"\n{body}\n");
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", self.path("bin"))
            .env("HOME", self.path("home"))
            .env("MACHINE", self.root.path())
            .env("RUSTUP_WAIT", "2")
            .stdin(Stdio::null());
        command
    }

    fn set_up(&self, mode: &str) -> Output {
        let mut bash = self.command(&self.path("bin/bash"));
        bash.arg(script()).env("GUEST_TOOLCHAIN", mode).output().unwrap()
    }

    fn set_up_well(&self, mode: &str) {
        let output = self.set_up(mode);
        assert!(output.status.success(), "{}", errors(&output));
    }

    fn guest_cargo(&self) -> PathBuf {
        self.path("home/.local/share/everstep/guest-toolchain/bin/guest-cargo")
    }

    /// What the set-up cargo prints: which one it is, its arguments, and its environment.
    fn run_guest_cargo(&self, environment: &[(&str, &str)]) -> String {
        let mut command = self.command(&self.guest_cargo());
        let output = command.arg("hello").envs(environment.iter().copied()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }

    /// The calls since this was last asked.
    fn calls(&self) -> String {
        let calls = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.path("calls"));
        calls
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/setup-guest-toolchain.sh")
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn fails_saying(output: &Output, words: &[&str]) {
    assert!(!output.status.success());
    for word in words {
        assert!(errors(output).contains(word), "{word:?} is not in: {}", errors(output));
    }
}

#[test]
fn rustup_is_preferred() {
    let machine = Machine::with_rust(&[("rustup", RUSTUP_ADDS)]).with_debian("1.96.0");
    machine.set_up_well("auto");
    let calls = machine.calls();
    assert!(calls.contains("rustup target add wasm32-wasip2"), "{calls}");
    assert!(!calls.contains("apt"), "{calls}");
    assert!(machine.run_guest_cargo(&[]).starts_with("plain cargo hello"));
}

#[test]
fn a_target_that_is_there_is_used_without_asking_rustup() {
    let machine = Machine::with_rust(&[("rustup", RUSTUP_FAILS)]);
    fs::write(machine.path("libdir/libstd-1.rlib"), "").unwrap();
    machine.set_up_well("auto");
    assert!(!machine.calls().contains("rustup"));
}

#[test]
fn a_rustup_that_fails_leads_to_debian() {
    let machine = Machine::with_rust(&[("rustup", RUSTUP_FAILS)]).with_debian("1.96.0");
    machine.set_up_well("auto");
    let calls = machine.calls();
    let rustup = calls.find("rustup target add").expect("rustup comes first");
    assert!(calls.find("apt-get download -q rustc-web lld-22").expect("then apt") > rustup);
    assert!(machine.run_guest_cargo(&[]).starts_with("debian cargo hello"));
}

#[test]
fn a_rustup_that_hangs_is_given_up() {
    let machine = Machine::with_rust(&[("rustup", RUSTUP_HANGS)]).with_debian("1.96.0");
    machine.set_up_well("auto");
    // Had the script waited, this rustup would have added the target in the end.
    assert!(machine.run_guest_cargo(&[]).starts_with("debian cargo hello"));
}

#[test]
fn a_forced_way_is_the_only_one_tried() {
    let machine = Machine::with_rust(&[("rustup", RUSTUP_FAILS)]).with_debian("1.96.0");
    fails_saying(&machine.set_up("rustup"), &["rustup target add wasm32-wasip2"]);
    assert!(!machine.calls().contains("apt"));

    fs::write(machine.path("libdir/libstd-1.rlib"), "").unwrap();
    machine.set_up_well("debian");
    assert!(!machine.calls().contains("rustup target"));
    assert!(machine.run_guest_cargo(&[]).starts_with("debian cargo hello"));
}

#[test]
fn a_second_run_changes_nothing() {
    for rustup in [RUSTUP_ADDS, RUSTUP_FAILS] {
        let machine = Machine::with_rust(&[("rustup", rustup)]).with_debian("1.96.0");
        machine.set_up_well("auto");
        machine.calls();
        let before = fs::metadata(machine.guest_cargo()).unwrap();
        machine.set_up_well("auto");
        let after = fs::metadata(machine.guest_cargo()).unwrap();
        assert_eq!((before.ino(), before.mtime_nsec()), (after.ino(), after.mtime_nsec()));
        let calls = machine.calls();
        for program in ["rustup", "apt-get", "dpkg", "debian-cargo"] {
            assert!(!calls.contains(program), "{program} was called: {calls}");
        }
    }
}

#[test]
fn of_two_set_ups_at_once_the_second_waits() {
    let slow = format!("sleep 0.5; {RUSTUP_ADDS}");
    let machine = Machine::with_rust(&[("rustup", slow.as_str())]);
    std::thread::scope(|scope| {
        scope.spawn(|| machine.set_up_well("rustup"));
        scope.spawn(|| machine.set_up_well("rustup"));
    });
    assert_eq!(machine.calls().matches("rustup target add").count(), 1);
}

#[test]
fn a_damaged_set_up_is_made_anew() {
    let machine = Machine::new(&[]).with_debian("1.96.0");
    machine.set_up_well("auto");
    let rustc = machine.path("home/.local/share/everstep/guest-toolchain/debian/usr/bin/rustc");
    fs::remove_file(&rustc).unwrap();
    machine.set_up_well("auto");
    assert!(rustc.exists());
}

#[test]
fn old_package_lists_are_refreshed() {
    let machine = Machine::new(&[]).with_debian("1.63.0");
    machine.set_up_well("debian");
    let calls = machine.calls();
    assert!(calls.find("apt-get update").unwrap() < calls.find("apt-get download").unwrap());
}

#[test]
fn each_failure_says_what_to_type() {
    let bare = Machine::new(&[]);
    fails_saying(&bare.set_up("auto"), &["rustup.rs", "rustup target add wasm32-wasip2"]);
    fails_saying(&bare.set_up("rustup"), &["no rustup on PATH", "rustup.rs"]);
    fails_saying(&bare.set_up("brew"), &["GUEST_TOOLCHAIN=brew", "auto, rustup or debian"]);

    let user = Machine::new(&[]).with_debian("1.63.0");
    user.install("id", "echo 1000");
    fails_saying(&user.set_up("auto"), &["could not be refreshed", "sudo apt-get update"]);
    user.install("sudo", "exit 1");
    fails_saying(&user.set_up("auto"), &["could not be refreshed", "sudo apt-get update"]);

    let old = Machine::new(&[]).with_debian("1.63.0");
    old.install("apt-get", "exit 0");
    fails_saying(&old.set_up("auto"), &["no rustc-web 1.", "rustup target add"]);

    let offline = Machine::new(&[]).with_debian("1.96.0");
    offline.install("apt-get", "[ $1 = install ] && echo 'Inst rustc-web'");
    fails_saying(&offline.set_up("auto"), &["could not download", "Check the network"]);

    let no_crates = Machine::new(&[]).with_debian("1.96.0");
    no_crates.install("debian-cargo", "[ $1 = install ]");
    fails_saying(&no_crates.set_up("auto"), &["did not compile", "run this again"]);
    assert!(!no_crates.guest_cargo().exists(), "a compiler that is not ready must not be found");
}

/// An environment like that of a test under `cargo +nightly`, with flags no guest builds with.
const OUTER: &[(&str, &str)] = &[
    ("RUSTC", "/outer/rustc"),
    ("RUSTC_WRAPPER", "/outer/wrapper"),
    ("RUSTC_WORKSPACE_WRAPPER", "/outer/clippy-driver"),
    ("RUSTUP_TOOLCHAIN", "outer"),
    ("RUSTFLAGS", "--outer"),
    ("CARGO_ENCODED_RUSTFLAGS", "--outer"),
    ("CARGO_BUILD_TARGET", "outer-unknown-none"),
    ("CARGO_TARGET_DIR", "/outer/target"),
    ("CARGO_MAKEFLAGS", "--jobserver-auth=outer"),
    ("MAKEFLAGS", "--jobserver-auth=outer"),
    ("LD_LIBRARY_PATH", "/outer/lib"),
];

#[test]
fn guest_cargo_forgets_the_outer_cargo() {
    for (machine, own) in [
        (Machine::with_rust(&[("rustup", RUSTUP_ADDS)]), "plain"),
        (Machine::new(&[]).with_debian("1.96.0"), "debian"),
    ] {
        machine.set_up_well("auto");
        let seen = machine.run_guest_cargo(OUTER);
        assert!(seen.starts_with(own), "{seen}");
        assert!(!seen.contains("outer"), "{seen}");
        let seen = machine.run_guest_cargo(&[("GUEST_TARGET_DIR", "/guests")]);
        assert!(seen.contains("CARGO_TARGET_DIR=/guests\n"), "{seen}");
    }
}

#[test]
fn the_real_compiler_makes_a_component() {
    let cargo = real_guest_cargo();
    assert!(cargo.exists(), "{} is missing. Type: make toolchain", cargo.display());
    let guest = tempfile::tempdir().unwrap();
    fs::create_dir(guest.path().join("src")).unwrap();
    let manifest = "[package]\nname = \"tiny\"\nedition = \"2024\"\n[workspace]\n";
    fs::write(guest.path().join("Cargo.toml"), manifest).unwrap();
    let program = "fn main() { let now = std::time::SystemTime::now(); \
                   println!(\"{:?}\", std::collections::HashMap::from([(now, 1)])); }";
    fs::write(guest.path().join("src/main.rs"), program).unwrap();
    let output = Command::new(cargo)
        .args(["build", "--offline", "--target", "wasm32-wasip2"])
        .current_dir(guest.path())
        .envs(OUTER.iter().copied())
        .env("GUEST_TARGET_DIR", guest.path().join("target"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    let bytes = fs::read(guest.path().join("target/wasm32-wasip2/debug/tiny.wasm")).unwrap();
    assert_eq!(bytes[..8], *b"\0asm\x0d\x00\x01\x00", "a component's first bytes");
}

/// Where `make` says that the guest compiler is, or else where the script puts it.
fn real_guest_cargo() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    set("EVERSTEP_GUEST_CARGO").unwrap_or_else(|| {
        let home = || set("HOME").unwrap_or_default().join(".local/share");
        let data = || set("XDG_DATA_HOME").unwrap_or_else(home).join("everstep/guest-toolchain");
        set("GUEST_TOOLCHAIN_DIR").unwrap_or_else(data).join("bin/guest-cargo")
    })
}
