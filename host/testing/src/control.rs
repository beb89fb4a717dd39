//! What a test does to runs: starts, events, and the wishes of operators. All of it panics where a
//! server would refuse.

use crate::messages::GRACE_MS;
use crate::modules::Refused;
use crate::world::{World, as_millis, payload};
use everstep_core::api::StartBody;
use everstep_core::event::SetOutcome;
use everstep_core::{External, Payload, RunId, StateKind, UserEvent};
use serde::Serialize;
use std::time::Duration;

impl World {
    /// Starts a run of the newest version of a workflow.
    ///
    /// # Panics
    /// When there is no such workflow, or the input does not match its schema.
    pub fn start(&mut self, workflow: &str, input: impl Serialize) -> RunId {
        let input = Some(payload(&input));
        self.start_with(StartBody { input, ..StartBody::new(workflow) })
    }

    /// Starts a run with options: a version, a delay, a key, a retry policy, a time limit, tags. A
    /// key that has a run gives that run.
    ///
    /// # Panics
    /// When a server would refuse the start.
    pub fn start_with(&mut self, body: StartBody) -> RunId {
        let workflow = body.workflow.clone();
        let started = self.start_as(body, None);
        started.unwrap_or_else(|refused| panic!("`{workflow}` cannot be started: {refused}"))
    }

    /// Sends an event to a run.
    ///
    /// # Panics
    /// When the run has ended, or its workflow does not take such an event.
    pub fn send_event(&mut self, run: RunId, name: &str, data: impl Serialize) {
        let event = UserEvent { name: name.into(), data: payload(&data), reference: None };
        self.event(run, event);
    }

    /// Sends an event with a reference, which the run receives once. False when it had one with this
    /// reference before.
    ///
    /// # Panics
    /// When the run has ended, or its workflow does not take such an event.
    pub fn send_event_once(
        &mut self,
        run: RunId,
        name: &str,
        data: impl Serialize,
        reference: &str,
    ) -> bool {
        let reference = Some(reference.to_owned());
        self.event(run, UserEvent { name: name.into(), data: payload(&data), reference })
    }

    fn event(&mut self, run: RunId, event: UserEvent) -> bool {
        let name = event.name.clone();
        let received = self.receive(run, event);
        received.unwrap_or_else(|refused| panic!("run {run} refuses event `{name}`: {refused}"))
    }

    /// Asks a run to stop, and lets it clean up for 30 seconds.
    ///
    /// # Panics
    /// When it has ended otherwise.
    pub fn cancel(&mut self, run: RunId, reason: &str) {
        self.cancel_within(run, reason, Duration::from_millis(GRACE_MS));
    }

    /// Asks a run to stop, and lets it clean up for so long.
    ///
    /// # Panics
    /// When it has ended otherwise.
    pub fn cancel_within(&mut self, run: RunId, reason: &str, grace: Duration) {
        let (reason, grace_ms) = (reason.into(), as_millis(grace));
        self.ask(run, "cancelled", External::Cancel { reason, grace_ms });
    }

    /// Ends a run at once, without telling its workflow.
    ///
    /// # Panics
    /// When it has ended otherwise.
    pub fn terminate(&mut self, run: RunId, reason: &str) {
        self.ask(run, "terminated", External::Terminate { reason: reason.into() });
    }

    /// Lets a run stand still: what is under way ends, nothing new begins.
    ///
    /// # Panics
    /// When it has ended or is stuck.
    pub fn pause(&mut self, run: RunId, reason: &str) {
        self.ask(run, "paused", External::Pause { reason: reason.into() });
    }

    /// Lets a paused run go on.
    ///
    /// # Panics
    /// When it is not paused.
    pub fn resume(&mut self, run: RunId) {
        self.ask(run, "resumed", External::Resume);
    }

    /// Ends the sleep of a sleeping run that would end first.
    ///
    /// # Panics
    /// When it does not sleep.
    pub fn wake(&mut self, run: RunId) {
        self.ask(run, "woken", External::Wake);
    }

    /// Continues a run that is stuck, or tries a failed one again.
    ///
    /// # Panics
    /// When it is neither.
    pub fn retry(&mut self, run: RunId) {
        self.try_again(run, Vec::new());
    }

    /// Tries a failed run again, in which this task, that failed, counts as having given this.
    ///
    /// # Panics
    /// When the run has not failed, or the task has not failed in its last attempt.
    pub fn retry_with(&mut self, run: RunId, task: &str, output: impl Serialize) {
        let failed = match self.store.get(run).record.state.kind() {
            StateKind::Failed => self.fold(run).failed_tasks(),
            _ => Vec::new(),
        };
        let Some((op, _)) = failed.iter().find(|(_, name)| name == task) else {
            let failed: Vec<&str> = failed.iter().map(|(_, name)| name.as_str()).collect();
            let failed = failed.join(", ");
            panic!("no task `{task}` failed in the last attempt of run {run}, only: {failed}");
        };
        let output: Payload = payload(&output);
        self.try_again(run, vec![SetOutcome { op: *op, output }]);
    }

    fn try_again(&mut self, run: RunId, outcomes: Vec<SetOutcome>) {
        // What a host remembers of the run says nothing about its next attempt.
        self.guests.remove(&run);
        self.ask(run, "retried", External::Retry { outcomes });
    }

    fn ask(&mut self, run: RunId, what: &str, wish: External) {
        let refused = |refused: Refused| panic!("run {run} cannot be {what}: {refused}");
        self.tell(run, wish).unwrap_or_else(refused);
    }
}
