//! `everstep server` as a process of its own, so that it can be killed like one.

use crate::cli::Cli;
use everstep_client::Client;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The program under test: built by the same cargo call as the tests.
///
/// # Panics
/// When it has not been built.
#[must_use]
pub fn everstep() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap();
    // A test is target/<profile>/deps/<test>, a program target/<profile>/<program>.
    let folder = if folder.ends_with("deps") { folder.parent().unwrap() } else { folder };
    let program = folder.join("everstep");
    assert!(
        program.exists(),
        "{} is not built; type: cargo build -p everstep (or make test)",
        program.display()
    );
    program
}

/// A running server. Dropping it kills it.
pub struct ServerProcess {
    child: Child,
    url: String,
}

impl ServerProcess {
    /// Starts a server on a data directory and waits until it listens.
    ///
    /// # Panics
    /// When it does not start; its own words are on stderr.
    #[must_use]
    pub fn start(data: &Path) -> Self {
        Self::start_on(data, "127.0.0.1:0", &[])
    }

    /// Starts a server on an address, with further arguments.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start_on(data: &Path, listen: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(everstep())
            .args(["server", "--json", "--listen", listen, "--store"])
            .arg(data)
            .args(arguments)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: serde_json::Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("the server did not start: {line:?}"));
        let url = ready["listen"].as_str().unwrap().to_owned();
        let url = if url.starts_with("http") { url } else { format!("http://{url}") };
        Self { child, url }
    }

    /// Where it listens.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address, for starting another server in the same place.
    #[must_use]
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    /// A client of it.
    ///
    /// # Panics
    /// Never: the address is one.
    #[must_use]
    pub fn client(&self) -> Client {
        Client::new(&self.url).unwrap()
    }

    /// The command line for it.
    #[must_use]
    pub fn cli(&self) -> Cli {
        Cli::new(&self.url)
    }

    /// The number of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What a counter or gauge of `/metrics` says.
    ///
    /// # Panics
    /// When there is none of this name.
    pub async fn metric(&self, name: &str) -> u64 {
        let text = reqwest::get(format!("{}/metrics", self.url())).await.unwrap();
        let text = text.text().await.unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// Sends a signal: STOP lets the process stand still, CONT lets it go on.
    ///
    /// # Panics
    /// When there is no such process any more.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGKILL: the process gets no chance to do anything.
    ///
    /// # Panics
    /// When there is no such process any more.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM: it may clean up. Returns its exit code.
    ///
    /// # Panics
    /// When it does not end within 20 s.
    pub fn terminate(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(20) {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the server did not end after SIGTERM");
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
