//! The documents, held to what they say: the quick start of the README is done as it stands, the
//! programs of the SDK guides are compiled, and every command, option, route, file and test that a
//! page names exists.
//!
//! Pages mark their blocks. `<!-- file: PATH -->` in front of a block: it is that file.
//! `<!-- background -->`: the command goes on while the others run. `<!-- output -->`: the commands
//! of the block before print these lines, in this order, perhaps among others; a word with a digit in
//! it stands for any such word. What is not to be executed is written as `text`.
#![allow(clippy::unwrap_used)]

use everstep_tests::{ServerProcess, everstep, guest_cargo};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The pages whose blocks of Rust, one after the other, are a crate each, with some of what
/// `everstep inspect` says of it.
const GUIDES: &[(&str, &[&str])] = &[
    ("writing-workflows", &["shop-order 1.0", "charge may reach pay.example.com"]),
    ("events-and-children", &["expense 1.0", "sum 1.0"]),
    ("task-control", &["nightly 1.0", "send-mail may reach mail.example.com"]),
];

/// A fenced block of a page.
#[derive(Debug, Default)]
struct Block {
    /// The page and the line that it begins at, for messages.
    place: String,
    language: String,
    /// The text of the comment in front of it; empty for none.
    mark: String,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().canonicalize().unwrap()
}

fn read(page: &str) -> String {
    fs::read_to_string(root().join(page)).unwrap_or_else(|error| panic!("{page}: {error}"))
}

/// All pages, relative to the root.
fn pages() -> Vec<String> {
    let mut pages: Vec<String> =
        ["README.md", "ARCHITECTURE.md", "CHANGELOG.md"].map(str::to_owned).into();
    let docs = fs::read_dir(root().join("docs")).unwrap();
    let names = docs.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    pages.extend(names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")));
    pages.sort();
    pages
}

fn blocks(page: &str) -> Vec<Block> {
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    let mut mark = String::new();
    for (number, line) in (1..).zip(read(page).lines()) {
        match (&mut open, line.strip_prefix("```")) {
            (Some(_), Some("")) => found.extend(open.take()),
            (Some(block), _) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, Some(language)) => {
                let (place, language) = (format!("{page}:{number}"), language.to_owned());
                let mark = std::mem::take(&mut mark);
                open = Some(Block { place, language, mark, text: String::new() });
            }
            (None, None) => {
                let comment = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->"));
                mark = comment.unwrap_or_default().to_owned();
            }
        }
    }
    assert!(open.is_none(), "{page}: a block does not end");
    found
}

/// A folder that stays between test runs, so that building again is quick. As in the quick start,
/// the checkout lies in it under its usual name, beside the crates that are made there.
fn workplace() -> PathBuf {
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join("docs");
    fs::create_dir_all(&place).unwrap();
    let checkout = place.join("everstep");
    if fs::read_link(&checkout).is_ok_and(|target| target != root()) {
        fs::remove_file(&checkout).unwrap();
    }
    // It may be there, or another test may be making it at this moment: what counts is the result.
    let _ = std::os::unix::fs::symlink(root(), &checkout);
    assert_eq!(fs::read_link(&checkout).unwrap(), root());
    place
}

/// Writes a file of a crate. One that is as it was is left alone, so that cargo sees no change.
fn write(file: &Path, text: &str) {
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    if fs::read_to_string(file).ok().as_deref() != Some(text) {
        fs::write(file, text).unwrap();
    }
}

/// Writes a manifest. The folder may lie below this checkout, of whose workspace the crate is no
/// part; and it gets the versions of the examples, so that nothing has to be looked up.
fn write_manifest(file: &Path, text: &str) {
    write(file, &format!("{text}\n[workspace]\n"));
    fs::copy(root().join("examples/Cargo.lock"), file.with_file_name("Cargo.lock")).unwrap();
}

