//! Sees everything that becomes durable and every attempt of a task, writes it into the trace, and knows
//! what must never happen. What it finds is a violation, which fails the seed.

use crate::world::{BEGINNING, truth};
use everstep_core::{
    Commit, Entry, InputHash, JournalEvent, OpId, Record, RunId, StateKind, Timestamp, Token,
};
use everstep_store::StoreError;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Arguments;
use std::sync::{Mutex, MutexGuard};

/// The most violations that are kept of one seed; the first one says the most.
const KEPT: usize = 20;

/// What has become durable of a run.
#[derive(Default)]
struct Known {
    newest_token: Option<Token>,
    length: u64,
    last_at: Option<Timestamp>,
    terminal: Option<StateKind>,
    scheduled: BTreeSet<OpId>,
    /// Operations that have their result, with the hash of what it is.
    ended: BTreeMap<OpId, InputHash>,
    due: BTreeMap<OpId, Timestamp>,
    /// The attempts of tasks that failed, and when the next one is due.
    failed: BTreeMap<OpId, (u32, Timestamp)>,
    references: BTreeSet<String>,
}

#[derive(Default)]
struct Seen {
    runs: BTreeMap<RunId, Known>,
    attempts: BTreeMap<(RunId, OpId, u32), u64>,
    counts: BTreeMap<&'static str, u64>,
    commits: u64,
    violations: Vec<String>,
    last_s: u64,
    /// FNV-1a over the lines of the trace.
    hash: u64,
}

/// See the module.
pub(crate) struct Witness {
    aloud: bool,
    seen: Mutex<Seen>,
}

impl Witness {
    pub(crate) fn new(aloud: bool) -> Self {
        let seen = Seen { hash: 0xcbf2_9ce4_8422_2325, ..Seen::default() };
        Self { aloud, seen: Mutex::new(seen) }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// Writes a line of the trace.
    pub(crate) fn note(&self, line: Arguments<'_>) {
        self.seen().note(self.aloud, line);
    }

    pub(crate) fn count(&self, what: &'static str) {
        let mut seen = self.seen();
        *seen.counts.entry(what).or_default() += 1;
        seen.note(self.aloud, format_args!("  {what}"));
    }

    pub(crate) fn violated(&self, what: String) {
        self.seen().violated(self.aloud, what);
    }

    pub(crate) fn newest_token(&self, run: RunId) -> Option<Token> {
        self.seen().runs.get(&run).and_then(|known| known.newest_token)
    }

    pub(crate) fn has_received(&self, run: RunId, reference: &str) -> bool {
        self.seen().runs.get(&run).is_some_and(|known| known.references.contains(reference))
    }

    pub(crate) fn refused(&self, commit: &Commit, error: &StoreError) {
        let (run, token) = (commit.run_id(), token(commit));
        self.note(format_args!("{run} refused at {} by {token}: {error}", commit.expected_length));
    }

    /// A commit has become durable.
    pub(crate) fn committed(&self, commit: &Commit) {
        let (run, aloud) = (commit.run_id(), self.aloud);
        let mut seen = self.seen();
        seen.commits += 1;
        let names: Vec<_> = commit.entries.iter().map(|entry| entry.event.name()).collect();
        let (state, token) = (commit.record.state.kind().as_str(), token(commit));
        let length = commit.expected_length;
        let names = names.join(" ");
        seen.note(aloud, format_args!("{run} has {length} + [{names}] by {token}, {state}"));
        let mut known = seen.runs.remove(&run).unwrap_or_default();
        let mut wrong = known.take_commit(commit);
        for entry in &commit.entries {
            wrong.extend(known.take(entry));
        }
        seen.runs.insert(run, known);
        for what in wrong {
            seen.violated(aloud, format!("{run}: {what}"));
        }
    }

    /// An attempt of a task begins. `owns` says whether the host has the lease of the run.
    pub(crate) fn begins(&self, run: RunId, op: OpId, attempt: u32, host: usize, owns: bool) {
        let mut seen = self.seen();
        let by = if owns { "" } else { ", whose lease is lost" };
        seen.note(self.aloud, format_args!("{run} task {op} attempt {attempt} on host {host}{by}"));
        *seen.attempts.entry((run, op, attempt)).or_default() += 1;
        let Some(wrong) = seen.runs.get(&run).and_then(|known| known.refuse(op, attempt)) else {
            return;
        };
        if owns {
            let what = format!("{run}: attempt {attempt} of task {op} begins although {wrong}");
            seen.violated(self.aloud, what);
        } else {
            // A host that is cut off cannot know; what it makes of it is refused.
            *seen.counts.entry("an attempt on a host that is cut off").or_default() += 1;
        }
    }

    /// How many attempts were made more than once.
    pub(crate) fn repeated(&self) -> usize {
        self.seen().attempts.values().filter(|times| **times > 1).count()
    }

    /// The simulated time until now, in seconds.
    pub(crate) fn passed_s(&self) -> u64 {
        self.seen().last_s
    }

    /// What the seed comes to.
    pub(crate) fn summary(&self) -> (u64, u64, u64, u64, BTreeMap<&'static str, u64>, Vec<String>) {
        let seen = self.seen();
        let attempts = seen.attempts.values().sum();
        let runs = seen.runs.len() as u64;
        (seen.hash, runs, seen.commits, attempts, seen.counts.clone(), seen.violations.clone())
    }
}

impl Seen {
    fn note(&mut self, aloud: bool, line: Arguments<'_>) {
        let passed = truth().since(BEGINNING);
        self.last_s = passed / 1_000;
        let line = format!("{:>4}.{:03} {line}", passed / 1_000, passed % 1_000);
        for byte in line.bytes().chain([b'\n']) {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if aloud {
            eprintln!("{line}");
        }
    }

    fn violated(&mut self, aloud: bool, what: String) {
        self.note(aloud, format_args!("VIOLATION {what}"));
        if self.violations.len() < KEPT {
            self.violations.push(what);
        }
    }
}

impl Known {
    fn take_commit(&mut self, commit: &Commit) -> Vec<String> {
        let mut wrong = Vec::new();
        if let (Some(newest), Some(token)) = (self.newest_token, commit.token)
            && token < newest
        {
            wrong.push(format!("a commit under token {} came behind {}", token.0, newest.0));
        }
        self.newest_token = self.newest_token.max(commit.token);
        if commit.expected_length != self.length {
            wrong.push(format!("{} entries, not {}", self.length, commit.expected_length));
        }
        self.length = commit.record.length;
        let Record { state, .. } = &commit.record;
        let kind = state.kind();
        match self.terminal {
            Some(before) if before != kind => {
                wrong.push(format!("it was {} and is {}", before.as_str(), kind.as_str()));
            }
            _ => self.terminal = kind.is_terminal().then_some(kind),
        }
        if let everstep_core::RunState::Stuck { cause } = state {
            wrong.push(format!("stuck: {} {}", cause.code, cause.message));
        }
        wrong
    }

