//! `everstep host` as a process of its own, so that it can be killed, stopped and let go on.

use crate::process::everstep;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running host. Dropping it kills it.
pub struct HostProcess {
    child: Child,
    events: Receiver<Value>,
}

impl HostProcess {
    /// Starts a host of these servers (separated by commas), with its cache in `folder`.
    ///
    /// # Panics
    /// When the program does not start.
    #[must_use]
    pub fn start(servers: &str, folder: &Path, name: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(everstep())
            .args(["host", "--json", "--server", servers, "--name", name, "--data"])
            .arg(folder.join("host"))
            .args(arguments)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (sender, events) = channel();
        // It ends with the process.
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.send(serde_json::from_str(&line).unwrap());
            }
        });
        Self { child, events }
    }

    /// Starts a host and waits until a server has taken it in.
    ///
    /// # Panics
    /// When none does within a minute.
    #[must_use]
    pub fn connected(servers: &str, folder: &Path, name: &str, arguments: &[&str]) -> Self {
        let host = Self::start(servers, folder, name, arguments);
        host.next("connected");
        host
    }

    /// Waits until it says that something has happened. What it said before is passed over.
    ///
    /// # Panics
    /// When that takes a minute.
    pub fn next(&self, event: &str) -> Value {
        let begun = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            let said = self.events.recv_timeout(left);
            let said = said.unwrap_or_else(|e| panic!("the host did not say `{event}`: {e}"));
            if said["event"] == event {
                return said;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGSTOP: it stands still, and knows nothing of it.
    ///
    /// # Panics
    /// When there is no such process any more.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT: it goes on.
    ///
    /// # Panics
    /// When there is no such process any more.
    pub fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM: it hands everything back and ends.
    ///
    /// # Panics
    /// When there is no such process any more.
    pub fn ask_to_stop(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits for its end and returns its exit code.
    ///
    /// # Panics
    /// When that takes a minute.
    pub fn ended(mut self) -> Option<i32> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("the host did not end");
    }

    /// SIGKILL: it gets no chance to do anything.
    ///
    /// # Panics
    /// When there is no such process any more.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for HostProcess {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
