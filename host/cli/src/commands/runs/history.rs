//! The history of a run, for the verbs that look back: replay, travel, diff. It comes from the server,
//! or from a file that `everstep runs export` wrote, which needs no server. What is damaged is
//! reported with its position, and nothing behind it is used.

use crate::commands::inspect;
use crate::context::Context;
use crate::exit::Failure;
use everstep_client::{EntryView, RunId, RunView};
use everstep_core::{Entry, Refusal, Run, replay};
use everstep_engine::Module;
use futures::{StreamExt, TryStreamExt};
use serde::Deserialize;
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// A run as it is named on the command line.
#[derive(Debug, Clone)]
pub(super) enum RunRef {
    /// A run of the server.
    Id(RunId),
    /// A run in an exported file; the only one in it unless it is named.
    Exported(PathBuf, Option<RunId>),
}

impl FromStr for RunRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Id(id));
        }
        if Path::new(text).exists() {
            return Ok(Self::Exported(text.into(), None));
        }
        match text.rsplit_once(':').map(|(file, id)| (file, id.parse::<RunId>())) {
            Some((file, Ok(id))) => Ok(Self::Exported(file.into(), Some(id))),
            _ => Err("it is neither the id of a run nor a file of `everstep runs export`".into()),
        }
    }
}

impl fmt::Display for RunRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Exported(file, None) => file.display().fmt(f),
            Self::Exported(file, Some(id)) => write!(f, "{}:{id}", file.display()),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct History {
    /// What was said of the run when its history was read.
    pub(super) run: RunView,
    /// The position of the first entry.
    pub(super) first: u64,
    /// The entries that are whole.
    pub(super) entries: Vec<Entry>,
    /// What stands behind them, if that is not the end.
    pub(super) damage: Option<Damage>,
}

/// An entry that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Damage {
    /// Its position.
    pub(super) seq: u64,
    /// What is wrong with it.
    pub(super) problem: String,
}

impl Damage {
    /// The error with which a verb ends that has done what it could.
    pub(super) fn failure(&self) -> Failure {
        let Self { seq, problem } = self;
        let detail = format!("the journal is damaged at position {seq}: {problem}");
        Failure::new("journal.corrupt", detail)
            .fix("nothing behind this position was used; take another copy of the run, or a backup")
    }
}

impl History {
    /// Reads a history. What is damaged ends it.
    pub(super) async fn load(context: &Context, run: &RunRef) -> Result<Self, Failure> {
        let mut history = match run {
            RunRef::Id(id) => Self::fetch(context, *id).await?,
            RunRef::Exported(file, id) => read(file, *id)?,
        };
        history.check();
        Ok(history)
    }

    async fn fetch(context: &Context, id: RunId) -> Result<Self, Failure> {
        let client = context.client()?;
        let run = client.run(id).await?;
        let _progress = context.output.spinner(format!("fetching the journal of run {id}"));
        // The run may go on meanwhile.
        let most = usize::try_from(run.journal_length).unwrap_or(usize::MAX);
        let views: Vec<EntryView> = client.journal(id, 0).take(most).try_collect().await?;
        let views = views.into_iter().filter(|view| view.seq < run.journal_length);
        let (positions, entries): (Vec<u64>, _) = views.map(|view| (view.seq, view.entry)).unzip();
        let first = positions.first().copied().unwrap_or(0);
        Ok(Self { run, first, entries, damage: None })
    }

