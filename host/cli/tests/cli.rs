//! What can be seen of the command line without a server: help, refusals, exit codes. The verbs
//! that need a server are tested with a real one in the whole-system tests.
#![allow(clippy::unwrap_used)]

use insta::assert_snapshot;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output, Stdio};

const RUN: &str = "0198c0de-7a2b-7c3d-8e4f-5a6b7c8d9e0f";

fn everstep(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_everstep"));
    command.args(arguments).stdin(Stdio::null());
    for name in ["EVERSTEP_SERVER", "EVERSTEP_GUEST_CARGO", "NO_COLOR", "COLUMNS"] {
        command.env_remove(name);
    }
    command.output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// An address where nobody listens.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[test]
fn the_help_of_every_verb() {
    let mut help = String::new();
    for verb in [
        "",
        "new",
        "build",
        "inspect",
        "server",
        "upload",
        "start",
        "runs",
        "runs list",
        "runs show",
        "runs wait",
        "runs journal",
        "runs logs",
        "runs export",
        "runs cancel",
        "runs retry",
        "runs replay",
        "modules",
        "modules list",
        "modules show",
        "dev",
        "doctor",
        "completions",
    ] {
        let words: Vec<_> = verb.split(' ').filter(|word| !word.is_empty()).collect();
        let output = everstep(&[&words[..], &["--help"]].concat());
        assert_eq!(output.status.code(), Some(0), "{verb}");
        let command = [&["everstep"], &words[..], &["--help"]].concat().join(" ");
        help.push_str(&format!("$ {command}\n{}\n", stdout(&output)));
    }
    assert_snapshot!(help);
}

#[test]
fn wrong_arguments_exit_with_2() {
    for arguments in [
        &["fly"][..],
        &["start"],
        &["start", "w", "--delay", "soon"],
        &["start", "w", "--input", "{"],
        &["start", "w", "--input", "@/no/such/file"],
        &["start", "w", "--tag", "x"],
        &["runs", "show", "nonsense"],
        &["runs", "list", "--state", "tired"],
        &["runs", "wait", RUN, "--timeout", "5"],
        &["runs", "list", "--server", "localhost:9090"],
        &["server", "--store", "postgres://localhost"],
        &["server", "--listen", "here"],
        &["server", "--retention", "soon"],
        &["server", "--retention-workflow", "7d"],
        &["server", "--retention-workflow", "w=soon"],
        &["runs", "export"],
        &["runs", "export", RUN, "--all"],
        &["runs", "export", RUN, "--out", "/no/such/folder/file"],
        &["server", "--no-host", "--concurrency", "3"],
        &["upload", "/no/such/file.wasm"],
        &["inspect", "/no/such/file.wasm"],
        &["build", "/no/such/folder"],
        &["new"],
        &["new", "Not A Name"],
        &["new", "fine", "--sdk", "/no/such/folder"],
        &["dev", "/no/such/folder"],
        &["completions", "tcsh"],
        &["modules", "show", "sha256:12"],
    ] {
        let output = everstep(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("error"), "{arguments:?}");
        assert_eq!(stdout(&output), "", "{arguments:?}: stdout is for data");
    }
}

#[test]
fn a_refusal_says_what_is_wrong_and_what_to_do() {
    let output = everstep(&["server", "--store", "postgres://localhost"]);
    assert_snapshot!(stderr(&output), @r"
    error[store.unsupported]: `postgres://…` is no store that this version knows
    fix: give a folder, or redis://HOST:PORT; docs/redis.md has the other forms
    ");
}

#[test]
fn a_server_that_is_not_there_exits_with_3() {
    let server = nowhere();
    let file = tempfile::NamedTempFile::new().unwrap();
    let file = file.path().to_str().unwrap();
    for arguments in [
        &["start", "w"][..],
        &["start", "w", "--wait"],
        &["upload", file],
        &["runs", "list"],
        &["runs", "show", RUN],
        &["runs", "wait", RUN],
        &["runs", "journal", RUN],
        &["runs", "logs", RUN, "--follow"],
        &["runs", "export", RUN],
        &["runs", "cancel", RUN],
        &["runs", "retry", RUN],
        &["runs", "replay", RUN],
        &["modules", "list"],
    ] {
        let output = everstep(&[arguments, &["--server", &server]].concat());
        assert_eq!(output.status.code(), Some(3), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains("error[server.unreachable]"), "{arguments:?}");
        assert!(stderr(&output).contains("fix: start a server with `everstep server`"));
    }
}

#[test]
fn what_is_not_a_component_is_not_inspected() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hello").unwrap();
    let output = everstep(&["inspect", file.path().to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("error[module.not_wasm]"), "{}", stderr(&output));
    assert!(stderr(&output).contains("fix: "), "{}", stderr(&output));
}

#[test]
fn completions_name_the_verbs() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = everstep(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains("doctor"), "{shell}");
    }
    let output = everstep(&["completions", "bash", "--json"]);
    let value: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    assert_eq!(value["shell"], "bash");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_everstep"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}

#[test]
fn doctor_checks_one_thing_after_the_other() {
    let folder = tempfile::tempdir().unwrap();
    let doctor = |guest_cargo: &str, extra: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_everstep"))
            .args(["doctor", "--json", "--server", &nowhere()])
            .args(extra)
            .current_dir(folder.path())
            .env("EVERSTEP_GUEST_CARGO", guest_cargo)
            .output()
            .unwrap();
        let report: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
        let checks = report["checks"].as_array().unwrap().iter();
        let verdicts: Vec<_> =
            checks.map(|c| format!("{}: {}", c["name"], c["verdict"]).replace('"', "")).collect();
        (output.status.code(), verdicts)
    };
    let cargo = env!("CARGO");
    let well = ["guest compiler: ok", "compiler version: ok", "data folder: ok", "server: warn"];
    assert_eq!(doctor(cargo, &[]), (Some(0), well.map(str::to_owned).to_vec()));

    std::fs::write(folder.path().join("file"), "").unwrap();
    let (code, verdicts) = doctor("/no/such/cargo", &["--store", "file/data"]);
    assert_eq!(code, Some(1));
    let ill =
        ["guest compiler: fail", "compiler version: fail", "data folder: fail", "server: warn"];
    assert_eq!(verdicts, ill);
}

/// The dotted words in the sources below a folder, up to their unit tests.
fn codes_below(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            codes_below(&entry, found);
        } else if !entry.ends_with("timeline_samples.rs") {
            let text = std::fs::read_to_string(&entry).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            let word = |word: &str| {
                !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            };
            let is_code = |text: &&str| {
                text.split_once('.').is_some_and(|(left, right)| word(left) && word(right))
            };
            found.extend(text.split('"').skip(1).step_by(2).filter(is_code).map(str::to_owned));
        }
    }
}

#[test]
fn every_code_is_documented() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = root.join("../../docs");
    let table = std::fs::read_to_string(docs.join("cli.md")).unwrap();
    let sections = std::fs::read_to_string(docs.join("errors.md")).unwrap();
    let mut codes = BTreeSet::new();
    codes_below(&root.join("src"), &mut codes);
    codes.retain(|code| code != "build.rs" && !sections.contains(&format!("### `{code}`")));
    assert!(codes.len() > 10, "{codes:?}");
    codes.retain(|code| !table.contains(&format!("| `{code}` |")));
    assert!(codes.is_empty(), "docs/cli.md does not explain {codes:?}");
}
