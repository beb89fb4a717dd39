//! The rules of the house that no compiler checks, run over what git tracks: file headers and
//! sizes, names, the arrows between crates, and links in documents.
//! A test lists every offence at once.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Longer files are split. The aim is 400 lines, with a median near 150.
const MAX_LINES: usize = 450;

/// Names that say nothing about what is inside.
const BANNED_NAMES: &[&str] =
    &["manager", "util", "utils", "common", "helper", "helpers", "imp", "misc"];

/// Each crate and the crates of this workspace that it may use, also in its tests. `None` is any.
const ARROWS: &[(&str, Option<&[&str]>)] = &[
    ("everstep-core", Some(&[])),
    ("everstep-store", Some(&["everstep-core"])),
    ("everstep-engine", Some(&["everstep-core"])),
    ("everstep-server", Some(&["everstep-core", "everstep-store", "everstep-engine"])),
    ("everstep-client", Some(&["everstep-core"])),
    ("everstep-testing", Some(&["everstep-core", "everstep-engine"])),
    ("everstep-sdk", Some(&["everstep-sdk-macros"])),
    ("everstep-sdk-macros", Some(&[])),
    ("everstep", None),
    ("everstep-tests", None),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// The tracked files with this ending, relative to the root, and their text.
fn tracked(ending: &str) -> Vec<(String, String)> {
    let git = Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().unwrap();
    assert!(git.status.success(), "git ls-files: {}", String::from_utf8_lossy(&git.stderr));
    let paths = String::from_utf8(git.stdout).unwrap();
    paths
        .split_terminator('\0')
        .filter(|path| path.ends_with(ending))
        .filter_map(|path| Some((path.to_owned(), fs::read_to_string(root().join(path)).ok()?)))
        .collect()
}

fn assert_none(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}

#[test]
fn every_file_says_what_it_is_for() {
    let files = tracked(".rs");
    assert!(!files.is_empty(), "git tracks no .rs file here");
    let without = files.into_iter().filter(|(_, text)| !text.starts_with("//! "));
    let offences: Vec<_> = without.map(|(path, _)| path).collect();
    assert_none("a file opens with `//!`: its purpose, who calls it, its invariant", &offences);
}

#[test]
fn no_file_is_too_long() {
    let lengths = tracked(".rs").into_iter().map(|(path, text)| (path, text.lines().count()));
    let long = lengths.filter(|(_, lines)| *lines > MAX_LINES);
    let offences: Vec<_> = long.map(|(path, lines)| format!("{path}: {lines} lines")).collect();
    assert_none("a file has at most 450 lines", &offences);
}

#[test]
fn names_say_something() {
    let mut offences = Vec::new();
    for (path, text) in tracked(".rs") {
        let parts = path.trim_end_matches(".rs").split('/');
        let modules = text.lines().filter_map(|line| {
            let (_, name) = line.split_once("mod ").filter(|(before, _)| {
                before.trim().is_empty() || before.trim().starts_with("pub")
            })?;
            Some(name.trim_end_matches([';', '{', ' ']))
        });
        let banned = parts.chain(modules).filter(|name| BANNED_NAMES.contains(name));
        offences.extend(banned.map(|name| format!("{path}: {name}")));
    }
    assert_none("a name says what is inside", &offences);
}

#[test]
fn dependencies_point_one_way() {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let metadata = Command::new(cargo)
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&metadata.stdout).unwrap();
    let mut offences = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let Some((_, allowed)) = ARROWS.iter().find(|(krate, _)| *krate == name) else {
            offences.push(format!("{name} is not in the list: which crates may it use?"));
            continue;
        };
        let used = package["dependencies"].as_array().unwrap().iter();
        for used in used.filter(|d| d["path"].is_string()).filter_map(|d| d["name"].as_str()) {
            if allowed.is_some_and(|allowed| !allowed.contains(&used)) {
                offences.push(format!("{name} uses {used}"));
            }
        }
    }
    assert_none("cli -> server -> {engine, store} -> core, and the guests' side apart", &offences);
}

#[test]
fn every_example_is_tested() {
    let folders = ["tests/tests/", "host/testing/tests/"];
    let is_test = |path: &str| folders.iter().any(|folder| path.starts_with(folder));
    let tests = tracked(".rs").into_iter().filter(|(path, _)| is_test(path));
    let tests: String = tests.map(|(_, text)| text).collect();
    let manifests = tracked("Cargo.toml").into_iter();
    let offences: Vec<_> = manifests
        .filter_map(|(path, _)| {
            let (example, _) = path.strip_prefix("examples/")?.split_once('/')?;
            // One of several crates in a folder is named after both.
            let names = [format!("\"{example}\""), format!("\"{example}-")];
            (!names.iter().any(|name| tests.contains(name))).then(|| example.to_owned())
        })
        .collect();
    assert_none("each example is built and run by a test that names it", &offences);
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut offences = Vec::new();
    for (path, text) in tracked(".md") {
        let folder = root().join(&path).parent().unwrap().to_path_buf();
        for target in links(&text) {
            let file = target.split('#').next().unwrap_or_default();
            let outside = target.contains("://") || target.starts_with("mailto:");
            if !outside && !file.is_empty() && !folder.join(file).exists() {
                offences.push(format!("{path}: {target}"));
            }
        }
    }
    assert_none("a link leads to a file of this repository", &offences);
}

/// The targets of `[text](target)`, outside code blocks.
fn links(markdown: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut in_code = false;
    for line in markdown.lines() {
        in_code ^= line.trim_start().starts_with("```");
        if !in_code {
            let after = line.split("](").skip(1);
            found.extend(after.filter_map(|rest| rest.split([')', ' ']).next()));
        }
    }
    found
}
