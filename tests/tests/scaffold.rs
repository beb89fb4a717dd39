//! `everstep new`: what it makes builds with `everstep build`, and runs. The guest compiler is the
//! real one; the SDK is that of this checkout.
#![allow(clippy::unwrap_used)]

use everstep_client::{RunId, StateKind};
use everstep_tests::{ServerProcess, everstep, guest_cargo, reach};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().canonicalize().unwrap()
}

/// The program, in a folder. Guests are built like the examples, where the examples are, so that
/// their dependencies are compiled already.
fn run(folder: &Path, arguments: &[&str]) -> Output {
    let target = std::env::var_os("GUEST_TARGET_DIR")
        .map_or_else(|| root().join("examples/target"), PathBuf::from);
    Command::new(everstep())
        .args(arguments)
        .current_dir(folder)
        .env("EVERSTEP_GUEST_CARGO", guest_cargo())
        .env("GUEST_TARGET_DIR", target)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

fn done(folder: &Path, arguments: &[&str]) -> String {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_crate_builds_and_runs() {
    let place = tempfile::tempdir().unwrap();
    let sdk = root().join("guest-sdk");
    let name = "scaffold-under-test";
    let made = done(place.path(), &["new", name, "--sdk", sdk.to_str().unwrap()]);
    let folder = PathBuf::from(&made);
    assert_eq!(folder, place.path().canonicalize().unwrap().join(name));
    for file in ["Cargo.toml", "src/lib.rs", "README.md", ".gitignore"] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        let placeholders = ["{name}", "{sdk}", "{repository}"];
        assert!(!placeholders.iter().any(|left| text.contains(left)), "{file}: {text}");
    }
    // The versions of the examples, so that nothing has to be looked up.
    std::fs::copy(root().join("examples/Cargo.lock"), folder.join("Cargo.lock")).unwrap();

    let component = done(&folder, &["build"]);
    let server = ServerProcess::start(&place.path().join("data"));
    let (cli, client) = (server.cli(), server.client());
    let _ = cli.done(&["upload", &component]);
    let ada = ["start", name, "--input", r#"{"name": "Ada"}"#, "--wait"];
    assert!(cli.done(&ada).contains("Hello, Ada!"));

    // The next version makes its key from the input.
    let source = folder.join("src/lib.rs");
    let text = std::fs::read_to_string(&source).unwrap();
    let keyed = text.replace("version = \"1.0\"", "version = \"1.1\", key = \"guest-${name}\"");
    assert_ne!(keyed, text);
    std::fs::write(&source, keyed).unwrap();
    let component = done(&folder, &["build"]);
    let _ = cli.done(&["upload", &component]);
    let run: RunId = cli.done(&ada[..4]).parse().unwrap();
    assert_eq!(run, RunId::from_key(name, "guest-Ada"));
    assert_eq!(cli.done(&ada[..4]), run.to_string());
    reach(&client, run, StateKind::Completed).await;
    cli.run(&["start", name, "--input", r#"{"name": ["Ada"]}"#]).refused(1, "input.invalid");
}

#[test]
fn nothing_is_overwritten_and_names_are_checked() {
    let place = tempfile::tempdir().unwrap();
    std::fs::create_dir(place.path().join("taken")).unwrap();
    std::fs::write(place.path().join("taken/file"), "mine").unwrap();
    for (arguments, code) in [
        (&["new", "taken"][..], "new.folder"),
        (&["new", "Hello World"], "new.name"),
        (&["new", "../up"], "new.name"),
        (&["new", "fn"], "new.name"),
        (&["new", "fresh", "--sdk", "taken"], "new.sdk"),
    ] {
        let output = run(place.path(), arguments);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(&format!("error[{code}]: ")), "{arguments:?}: {stderr}");
        assert!(stderr.contains("\nfix: "), "{stderr}");
    }
    let names: Vec<_> = std::fs::read_dir(place.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names, ["taken"], "a refusal makes nothing");
    assert_eq!(std::fs::read_dir(place.path().join("taken")).unwrap().count(), 1);

    // Without --sdk the SDK comes from the repository.
    done(place.path(), &["new", "from-git", "--json"]);
    let manifest = std::fs::read_to_string(place.path().join("from-git/Cargo.toml")).unwrap();
    let repository = env!("CARGO_PKG_REPOSITORY");
    assert!(
        manifest.contains(&format!("everstep-sdk = {{ git = \"{repository}\" }}")),
        "{manifest}"
    );
}
