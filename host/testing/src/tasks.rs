//! Task attempts: executed in the sandbox, answered by stubs, or failed on purpose. Without another
//! word an attempt takes no virtual time. Invariant: one that is repeated because its host crashed
//! fails again if it failed, and counts once.

use everstep_core::{Failure, Limits, LogLine, OpId, Payload, RunId, TaskCall, Timestamp};
use everstep_engine::{Module, TaskControl, TaskRun};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// What stands in the place of a task.
pub(crate) type Stub = Box<dyn FnMut(&Payload) -> Result<Payload, Failure>>;

/// An attempt and nothing else has this name.
type AttemptId = (RunId, OpId, u32);

/// What a test wants of a task, and what became of it.
#[derive(Default)]
struct Plan {
    stub: Option<Stub>,
    /// For the next attempts.
    failures: VecDeque<Failure>,
    failed: BTreeMap<AttemptId, Failure>,
    takes_ms: u64,
    made: BTreeSet<AttemptId>,
    inputs: Vec<Value>,
}

/// An attempt that has begun.
#[derive(Clone)]
pub(crate) struct UnderWay {
    pub(crate) run: RunId,
    pub(crate) call: TaskCall,
    ends_at: Timestamp,
    /// The limit that ends it before it is done.
    cut_off_ms: Option<u64>,
}

/// What an attempt leaves.
pub(crate) struct Ended {
    pub(crate) result: Result<Payload, Failure>,
    pub(crate) logs: Vec<LogLine>,
    pub(crate) progress: Option<Payload>,
}

/// All tasks of a world.
pub(crate) struct Tasks {
    plans: BTreeMap<String, Plan>,
    under_way: Vec<UnderWay>,
    runtime: tokio::runtime::Runtime,
}

impl Tasks {
    pub(crate) fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("the machine has room for a runtime");
        Self { plans: BTreeMap::new(), under_way: Vec::new(), runtime }
    }

    fn plan(&mut self, task: &str) -> &mut Plan {
        self.plans.entry(task.to_owned()).or_default()
    }

    pub(crate) fn stub(&mut self, task: &str, stub: Stub) {
        self.plan(task).stub = Some(stub);
    }

    pub(crate) fn fail(&mut self, task: &str, times: usize, failure: Failure) {
        self.plan(task).failures.extend(std::iter::repeat_n(failure, times));
    }

    pub(crate) fn takes(&mut self, task: &str, ms: u64) {
        self.plan(task).takes_ms = ms;
    }

    /// The inputs of all attempts, in the order in which they began.
    pub(crate) fn inputs(&self, task: &str) -> &[Value] {
        self.plans.get(task).map_or(&[], |plan| &plan.inputs)
    }

    /// Begins an attempt, unless it is under way.
    pub(crate) fn begin(&mut self, run: RunId, call: TaskCall, now: Timestamp) {
        let id = (run, call.op, call.attempt);
        if self.under_way.iter().any(|it| (it.run, it.call.op, it.call.attempt) == id) {
            return;
        }
        let plan = self.plan(&call.name);
        if plan.made.insert(id) {
            plan.inputs.push(call.input.read().unwrap_or_default());
        }
        let takes = plan.takes_ms;
        let limit = [call.attempt_timeout_ms, call.remaining_ms].into_iter().flatten().min();
        let cut_off_ms = limit.filter(|limit| takes > *limit);
        let ends_at = now.plus(cut_off_ms.unwrap_or(takes));
        self.under_way.push(UnderWay { run, call, ends_at, cut_off_ms });
    }

    /// The first attempt of a run whose time is over.
    pub(crate) fn over(&self, run: RunId, now: Timestamp) -> Option<UnderWay> {
        let of_run = self.under_way.iter().filter(|it| it.run == run && it.ends_at <= now);
        of_run.min_by_key(|it| it.ends_at).cloned()
    }

    /// Forgets attempts of a run that nobody waits for.
    pub(crate) fn keep(&mut self, run: RunId, is_wanted: impl Fn(OpId) -> bool) {
        self.under_way.retain(|it| it.run != run || is_wanted(it.call.op));
    }

    /// The runs of attempts whose time is over.
    pub(crate) fn due(&self, now: Timestamp) -> BTreeSet<RunId> {
        self.under_way.iter().filter(|it| it.ends_at <= now).map(|it| it.run).collect()
    }

    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.under_way.iter().map(|it| it.ends_at).min()
    }

    /// Finds out what an attempt comes to.
    pub(crate) fn finish(
        &mut self,
        attempt: &UnderWay,
        module: &Module,
        limits: Limits,
        now: Timestamp,
    ) -> Ended {
        let call = &attempt.call;
        let result = match attempt.cut_off_ms {
            Some(limit) => {
                let message = format!("the attempt did not end within {limit} ms");
                Some(Err(Failure::new("task.timeout", message)))
            }
            None => self.planned(attempt),
        };
        match result {
            Some(result) => Ended { result, logs: Vec::new(), progress: None },
            None => self.execute(attempt.run, call, module, limits, now),
        }
    }

    /// What the test has said about this attempt.
    fn planned(&mut self, attempt: &UnderWay) -> Option<Result<Payload, Failure>> {
        let UnderWay { run, call, .. } = attempt;
        let id = (*run, call.op, call.attempt);
        let plan = self.plan(&call.name);
        if let Some(failure) = plan.failed.get(&id) {
            return Some(Err(failure.clone()));
        }
        if let Some(failure) = plan.failures.pop_front() {
            plan.failed.insert(id, failure.clone());
            return Some(Err(failure));
        }
        plan.stub.as_mut().map(|stub| stub(&call.input))
    }

    /// Runs the task in the sandbox, where the real clock counts.
    fn execute(
        &self,
        run: RunId,
        call: &TaskCall,
        module: &Module,
        limits: Limits,
        now: Timestamp,
    ) -> Ended {
        let control = TaskControl::default();
        let timeout = [call.attempt_timeout_ms, call.remaining_ms].into_iter().flatten().min();
        let task = TaskRun {
            name: call.name.clone(),
            input: call.input.clone(),
            run_id: run,
            op: call.op,
            attempt: call.attempt,
            idempotency_token: call.idempotency_token.clone(),
            limits,
            timeout: timeout.map(Duration::from_millis),
            progress: call.progress.clone(),
            control: control.clone(),
        };
        let mut outcome = self
            .runtime
            .block_on(module.run_task(task))
            .unwrap_or_else(|error| panic!("task `{}` could not be run: {error}", call.name));
        for line in &mut outcome.logs {
            line.at = now;
        }
        Ended { result: outcome.result, logs: outcome.logs, progress: control.progress() }
    }
}
