//! What a test sees of runs. Nothing here changes anything.

use crate::replay::Replay;
use crate::world::World;
use everstep_core::StuckCause;
use everstep_core::{Entry, Failure, LogLine, RunId, RunState};
use serde_json::Value;

impl World {
    /// All runs, children among them, in the order of their starts.
    #[must_use]
    pub fn runs(&self) -> &[RunId] {
        self.store.runs()
    }

    /// What a run waits for, or how it ended.
    ///
    /// # Panics
    /// When there is no such run, like all that follow.
    #[must_use]
    pub fn state(&self, run: RunId) -> &RunState {
        &self.store.get(run).record.state
    }

    /// The output of a run that has completed.
    ///
    /// # Panics
    /// When it has not.
    #[must_use]
    pub fn output(&self, run: RunId) -> Value {
        match self.state(run) {
            RunState::Completed { output } => output.read().expect("a payload is JSON"),
            _ => panic!("there is no output: {}", self.explain(run)),
        }
    }

    /// The failure of a run that has failed.
    ///
    /// # Panics
    /// When it has not.
    #[must_use]
    pub fn failure(&self, run: RunId) -> &Failure {
        match self.state(run) {
            RunState::Failed { failure } => failure,
            _ => panic!("there is no failure: {}", self.explain(run)),
        }
    }

    /// The journal of a run, from its start.
    #[must_use]
    pub fn journal(&self, run: RunId) -> &[Entry] {
        &self.store.get(run).journal
    }

    /// The log lines of a run and of its tasks. Those of tasks have the virtual time.
    #[must_use]
    pub fn logs(&self, run: RunId) -> &[LogLine] {
        &self.store.get(run).logs
    }

    /// What a run shows of itself.
    #[must_use]
    pub fn published(&self, run: RunId) -> Option<Value> {
        let published = self.store.get(run).record.published.as_ref()?;
        Some(published.read().expect("a payload is JSON"))
    }

    /// The children of a run, in the order of their starts.
    #[must_use]
    pub fn children(&self, run: RunId) -> Vec<RunId> {
        let parent = |child: &RunId| self.store.get(*child).record.origin.parent;
        let is_child = |child: &&RunId| parent(child).is_some_and(|parent| parent.run == run);
        self.store.runs().iter().filter(is_child).copied().collect()
    }

    /// The inputs of all attempts of a task, in the order in which they began, whether a stub
    /// answered them or not. An attempt that was made again because a host crashed counts once.
    #[must_use]
    pub fn task_calls(&self, task: &str) -> &[Value] {
        self.modules.expect_task(task);
        self.tasks.inputs(task)
    }

    /// Replays the whole journal of every run in fresh guests and compares every command. Gives the
    /// number of activations.
    ///
    /// # Panics
    /// At the first difference.
    pub fn replay_all(&self) -> u64 {
        let mut activations = 0;
        for run in self.store.runs() {
            let stored = self.store.get(*run);
            let origin = &stored.record.origin;
            let replay = Replay::new(self.modules.get(origin.digest), origin, 0, None);
            match replay.through(&stored.journal) {
                Ok((_, count)) => activations += count,
                Err(cause) => panic!("run {run} does not replay: {}", told(&cause)),
            }
            let folded = self.fold(*run);
            assert_eq!(folded.record().length, stored.record.length, "the record of run {run}");
        }
        activations
    }

    pub(crate) fn is_stuck(&self, run: RunId) -> Option<&StuckCause> {
        match self.state(run) {
            RunState::Stuck { cause } => Some(cause),
            _ => None,
        }
    }

    /// A sentence about where a run stands.
    pub(crate) fn explain(&self, run: RunId) -> String {
        let record = &self.store.get(run).record;
        let name = format!("run {run} of `{}` at {}", record.origin.workflow, self.now);
        match &record.state {
            RunState::Stuck { cause } => format!("{name} is stuck: {}", told(cause)),
            RunState::Queued { .. } => {
                format!("{name} is queued; let the world run: `world.run_until_idle()`")
            }
            RunState::AwaitingEvent { event, .. } => {
                format!("{name} waits for event `{event}`: `world.send_event(run, …)`")
            }
            state => format!("{name} is {}: {state:?}", state.kind().as_str()),
        }
    }
}

fn told(cause: &StuckCause) -> String {
    format!("{} ({})\n{}", cause.message, cause.code, cause.remedy)
}
