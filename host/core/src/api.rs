//! The shapes of the HTTP API. The server writes them, the client reads them; they are plain data
//! and never stored.

mod bulk;
mod events;
mod fork;
mod hosts;
mod resume;
mod selection;
mod start;
mod upgrade;
mod workflows;

pub use bulk::{BulkAction, BulkBody, BulkReport, BulkResult};
pub use events::{EventBody, EventSent, EventTarget, Multicast, MulticastBody, MulticastResult};
pub use fork::{EditBody, ForkBody, ForkStarted, ForkView};
pub use hosts::{HostList, HostView};
pub use resume::{ResumeView, ResumedBy};
pub use selection::RunSelection;
pub use start::{OnConflict, StartBody, Started};
pub use upgrade::{
    Finding, FindingGroup, ProgressLine, UpgradeBody, UpgradeProgress, UpgradeReport, cause_summary,
};
pub use workflows::{
    DefaultBody, InterfaceChange, RollbackBody, RolledBack, UploadOptions, VersionView,
    WorkflowList, WorkflowView,
};

use crate::event::Entry;
use crate::record::{QueueReason, Record, RetryCause, RunState, StateKind, StuckCause};
use crate::{Digest, Failure, LogLine, Manifest, OpId, Payload, RunId, StartOptions, Timestamp};
use serde::{Deserialize, Serialize};

/// A run, as lists and answers show it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunView {
    /// The run's id.
    pub id: RunId,
    /// The workflow's name.
    pub workflow: String,
    /// Its version.
    pub version: String,
    /// The module it executes.
    pub digest: Digest,
    /// What it waits for, or how it ended.
    pub state: StateKind,
    /// The current attempt; 0 before the first.
    pub attempt: u32,
    /// When the start was accepted.
    pub started_at: Timestamp,
    /// When something last happened.
    pub updated_at: Timestamp,
    /// Why it is queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<QueueReason>,
    /// When it goes on: the end of a sleep or delay, or the next attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wakeup_at: Option<Timestamp>,
    /// The name of the sleep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timer: Option<String>,
    /// The event that it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<String>,
    /// The child run that it waits for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<RunId>,
    /// The run whose child it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<RunId>,
    /// The run whose beginning it has, when it is a fork.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<ForkView>,
    /// Why it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// What it shows of itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Payload>,
    /// What failed and will be tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<RetryCause>,
    /// Why the run failed, or what will be tried again did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// The output of a completed run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Payload>,
    /// Why the run was, or is to be, cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_reason: Option<String>,
    /// Why it is stuck.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<StuckCause>,
    /// The options of the start.
    pub options: StartOptions,
    /// The number of pending operations.
    pub pending: u64,
    /// The number of journal entries.
    pub journal_length: u64,
    /// The number of log lines.
    pub log_lines: u64,
    /// How the run came into memory last, as far as this server knows (not in lists).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<ResumeView>,
    /// The input (not in lists).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Payload>,
    /// The pending operations (not in lists; at most 1,000).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operations: Option<Vec<OperationView>>,
}

/// A pending operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OperationView {
    /// Its id.
    pub op: OpId,
    /// `task`, `timer`, `event`, `send` or `child`.
    pub kind: String,
    /// The name of the task, timer, event or child workflow.
    pub name: String,
    /// The current or next attempt of a task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<u32>,
    /// When the timer or the wait ends, or the next attempt is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due: Option<Timestamp>,
    /// The child run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub child: Option<RunId>,
    /// What the last heartbeat of a running task said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Payload>,
}

impl From<&Record> for RunView {
    fn from(record: &Record) -> Self {
        let origin = &record.origin;
        let mut view = Self {
            id: origin.id,
            workflow: origin.workflow.clone(),
            version: origin.version.clone(),
            digest: origin.digest,
            state: record.state.kind(),
            attempt: record.attempt,
            started_at: origin.started_at,
            updated_at: record.updated_at,
            reason: None,
            wakeup_at: None,
            timer: None,
            event: None,
            child: None,
            parent: origin.parent.map(|parent| parent.run),
            forked_from: origin
                .forked_from
                .as_deref()
                .map(|it| ForkView { run: it.run, at: it.at }),
            paused: None,
            published: record.published.clone(),
            retry_of: None,
            failure: None,
            output: None,
            cancel_reason: record.cancel.as_ref().map(|cancel| cancel.reason.clone()),
            stuck: None,
            options: origin.options.clone(),
            pending: record.pending,
            journal_length: record.length,
            log_lines: record.log_lines,
            resumed: None,
            input: None,
            operations: None,
        };
        match record.state.clone() {
            RunState::Scheduled { at } => view.wakeup_at = Some(at),
            RunState::Queued { reason } => view.reason = Some(reason),
            RunState::Running => {}
            RunState::Sleeping { timer, wakeup_at } => {
                view.timer = Some(timer).filter(|name| !name.is_empty());
                view.wakeup_at = Some(wakeup_at);
            }
            RunState::AwaitingEvent { event, timeout_at } => {
                view.event = Some(event);
                view.wakeup_at = timeout_at;
            }
            RunState::AwaitingChild { child } => view.child = Some(child),
            RunState::Paused { reason } => view.paused = Some(reason),
            RunState::AwaitingRetry { cause, next_attempt_at, failure } => {
                view.retry_of = Some(cause);
                view.wakeup_at = Some(next_attempt_at);
                view.failure = Some(failure);
            }
            RunState::Stuck { cause } => view.stuck = Some(cause),
            RunState::Completed { output } => view.output = Some(output),
            RunState::Failed { failure } => view.failure = Some(failure),
            RunState::Cancelled { reason } => view.cancel_reason = Some(reason),
        }
        view
    }
}

