//! Every stable code has its place in `docs/errors.md`, with a cause and a fix. The codes are taken
//! from the sources in which they are given, so that a new one cannot be forgotten.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What gives codes to errors.
const SOURCES: &[&str] = &[
    "host/core/src/refusal.rs",
    "host/core/src/run",
    "host/core/src/schedule",
    "host/engine/src",
    "host/store/src/copy.rs",
    "host/store/src/error.rs",
    "host/server/src",
    "host/client/src/error.rs",
    "guest-sdk/src/child.rs",
    "guest-sdk/src/event.rs",
    "guest-sdk/src/handle.rs",
    "guest-sdk/src/http/error.rs",
    "guest-sdk/src/module.rs",
    "guest-sdk/src/run.rs",
    "guest-sdk/src/saga.rs",
    "guest-sdk/src/task.rs",
];

/// Dotted words in these sources that are something else.
const FOREIGN: &[&str] = &["schemas.json", "task.run"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn files(path: &Path, found: &mut Vec<PathBuf>) {
    if path.file_stem().is_some_and(|stem| stem == "tests") {
        return;
    }
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            files(&entry.unwrap().path(), found);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        found.push(path.to_owned());
    }
}

/// The text of a source up to its unit tests.
fn code_of(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

/// Whether this is a stable code: two lower-case words with a dot between them.
fn is_code(text: &str) -> bool {
    let word = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_lowercase())
            && word.chars().all(|c| c.is_ascii_lowercase() || c == '_')
    };
    text.split_once('.').is_some_and(|(left, right)| word(left) && word(right))
}

fn codes() -> BTreeSet<String> {
    let mut sources = Vec::new();
    for source in SOURCES {
        files(&root().join(source), &mut sources);
    }
    let mut codes = BTreeSet::new();
    for source in sources {
        let text = code_of(&source);
        let literals = text.split('"').skip(1).step_by(2);
        codes.extend(literals.filter(|text| is_code(text)).map(str::to_owned));
    }
    codes.retain(|code| !FOREIGN.contains(&code.as_str()));
    codes
}

#[test]
fn every_code_has_a_section_and_every_section_a_code() {
    let page = fs::read_to_string(root().join("docs/errors.md")).unwrap();
    let sections: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'))
        .map(str::to_owned)
        .collect();
    let codes = codes();
    let missing: Vec<_> = codes.difference(&sections).collect();
    let stale: Vec<_> = sections.difference(&codes).collect();
    assert!(missing.is_empty() && stale.is_empty(), "missing {missing:?}, stale {stale:?}");
}

#[test]
fn every_section_says_why_and_what_to_do() {
    let page = fs::read_to_string(root().join("docs/errors.md")).unwrap();
    for section in page.split("### `").skip(1) {
        let code = section.lines().next().unwrap_or_default();
        let (cause, fix) = (section.contains("**Cause.**"), section.contains("**Fix.**"));
        assert!(cause && fix, "{code}");
    }
}