    /// The position behind the last entry.
    pub(super) fn end(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Leaves out what stands behind the first entry that cannot stand where it stands.
    fn check(&mut self) {
        let told = self.run.journal_length;
        if self.damage.is_none() && self.end() < told {
            let problem = format!("it ends here, but the run has {told} entries");
            self.damage = Some(Damage { seq: self.end(), problem });
        }
        if let Err(Refusal::Corrupt { seq, problem }) = Run::fold(&self.entries, self.first)
            && !(self.entries.is_empty() && self.damage.is_some())
        {
            self.damage = Some(Damage { seq, problem });
            self.entries.truncate(usize::try_from(seq - self.first).unwrap_or(0));
        }
        if self.damage.is_some() {
            // The last step may be one that goes on in the damaged entry.
            self.entries.truncate(replay::step_begin(&self.entries, self.entries.len()).max(1));
        }
    }

    /// Leaves out what stands behind position `at`, or behind the end of the step that it is in.
    pub(super) fn cut(&mut self, at: u64) {
        let at = usize::try_from(at.saturating_sub(self.first)).unwrap_or(usize::MAX).max(1);
        self.entries.truncate(replay::step_end(&self.entries, at));
    }

    /// The module to replay on: the file, or what the run itself executes.
    pub(super) async fn module(
        &self,
        context: &Context,
        file: Option<&Path>,
    ) -> Result<Arc<Module>, Failure> {
        if let Some(file) = file {
            let module = inspect::load(&context.output, file).await?;
            self.check_workflow(&module)?;
            return Ok(module);
        }
        let digest = self.run.digest;
        let _progress = context.output.spinner(format!("fetching module {digest}"));
        inspect::compile(context.client()?.module_content(digest).await?).await
    }

    /// A module without the workflow would only show that its first step is another one.
    fn check_workflow(&self, module: &Module) -> Result<(), Failure> {
        let (manifest, run) = (module.manifest(), &self.run);
        if manifest.workflow(&run.workflow, &run.version).is_some() {
            return Ok(());
        }
        let known = manifest.workflows.iter().map(|w| format!("{} {}", w.name, w.version));
        let known = known.collect::<Vec<_>>().join(", ");
        let detail =
            format!("the module has no workflow {} {}; it has {known}", run.workflow, run.version);
        Err(Failure::new("run.unknown_workflow", detail)
            .fix("replay on a module that has the run's workflow in the run's version"))
    }
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
    #[serde(default)]
    run: Option<RunId>,
}

#[derive(Deserialize)]
struct EntryLine {
    seq: u64,
    entry: Entry,
}

fn unreadable(file: &Path, problem: impl fmt::Display) -> Failure {
    Failure::usage("export.unreadable", format!("cannot read {}: {problem}", file.display()))
        .fix("name a file that `everstep runs export` wrote")
}

/// Reads a run of an exported file.
fn read(file: &Path, wanted: Option<RunId>) -> Result<History, Failure> {
    let reader = BufReader::new(File::open(file).map_err(|e| unreadable(file, e))?);
    let mut found: Option<History> = None;
    let mut others: Vec<RunId> = Vec::new();
    for line in reader.lines() {
        let line = line.map_err(|e| unreadable(file, e))?;
        let kind = serde_json::from_str::<Kind>(&line);
        match (kind, &mut found) {
            (Ok(Kind { kind, .. }), found) if kind == "run" => {
                let run: RunView = serde_json::from_str(&line).map_err(|e| unreadable(file, e))?;
                if wanted.is_none_or(|id| id == run.id) && found.is_none() {
                    *found = Some(History { run, first: 0, entries: Vec::new(), damage: None });
                } else {
                    others.push(run.id);
                }
            }
            (Ok(Kind { run: Some(run), .. }), Some(history)) if run != history.run.id => {}
            (Ok(Kind { kind, .. }), Some(history)) if kind == "entry" => history.take(&line),
            (Ok(Kind { kind, .. }), _) if kind == "entry" || kind == "log" => {}
            (_, Some(history)) if others.is_empty() => history.take(&line),
            (Err(error), None) if wanted.is_none() => return Err(unreadable(file, error)),
            _ => {}
        }
    }
    match (found, wanted) {
        (Some(_), None) if !others.is_empty() => {
            let detail = format!("{} has {} runs", file.display(), others.len() + 1);
            Err(Failure::usage("export.ambiguous", detail).fix(format!(
                "say which one: {}:{}",
                file.display(),
                others[0]
            )))
        }
        (Some(history), _) => Ok(history),
        (None, Some(id)) => Err(unreadable(file, format!("it has no run {id}"))),
        (None, None) => Err(unreadable(file, "it has no run")),
    }
}

impl History {
    /// Takes a line of an export that should be the next entry.
    fn take(&mut self, line: &str) {
        if self.damage.is_some() || self.end() >= self.run.journal_length {
            return;
        }
        let end = self.end();
        match serde_json::from_str::<EntryLine>(line) {
            Ok(EntryLine { seq, entry }) if seq == end || self.entries.is_empty() => {
                if self.entries.is_empty() {
                    self.first = seq;
                }
                self.entries.push(entry);
            }
            Ok(EntryLine { seq, .. }) => {
                let problem = format!("the entry at position {seq} stands in its place");
                self.damage = Some(Damage { seq: end, problem });
            }
            Err(error) => self.damage = Some(Damage { seq: end, problem: error.to_string() }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::commands::runs::timeline::samples::{ATTEMPT, STARTED, entries, run};

    /// An export of a run that starts so many sleeps at once.
    fn lines(sleeps: u64) -> Vec<String> {
        let mut run = run();
        run.journal_length = 2 + sleeps;
        let sleep = |op| {
            let due = "2026-05-01T09:40:00Z";
            format!(r#"{{"type":"TimerStarted","data":{{"op":{op},"due":"{due}"}}}}"#)
        };
        let sleeps: Vec<String> = (1..=sleeps).map(sleep).collect();
        let mut events = vec![(0, STARTED), (0, ATTEMPT)];
        events.extend(sleeps.iter().map(|sleep| (0, sleep.as_str())));
        // As an export writes them: a value keeps the order of its fields.
        let line = |kind: &str, fields: String| {
            format!(r#"{{"kind":"{kind}","run":"{}",{}"#, run.id, &fields[1..])
        };
        let entries = entries(&events).into_iter();
        let entries = entries.map(|view| line("entry", serde_json::to_string(&view).unwrap()));
        let head = format!(r#"{{"kind":"run",{}"#, &serde_json::to_string(&run).unwrap()[1..]);
        std::iter::once(head).chain(entries).collect()
    }

    fn written(lines: &[String]) -> (tempfile::NamedTempFile, Result<History, Failure>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), lines.join("\n")).unwrap();
        let history = read(file.path(), None).map(|mut history| {
            history.check();
            history
        });
        (file, history)
    }

    #[test]
    fn an_export_is_read_back() {
        let (_file, history) = written(&lines(3));
        let mut history = history.unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!((history.end(), &history.damage), (5, &None));
        // A step is never cut apart.
        history.cut(3);
        assert_eq!(history.end(), 5);
        history.cut(1);
        assert_eq!(history.end(), 1);
    }

    #[test]
    fn damage_ends_a_history_in_front_of_the_step_it_is_in() {
        let whole = lines(3);
        let mut torn = whole.clone();
        torn[5].truncate(40);
        let mut missing = whole.clone();
        missing.remove(4);
        let mut impossible = whole.clone();
        impossible[4] = impossible[4].replace("\"op\":2", "\"op\":7");
        let short = whole[..4].to_vec();
        for (name, lines, seq, words) in [
            ("torn", torn, 4, "EOF"),
            ("missing", missing, 3, "position 4 stands in its place"),
            ("impossible", impossible, 3, "numbered in order"),
            ("short", short, 3, "the run has 5 entries"),
        ] {
            let history = written(&lines).1.unwrap_or_else(|e| panic!("{name}: {e:?}"));
            let damage = history.damage.as_ref().unwrap();
            assert_eq!((damage.seq, history.end()), (seq, 1), "{name}: {damage:?}");
            assert!(damage.problem.contains(words), "{name}: {damage:?}");
        }
    }

    #[test]
    fn files_that_are_no_export_or_have_many_runs_are_refused() {
        let code = |lines: &[String]| written(lines).1.unwrap_err().report.unwrap().code;
        assert_eq!(code(&["hello".into()]), "export.unreadable");
        assert_eq!(code(&[]), "export.unreadable");
        let mut two = lines(1);
        let other = RunId::from_key("w", "other");
        let id = run().id.to_string();
        two.extend(lines(1).iter().map(|line| line.replace(&id, &other.to_string())));
        assert_eq!(code(&two), "export.ambiguous");
        let (file, _) = written(&two);
        for id in [run().id, other] {
            assert_eq!(read(file.path(), Some(id)).unwrap().run.id, id);
        }
        assert!(read(file.path(), Some(RunId::from_key("w", "none"))).is_err());
    }
}