/// Answer of `GET /v1/runs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunList {
    /// Newest first.
    pub runs: Vec<RunView>,
    /// Pass it as `cursor` to get what follows; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A journal entry with its position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntryView {
    /// The position, from 0.
    pub seq: u64,
    /// The entry.
    pub entry: Entry,
}

/// Answer of `GET /v1/runs/{id}/journal`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalPage {
    /// In order.
    pub entries: Vec<EntryView>,
    /// Pass it as `from` to get what follows; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// A log line with its position.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLineView {
    /// The position, from 0.
    pub seq: u64,
    /// The line.
    pub line: LogLine,
}

/// Answer of `GET /v1/runs/{id}/logs` without `follow`. With `follow=true` the answer is a stream
/// of server-sent events: `log` events with a [`LogLineView`] each and, when the run has ended, one
/// `end` event with the [`RunView`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogPage {
    /// In order.
    pub lines: Vec<LogLineView>,
    /// Pass it as `from` to get what follows; absent at the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
}

/// Answer of `GET /v1/runs/{id}/wait`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Waited {
    /// Whether the run is in the state that was waited for.
    pub outcome: WaitOutcome,
    /// The run as it is now.
    pub run: RunView,
}

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitOutcome {
    /// The run is in the state that was waited for.
    Reached,
    /// The time was up first.
    Timeout,
    /// The run ended in another state, or is stuck.
    Missed,
}

/// Body of `POST /v1/runs/{id}/cancel`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CancelBody {
    /// Why, for people.
    pub reason: Option<String>,
    /// How long the run may clean up, in milliseconds (30 s when absent).
    pub grace_ms: Option<u64>,
}

/// Body of `POST /v1/runs/{id}/{pause,terminate}`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReasonBody {
    /// Why, for people.
    pub reason: Option<String>,
}

/// Body of `POST /v1/runs/{id}/retry`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryBody {
    /// Outputs that take the place of failed tasks; the others are tried anew.
    pub outcomes: Vec<TaskOutcomeBody>,
}

/// An output for a failed task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskOutcomeBody {
    /// The task's name; its last failed execution is meant.
    pub task: String,
    /// The output that it counts as having; `null` when absent.
    #[serde(default)]
    pub output: Option<Payload>,
}

/// A module, as the registry shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModuleView {
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    /// When it was uploaded.
    pub uploaded_at: Timestamp,
    /// The version of the engine's configuration under which it was accepted.
    pub engine: u32,
    /// What it contains.
    pub manifest: Manifest,
    /// Runs that execute it and have not ended.
    #[serde(default)]
    pub open_runs: u64,
}

/// Answer of `POST /v1/modules`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Uploaded {
    /// False when the same bytes had been uploaded before.
    pub created: bool,
    /// False in a dry run: nothing was changed.
    pub active: bool,
    /// The module.
    pub module: ModuleView,
    /// What it changes for those who use its workflows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<InterfaceChange>,
    /// What became of the open runs of the versions that it replaces; none when it replaces none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeReport>,
}

/// Answer of `GET /v1/modules`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModuleList {
    /// Oldest first.
    pub modules: Vec<ModuleView>,
}

/// An error answer (RFC 9457, `application/problem+json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Problem {
    /// Where the code is documented.
    #[serde(rename = "type")]
    pub kind: String,
    /// The HTTP status.
    pub status: u16,
    /// A stable dotted word.
    pub code: String,
    /// What is wrong, this time.
    pub detail: String,
    /// What to do about it.
    pub fix: String,
    /// What was found when open runs were replayed on another module.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<Box<UpgradeReport>>,
    /// What an upload changes for those who use its workflows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<InterfaceChange>,
}
