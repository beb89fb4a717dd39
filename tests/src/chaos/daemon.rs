//! A process that is kept alive, as systemd would: started again when it ends by itself. A nemesis kills
//! it, holds it down, and lets it stand still. Made by the cluster.
//!
//! Invariant: what it said is in one file, also across restarts, and it ends with the value that stands
//! for it.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How long a process may take to end after a signal.
const ENDING: Duration = Duration::from_secs(30);

/// How a process is started.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    /// Its name, which is that of its log.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Variables that it is given besides those of this process.
    pub variables: Vec<(String, String)>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Daemon {
    recipe: Recipe,
    log: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    child: Option<Child>,
    /// Whether it is to run.
    wanted: bool,
    /// How it ended when nobody had ended it.
    exits: Vec<String>,
}

impl Daemon {
    /// A process that is not started yet; its log will lie in this folder.
    #[must_use]
    pub(super) fn new(recipe: Recipe, logs: &Path) -> Self {
        let log = logs.join(format!("{}.log", recipe.name));
        Self { recipe, log, state: Mutex::default() }
    }

    /// Its name.
    #[must_use]
    pub(super) fn name(&self) -> &str {
        &self.recipe.name
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Starts it, and keeps it started from now on.
    ///
    /// # Panics
    /// When there is no such program.
    pub(super) fn start(&self) {
        let mut state = self.state();
        state.wanted = true;
        if state.child.is_none() {
            state.child = Some(self.spawn());
        }
    }

    fn spawn(&self) -> Child {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let Recipe { program, arguments, variables, name } = &self.recipe;
        let started = Command::new(program)
            .args(arguments)
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn();
        started.unwrap_or_else(|error| panic!("{name} ({}): {error}", program.display()))
    }

    /// Ends it with a signal, waits for that, and leaves it ended until it is started again. Who does not
    /// end when asked to is killed after a while, which is noted.
    ///
    /// # Panics
    /// When the system does not let it be ended.
    pub(super) fn end(&self, signal: Signal) {
        let child = {
            let mut state = self.state();
            state.wanted = false;
            state.child.take()
        };
        let Some(mut child) = child else { return };
        // It may have ended by itself just now.
        let _ = kill_process(Pid::from_child(&child), signal);
        let begun = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if begun.elapsed() > ENDING {
                self.state().exits.push(format!("did not end within {ENDING:?}, killed"));
                child.kill().unwrap();
                child.wait().unwrap();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Sends it a signal, if it is there.
    pub(super) fn signal(&self, signal: Signal) {
        if let Some(child) = &self.state().child {
            // It may have ended by itself just now.
            let _ = kill_process(Pid::from_child(child), signal);
        }
    }

    /// Starts it again if it has ended by itself. Called now and then.
    ///
    /// # Panics
    /// When it cannot be started.
    pub(super) fn tend(&self) {
        let mut state = self.state();
        let ended = state.child.as_mut().and_then(|child| child.try_wait().unwrap());
        if let Some(status) = ended {
            state.exits.push(told(status));
            state.child = state.wanted.then(|| self.spawn());
        }
    }

    /// How it ended when nobody had ended it.
    #[must_use]
    pub(super) fn exits(&self) -> Vec<String> {
        self.state().exits.clone()
    }

    /// The lines of its log that tell of a panic.
    #[must_use]
    pub(super) fn panics(&self) -> Vec<String> {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        log.lines().filter(|line| line.contains("panicked at")).map(str::to_owned).collect()
    }
}

fn told(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no code".to_owned(),
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end(Signal::KILL);
    }
}