    fn take(&mut self, Entry { at, event }: &Entry) -> Vec<String> {
        let (now, mut wrong) = (truth(), Vec::new());
        if *at > now {
            wrong.push(format!("{} was decided {} ms ahead of time", event.name(), at.since(now)));
        }
        if self.last_at.is_some_and(|last| *at < last) {
            wrong.push(format!("{} was decided before what is in front of it", event.name()));
        }
        self.last_at = Some(*at);
        match event {
            JournalEvent::TaskScheduled { op, .. } => {
                self.scheduled.insert(*op);
            }
            JournalEvent::TimerStarted { op, due, reuses: None, .. } => {
                self.due.insert(*op, *due);
            }
            JournalEvent::TaskAttemptFailed { op, attempt, retry_at, .. } => {
                self.failed.insert(*op, (*attempt, *retry_at));
            }
            JournalEvent::TimerFired { op } => {
                let due = self.due.get(op).copied();
                if let Some(early) = due.map(|due| due.since(now)).filter(|early| *early > 0) {
                    wrong.push(format!("timer {op} fired {early} ms early"));
                }
            }
            JournalEvent::EventReceived { event } => {
                let reference = event.reference.clone().unwrap_or_default();
                if !self.references.insert(reference.clone()) {
                    wrong.push(format!("event {reference} was received twice"));
                }
            }
            _ => {}
        }
        if let Some(op) = event.ends() {
            let what = InputHash::of(format!("{event:?}").as_bytes());
            if self.ended.insert(op, what).is_some() {
                wrong.push(format!("operation {op} has a second result, {}", event.name()));
            }
        }
        wrong
    }

    /// Why an attempt must not begin, if there is a reason.
    fn refuse(&self, op: OpId, attempt: u32) -> Option<String> {
        let now = truth();
        let (failed, due) = self.failed.get(&op).copied().unwrap_or((0, now));
        if !self.scheduled.contains(&op) {
            Some("it is not recorded that it was asked for".into())
        } else if self.ended.contains_key(&op) {
            Some("its result is recorded".into())
        } else if attempt != failed + 1 {
            Some(format!("{failed} attempts are recorded"))
        } else if due > now {
            Some(format!("it is due in {} ms", due.since(now)))
        } else {
            None
        }
    }
}

fn token(commit: &Commit) -> String {
    commit.token.map_or_else(
        || "outside".into(),
        |token| format!("{}.{}", token.0 >> 40, token.0 & ((1 << 40) - 1)),
    )
}
