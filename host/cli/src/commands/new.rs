//! `everstep new`: a crate with one workflow and one task, which builds and runs as it stands. The
//! files are templates in `assets/new/`.

use crate::context::Context;
use crate::exit::{Ended, Exit, Failure};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the SDK comes from unless it is named.
const REPOSITORY: &str = env!("CARGO_PKG_REPOSITORY");

/// The files of the crate and their templates.
const FILES: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("../../assets/new/Cargo.toml.txt")),
    ("src/lib.rs", include_str!("../../assets/new/lib.rs.txt")),
    ("README.md", include_str!("../../assets/new/README.md.txt")),
    (".gitignore", include_str!("../../assets/new/gitignore.txt")),
];

/// The longest name: it becomes the name of files, too.
const MAX_NAME: usize = 64;

/// What a crate cannot be called: the words of the language, and crates that would be in the way.
const TAKEN: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "const",
    "continue",
    "core",
    "crate",
    "do",
    "dyn",
    "else",
    "enum",
    "everstep-sdk",
    "everstep_sdk",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc-macro",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "virtual",
    "where",
    "while",
    "yield",
];

/// Make a workflow crate that builds and runs.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  everstep new hello
  everstep new hello --sdk ../everstep/guest-sdk
  everstep new hello && cd hello && everstep dev")]
pub(crate) struct Args {
    /// The crate's name, and the folder that is made for it; also the workflow's name
    name: String,
    /// The folder of a checkout of the SDK; else cargo fetches it from its repository
    #[arg(long, value_name = "PATH")]
    sdk: Option<PathBuf>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Ended {
    check_name(&args.name)?;
    let folder = Path::new(&args.name);
    check_free(folder)?;
    let sdk = match &args.sdk {
        Some(path) => format!("{{ path = {} }}", quoted(&sdk_folder(path)?)?),
        None => format!("{{ git = \"{REPOSITORY}\" }}"),
    };
    for (path, template) in FILES {
        let text = template
            .replace("{name}", &args.name)
            .replace("{sdk}", &sdk)
            .replace("{repository}", REPOSITORY);
        write(&folder.join(path), &text)?;
    }
    let full = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let full = full.display().to_string();
    if context.output.is_json() {
        let files = FILES.map(|(path, _)| path);
        let value = serde_json::json!({ "name": args.name, "path": full, "files": files });
        context.output.value(&value)?;
    } else {
        context.output.line(&full)?;
        context.output.note(&format!("`cd {} && everstep dev` builds and serves it", args.name));
    }
    Ok(Exit::Done)
}

/// What cargo takes for the name of a package, and rustc for that of a crate.
fn check_name(name: &str) -> Result<(), Failure> {
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase());
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let problem = if !begins || !name.chars().all(is_plain) {
        "is no name of a crate"
    } else if name.len() > MAX_NAME {
        "is too long for the name of a crate"
    } else if TAKEN.contains(&name) {
        "means something else to the compiler"
    } else {
        return Ok(());
    };
    let shown: String = name.chars().take(80).collect();
    Err(Failure::usage("new.name", format!("`{shown}` {problem}")).fix(
        "use at most 64 small letters, digits, `-` and `_`, with a letter first, such as `my-flow`",
    ))
}

/// The folder may be there, but only empty.
fn check_free(folder: &Path) -> Result<(), Failure> {
    let taken = |detail: String| {
        Failure::usage("new.folder", detail).fix("choose another name, or empty the folder")
    };
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(taken(format!("the folder `{}` is not empty", folder.display()))),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(taken(format!("`{}` cannot be used: {error}", folder.display()))),
    }
}

/// The SDK's folder as the crate, wherever it goes, finds it.
fn sdk_folder(path: &Path) -> Result<PathBuf, Failure> {
    let wrong = |detail: String| {
        Failure::usage("new.sdk", detail).fix("name the folder `guest-sdk` of a checkout")
    };
    let full = path.canonicalize().map_err(|e| wrong(format!("{}: {e}", path.display())))?;
    let manifest = fs::read_to_string(full.join("Cargo.toml")).unwrap_or_default();
    if !manifest.lines().any(|line| line.trim() == "name = \"everstep-sdk\"") {
        return Err(wrong(format!("{} is not the SDK", full.display())));
    }
    Ok(full)
}

/// The path as a string of TOML.
fn quoted(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().filter(|text| !text.contains(['\'', '\n', '\r']));
    text.map(|text| format!("'{text}'")).ok_or_else(|| {
        let detail = format!("{} cannot stand in a Cargo.toml", path.display());
        Failure::usage("new.sdk", detail).fix("move the checkout to a folder with a plain name")
    })
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).and_then(|()| fs::write(path, text)).map_err(|error| {
        Failure::new("new.folder", format!("cannot write {}: {error}", path.display()))
            .fix("go to a folder that you may write to")
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_those_of_crates() {
        for good in ["a", "hello", "my-flow_2", &"x".repeat(64)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for wrong in
            ["", "2fast", "-a", "_a", "Hello", "a b", "a/b", "..", "é", "async", "test", "core"]
        {
            let failure = check_name(wrong).unwrap_err();
            assert_eq!(
                (failure.exit, failure.report.unwrap().code.as_str()),
                (Exit::Usage, "new.name")
            );
        }
        assert!(check_name(&"x".repeat(65)).is_err());
    }

    #[test]
    fn a_folder_with_something_in_it_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(check_free(folder.path()).is_ok());
        assert!(check_free(&folder.path().join("none")).is_ok());
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for taken in [folder.path(), &file] {
            let failure = check_free(taken).unwrap_err();
            assert_eq!(
                (failure.exit, failure.report.unwrap().code.as_str()),
                (Exit::Usage, "new.folder")
            );
        }
    }

    #[test]
    fn the_sdk_is_a_folder_with_that_crate() {
        let sdk = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guest-sdk");
        assert!(sdk_folder(&sdk).unwrap().is_absolute());
        for wrong in [sdk.join("macros"), sdk.join("nothing")] {
            assert_eq!(sdk_folder(&wrong).unwrap_err().report.unwrap().code, "new.sdk");
        }
        assert_eq!(quoted(Path::new("/a b/c")).unwrap(), "'/a b/c'");
        assert!(quoted(Path::new("/a'b")).is_err());
    }
}
