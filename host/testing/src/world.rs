//! The world of a test: modules, runs, and a clock that stands still until it is moved.

use crate::drive::Guest;
use crate::modules::Modules;
use crate::store::Store;
use crate::tasks::Tasks;
use everstep_core::{Failure, Payload, RunId, Timestamp};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// When every world begins: 2026-01-01T00:00:00Z.
const BEGINNING: Timestamp = Timestamp::from_millis(1_767_225_600_000);
/// How often time may be moved on before a run counts as one that never ends.
const MOST_WAITS: usize = 1_000_000;

/// A host, a server and a store in one, with a clock of its own. See the crate.
///
/// What a test asks for (starts, events, cancels …) is noted at once and acted upon when the world is
/// next let run: by [`World::run_until_idle`], [`World::advance`] or [`World::skip_to_end`].
///
/// A world has a runtime of its own for tasks; use it in plain `#[test]` functions, not in async
/// ones.
pub struct World {
    pub(crate) modules: Modules,
    pub(crate) store: Store,
    pub(crate) tasks: Tasks,
    pub(crate) guests: BTreeMap<RunId, Guest>,
    pub(crate) now: Timestamp,
    pub(crate) crashes: bool,
    /// The last commit that a crash came before.
    pub(crate) crashed_at: Option<(RunId, u64)>,
    /// Steps since the time moved.
    pub(crate) steps: usize,
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let runs = self.store.runs().len();
        f.debug_struct("World").field("now", &self.now).field("runs", &runs).finish_non_exhaustive()
    }
}

impl World {
    /// A world with the workflow crate in this folder, built for `wasm32-wasip2` as `everstep build`
    /// does it. Of a workspace, all its components.
    ///
    /// # Panics
    /// When it does not build.
    #[must_use]
    pub fn of_crate(folder: impl AsRef<Path>) -> Self {
        let mut world = Self::empty();
        world.add_crate(folder);
        world
    }

    /// A world with this component.
    ///
    /// # Panics
    /// When it is none.
    #[must_use]
    pub fn load(component: impl AsRef<Path>) -> Self {
        let mut world = Self::empty();
        world.add(component);
        world
    }

    fn empty() -> Self {
        Self {
            modules: Modules::default(),
            store: Store::default(),
            tasks: Tasks::new(),
            guests: BTreeMap::new(),
            now: BEGINNING,
            crashes: false,
            crashed_at: None,
            steps: 0,
        }
    }

    /// Adds another workflow crate: the code of children, for example.
    ///
    /// # Panics
    /// When it does not build.
    pub fn add_crate(&mut self, folder: impl AsRef<Path>) {
        for component in crate::build(folder) {
            self.add(component);
        }
    }

    /// Adds another component.
    ///
    /// # Panics
    /// When it is none.
    pub fn add(&mut self, component: impl AsRef<Path>) {
        self.modules.add(component.as_ref());
    }

    /// Lets this closure answer the attempts of a task from now on, in the place of the task. Where
    /// hosts crash it may be asked twice for one attempt, as a task may.
    ///
    /// # Panics
    /// When no module has the task; later, when an input does not read as an `I`.
    pub fn stub<I: DeserializeOwned, O: Serialize>(
        &mut self,
        task: &str,
        mut stub: impl FnMut(I) -> Result<O, Failure> + 'static,
    ) {
        self.modules.expect_task(task);
        let name = task.to_owned();
        let stub = move |input: &Payload| {
            let input = input.read().unwrap_or_else(|error| {
                panic!("the stub of `{name}` does not take the input {input}: {error}")
            });
            stub(input).map(|output| payload(&output))
        };
        self.tasks.stub(task, Box::new(stub));
    }

    /// Lets the next so many attempts of a task fail like this. Those that follow are left to its
    /// stub or to the task itself.
    ///
    /// # Panics
    /// When no module has the task.
    pub fn fail(&mut self, task: &str, times: usize, failure: Failure) {
        self.modules.expect_task(task);
        self.tasks.fail(task, times, failure);
    }

    /// Lets each attempt of a task take this much virtual time; none unless told otherwise.
    ///
    /// # Panics
    /// When no module has the task.
    pub fn takes(&mut self, task: &str, time: Duration) {
        self.modules.expect_task(task);
        self.tasks.takes(task, as_millis(time));
    }

    /// From now on the host crashes twice around every commit: once when it is decided and not yet
    /// durable, and once directly after it. All guests and all that the host knew are lost each time;
    /// runs are rebuilt from their journals by replay, which checks every command. The clock, the
    /// stubs and what was durable stay.
    pub fn crash_everywhere(&mut self) {
        self.crashes = true;
    }

    /// What time it is here.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Lets everything happen that can happen without time passing.
    ///
    /// # Panics
    /// When that has no end.
    pub fn run_until_idle(&mut self) {
        self.steps = 0;
        loop {
            let due = self.due_now();
            if due.is_empty() {
                return;
            }
            for run in due {
                self.drive(run);
            }
        }
    }

    /// Moves the clock on by this much. What falls due on the way happens in its order and at its
    /// time.
    ///
    /// # Panics
    /// When at some instant something happens without end.
    pub fn advance(&mut self, by: Duration) {
        let end = self.now.plus(as_millis(by));
        self.run_until_idle();
        while let Some(at) = self.next_due().filter(|at| *at <= end) {
            self.now = at;
            self.run_until_idle();
        }
        self.now = end;
    }

    /// Moves the clock on until the run has ended, however long that takes.
    ///
    /// # Panics
    /// When it is stuck, when it waits for something that time does not bring, or when it never ends.
    pub fn skip_to_end(&mut self, run: RunId) {
        self.run_until_idle();
        for _ in 0..MOST_WAITS {
            if self.store.get(run).record.is_terminal() {
                return;
            }
            match self.next_due().filter(|_| self.is_stuck(run).is_none()) {
                Some(at) => self.now = at,
                None => panic!("time alone does not end the run: {}", self.explain(run)),
            }
            self.run_until_idle();
        }
        panic!("the run did not end in {MOST_WAITS} waits: {}", self.explain(run));
    }

    fn due_now(&self) -> Vec<RunId> {
        let mut due = self.store.due(self.now);
        let of_tasks = self.tasks.due(self.now);
        due.extend(of_tasks.into_iter().filter(|run| !due.contains(run)).collect::<Vec<_>>());
        due
    }

    fn next_due(&self) -> Option<Timestamp> {
        [self.store.next_due(), self.tasks.next_due()].into_iter().flatten().min()
    }
}

/// The JSON form of a value that a test gives.
pub(crate) fn payload(value: &(impl Serialize + ?Sized)) -> Payload {
    Payload::from_value(value).unwrap_or_else(|error| panic!("the value has no JSON form: {error}"))
}

pub(crate) fn as_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