/// A command with the program under test on its PATH and the compiler for guests. Guests are built
/// like the examples, where the examples are: so their dependencies are compiled already.
fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let ours = everstep().parent().unwrap().to_path_buf();
    let inherited = std::env::var_os("PATH").unwrap_or_default();
    let path = std::iter::once(ours).chain(std::env::split_paths(&inherited));
    let target = std::env::var_os("GUEST_TARGET_DIR")
        .map_or_else(|| root().join("examples/target"), PathBuf::from);
    let mut command = Command::new(program);
    command
        .env("PATH", std::env::join_paths(path).unwrap())
        .env("EVERSTEP_GUEST_CARGO", guest_cargo())
        .env("GUEST_TARGET_DIR", target)
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "s")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
        .env("NO_COLOR", "1");
    command
}

/// Runs the lines of a block and returns what they printed on stdout and stderr.
fn bash(block: &Block, folder: &Path, server: &str) -> String {
    let script = format!("exec 2>&1\n{}", block.text);
    let output = command("bash")
        .args(["-euo", "pipefail", "-c", &script])
        .env("EVERSTEP_SERVER", server)
        .current_dir(folder)
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{} failed:\n{}\n{printed}", block.place, block.text);
    printed
}

/// A line without what differs from one time to the next: words with a digit, and spaces.
fn shape(line: &str) -> String {
    let has_digit = |word: &str| word.contains(|c: char| c.is_ascii_digit());
    let mut words: Vec<_> =
        line.split_whitespace().map(|word| if has_digit(word) { "#" } else { word }).collect();
    // A duration is one word or two.
    words.dedup_by(|word, before| *word == "#" && *before == "#");
    words.join(" ")
}

fn check_output(block: &Block, printed: &str) {
    let mut lines = printed.lines().map(shape);
    for expected in block.text.lines().filter(|line| !line.trim().is_empty()) {
        let wanted = shape(expected);
        assert!(
            lines.any(|line| line == wanted),
            "{}: this line is missing, or in another place:\n{expected}\nprinted was:\n{printed}",
            block.place
        );
    }
}

/// Does what a page says, block by block.
fn play(page: &str, folder: &Path) {
    let place = workplace();
    let data = tempfile::tempdir().unwrap();
    let mut server: Option<ServerProcess> = None;
    let mut printed: Option<String> = None;
    for block in blocks(page) {
        if let Some(file) = block.mark.strip_prefix("file: ") {
            let path = place.join(file);
            let is_manifest = path.ends_with("Cargo.toml");
            if is_manifest { write_manifest(&path, &block.text) } else { write(&path, &block.text) }
        } else if block.mark == "background" {
            let words: Vec<_> = block.text.split_whitespace().collect();
            assert_eq!(&words[..2], ["everstep", "server"], "{}", block.place);
            server = Some(ServerProcess::start_on(data.path(), "127.0.0.1:0", &words[2..]));
        } else if block.mark == "output" {
            check_output(&block, &printed.take().unwrap());
        } else if block.language == "sh" {
            let url = server.as_ref().unwrap().url();
            printed = Some(bash(&block, folder, url));
        } else {
            assert_eq!(block.language, "text", "{} is not executed", block.place);
        }
    }
    assert!(printed.is_none(), "the last commands of {page} are followed by their output");
    assert_eq!(server.unwrap().terminate(), Some(0));
}

#[test]
fn the_quick_start_works_as_it_stands() {
    play("README.md", &workplace().join("hello"));
}

#[test]
fn the_story_of_upgrades_works_as_it_stands() {
    play("docs/upgrades.md", &root());
}

#[test]
fn the_programs_of_the_guides_are_modules() {
    let manifest = blocks("README.md").into_iter().find(|block| block.language == "toml").unwrap();
    for (name, expected) in GUIDES {
        let folder = workplace().join(name);
        let page = format!("docs/{name}.md");
        let named = manifest.text.replace("\"hello\"", &format!("\"{name}\""));
        write_manifest(&folder.join("Cargo.toml"), &named);
        let guide = blocks(&page);
        let rust = guide.iter().filter(|block| block.language == "rust");
        let program: Vec<_> = rust.map(|block| block.text.as_str()).collect();
        write(&folder.join("src/lib.rs"), &program.join("\n"));
        let text = "everstep inspect \"$(everstep build)\"\n".to_owned();
        let inspect = Block { place: page, text, ..Block::default() };
        let printed = bash(&inspect, &folder, "http://127.0.0.1:9");
        for said in *expected {
            assert!(printed.contains(said), "{name}: {said} is not in:\n{printed}");
        }
    }
}

