//! The command line as a user types it: the program is started, and what it said is kept.

use crate::process::everstep;
use serde::de::DeserializeOwned;
use std::process::{Command, Stdio};

/// The command line, talking to one server.
pub struct Cli {
    server: String,
}

/// What the program said before it ended.
#[derive(Debug)]
pub struct Said {
    /// Its exit code.
    pub code: i32,
    /// Data.
    pub stdout: String,
    /// Everything else.
    pub stderr: String,
}

impl Cli {
    /// The command line for the server at this address.
    #[must_use]
    pub fn new(server: &str) -> Self {
        Self { server: server.to_owned() }
    }

    /// The program with these arguments, not yet started.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(everstep());
        command
            .args(arguments)
            .env("EVERSTEP_SERVER", &self.server)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    ///
    /// # Panics
    /// When it cannot be started, or was killed.
    #[must_use]
    pub fn run(&self, arguments: &[&str]) -> Said {
        let output = self.command(arguments).output().unwrap();
        Said {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs the program and expects it to succeed. Returns what it wrote to stdout, without the
    /// end of the last line.
    ///
    /// # Panics
    /// When it exits with another code than 0.
    #[must_use]
    pub fn done(&self, arguments: &[&str]) -> String {
        let said = self.run(arguments);
        assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
        said.stdout.trim_end().to_owned()
    }

    /// Runs the program with `--json` and reads its lines.
    ///
    /// # Panics
    /// When it fails, or a line is something else.
    #[must_use]
    pub fn json<T: DeserializeOwned>(&self, arguments: &[&str]) -> Vec<T> {
        let stdout = self.done(&[arguments, &["--json"]].concat());
        let lines = stdout.lines().map(|line| {
            serde_json::from_str(line).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {line}"))
        });
        lines.collect()
    }
}

impl Said {
    /// Expects a refusal: an exit code, an error with this code, and words about how to mend it.
    ///
    /// # Panics
    /// When something else was said.
    pub fn refused(&self, exit: i32, code: &str) {
        assert_eq!(self.code, exit, "{self:?}");
        assert!(self.stderr.contains(&format!("error[{code}]: ")), "{self:?}");
        assert!(self.stderr.contains("\nfix: "), "{self:?}");
        assert_eq!(self.stdout, "", "a refusal is no data");
    }
}