/// The blocks of the guide are those of a test file, so they are compiled and executed with it. Only
/// the folder of the crate under test differs.
#[test]
fn the_tests_of_the_guide_to_testing_are_executed() {
    let tests = read("host/testing/tests/guide.rs");
    let guide = blocks("docs/testing.md");
    let rust: Vec<_> = guide.iter().filter(|block| block.language == "rust").collect();
    assert!(!rust.is_empty(), "docs/testing.md shows no test");
    for block in rust {
        let text = block.text.replace("env!(\"CARGO_MANIFEST_DIR\")", "TRIAL");
        assert!(tests.contains(&text), "{} is not in host/testing/tests/guide.rs", block.place);
    }
}

#[test]
fn blocks_say_what_they_are() {
    let mut offences = Vec::new();
    for page in pages() {
        let is_guide = GUIDES.iter().any(|(name, _)| page == format!("docs/{name}.md"));
        let is_compiled = is_guide || page == "README.md" || page == "docs/testing.md";
        for block in blocks(&page) {
            let known = match block.language.as_str() {
                "text" | "json" | "sh" => true,
                "rust" | "toml" => is_compiled,
                _ => false,
            };
            if !known {
                offences.push(format!("{}: `{}`", block.place, block.language));
            }
        }
    }
    assert!(offences.is_empty(), "text, json or sh; rust where it is compiled:\n{offences:#?}");
}

/// What `everstep WORDS… --help` says.
#[derive(Default)]
struct Help(BTreeMap<Vec<String>, Option<String>>);

impl Help {
    /// None when there is no such verb.
    fn of(&mut self, words: &[String]) -> Option<&str> {
        let ask = || {
            let output = command(everstep()).args(words).arg("--help").output().unwrap();
            let text = String::from_utf8(output.stdout).unwrap();
            output.status.success().then_some(text)
        };
        self.0.entry(words.to_vec()).or_insert_with(ask).as_deref()
    }

    /// The verbs below these words.
    fn verbs(&mut self, words: &[String]) -> Vec<String> {
        let help = self.of(words).unwrap_or_default();
        let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
        let rows = listed.take_while(|line| !line.is_empty());
        // Descriptions that go on in the next line are indented further.
        let first = rows.filter_map(|row| row.strip_prefix("  ").filter(|r| !r.starts_with(' ')));
        let verbs = first.filter_map(|row| row.split_whitespace().next());
        verbs.filter(|verb| *verb != "help").map(str::to_owned).collect()
    }
}

/// The words behind each `everstep` of a script, up to whatever ends the command.
fn invocations(script: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let script = script.replace("\\\n", " ");
    for line in script.lines() {
        for (at, name) in line.match_indices("everstep ") {
            let before = line[..at].chars().next_back();
            if before.is_some_and(|c| !" ($".contains(c)) {
                continue;
            }
            let rest = &line[at + name.len()..];
            let end = rest.find(['|', ')', ';', '>', '<', '&', '#']).unwrap_or(rest.len());
            found.push(rest[..end].split_whitespace().map(str::to_owned).collect());
        }
    }
    found
}

/// The units and the compose file, as if they were blocks of a page: what they start is what a shell would.
fn deployments() -> Vec<Block> {
    let files = ["everstep-server.service", "everstep-host.service", "compose.yaml"];
    let blocks = files.map(|file| {
        let place = format!("docs/deploy/{file}");
        let text = read(&place).replace("/usr/local/bin/everstep ", " everstep ");
        let starts =
            |line: &&str| line.starts_with("ExecStart=") || line.contains("command: everstep");
        let text: Vec<&str> = text.lines().filter(starts).collect();
        assert!(!text.is_empty(), "{place} starts nothing");
        Block { place, text: text.join("\n"), ..Block::default() }
    });
    blocks.into()
}

#[test]
fn commands_and_options_in_the_documents_exist() {
    let mut help = Help::default();
    let mut offences = Vec::new();
    let mut count = 0;
    let pages = pages();
    let scripts = pages.iter().flat_map(|page| blocks(page)).filter(|b| b.language == "sh");
    for block in scripts.chain(deployments()) {
        for words in invocations(&block.text) {
            count += 1;
            let verb = words.get(..1).unwrap_or_default();
            let depth = if help.verbs(verb).is_empty() { 1 } else { 2 };
            let Some(text) = words.get(..depth).and_then(|verb| help.of(verb)) else {
                offences.push(format!("{}: everstep {}", block.place, words.join(" ")));
                continue;
            };
            let options = words.iter().filter(|word| word.starts_with("--"));
            let unknown = options.filter(|option| !text.contains(option.as_str()));
            offences.extend(unknown.map(|option| format!("{}: {option}", block.place)));
        }
    }
    assert!(count > 20, "only {count} commands were found");
    assert!(offences.is_empty(), "no such command or option:\n{offences:#?}");
}

#[test]
fn every_verb_has_a_section() {
    let page = read("docs/cli.md");
    let headings: BTreeSet<_> = page.lines().filter(|line| line.starts_with('#')).collect();
    let mut help = Help::default();
    let verbs = help.verbs(&[]);
    assert!(verbs.len() > 5, "`everstep --help` lists {verbs:?}");
    let mut missing = Vec::new();
    for verb in verbs {
        let below = help.verbs(std::slice::from_ref(&verb));
        let mut wanted = vec![format!("## `everstep {verb}`")];
        wanted.extend(below.iter().map(|second| format!("### `everstep {verb} {second}`")));
        missing.extend(wanted.into_iter().filter(|heading| !headings.contains(heading.as_str())));
    }
    assert!(missing.is_empty(), "docs/cli.md has no sections:\n{missing:#?}");
}

#[tokio::test]
async fn every_route_is_described() {
    let data = tempfile::tempdir().unwrap();
    let server = ServerProcess::start(data.path());
    let answer = reqwest::get(format!("{}/openapi.json", server.url())).await.unwrap();
    let document: serde_json::Value = answer.json().await.unwrap();
    let page = read("docs/http-api.md");
    let mut missing = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        let methods = methods.as_object().unwrap().keys();
        let routes = methods.map(|method| format!("`{} {path}`", method.to_uppercase()));
        missing.extend(routes.filter(|route| !page.contains(route.as_str())));
    }
    assert!(missing.is_empty(), "docs/http-api.md does not tell of:\n{missing:#?}");
}

/// The code spans of a page, outside its blocks.
fn spans(page: &str) -> Vec<String> {
    let text = read(page);
    let mut found = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        in_block ^= line.starts_with("```");
        if !in_block {
            found.extend(line.split('`').skip(1).step_by(2).map(str::to_owned));
        }
    }
    found
}

#[test]
fn files_and_tests_that_documents_name_exist() {
    let mut offences = Vec::new();
    for page in pages() {
        for span in spans(&page) {
            let (file, name) = span.split_once("::").unwrap_or((&span, ""));
            let ours = [".rs", ".wit", ".sh"].iter().any(|ending| file.ends_with(ending));
            if !ours || !file.contains('/') || file.contains([' ', '<', '*', '…']) {
                continue;
            }
            // A path in a sentence about a crate of the reader is none of ours.
            let Ok(text) = fs::read_to_string(root().join(file)) else {
                if root().join(file.split('/').next().unwrap()).is_dir() {
                    offences.push(format!("{page}: {file}"));
                }
                continue;
            };
            if !name.is_empty() && !text.contains(&format!("fn {name}(")) {
                offences.push(format!("{page}: {file} has no `{name}`"));
            }
        }
    }
    assert!(offences.is_empty(), "these are not there:\n{offences:#?}");
}
