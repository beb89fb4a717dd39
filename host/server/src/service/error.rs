//! Why the service refuses a request. Each error has a stable code, which `docs/errors.md`
//! documents, and a fix that says what to do; the HTTP layer turns them into problems.

mod fix;

use everstep_core::api::{InterfaceChange, UpgradeReport};
use everstep_core::compat::Verdict;
use everstep_core::schedule::SpecError;
use everstep_core::{Digest, ForkRefusal, InvalidKey, Refusal, RunId, ScheduleId};
use everstep_engine::ModuleError;
use everstep_store::StoreError;

/// A refused request. Nothing has changed when the service answers with one.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// No run has this id.
    #[error("there is no run {0}")]
    RunNotFound(RunId),
    /// No module has this digest.
    #[error("there is no module {0}")]
    ModuleNotFound(Digest),
    /// No schedule has this id, or the id that belongs to this reference.
    #[error("there is no schedule {0}")]
    ScheduleNotFound(ScheduleId),
    /// No module has this workflow.
    #[error("there is no workflow `{workflow}`; known workflows: {}", listed(known))]
    UnknownWorkflow {
        /// What was asked for.
        workflow: String,
        /// The names there are.
        known: Vec<String>,
    },
    /// The workflow has no such version.
    #[error("workflow `{workflow}` has no version `{version}`; known versions: {}", listed(known))]
    UnknownVersion {
        /// The workflow's name.
        workflow: String,
        /// What was asked for.
        version: String,
        /// The versions there are.
        known: Vec<String>,
    },
    /// The input does not match the schema.
    #[error(
        "the input does not match the schema of `{workflow}` version `{version}`: {}",
        violations.join("; ")
    )]
    InputInvalid {
        /// The workflow's name.
        workflow: String,
        /// Its version.
        version: String,
        /// The first few: where, and what is wrong there.
        violations: Vec<String>,
    },
    /// The workflow does not take such an event.
    #[error("workflow `{workflow}` takes no event `{event}`; it takes: {}", listed(known))]
    EventUnknown {
        /// What was sent.
        event: String,
        /// The workflow's name.
        workflow: String,
        /// What it takes.
        known: Vec<String>,
    },
    /// The data of an event does not match the schema.
    #[error("the data does not match the schema of event `{event}` of `{workflow}`: {}",
        violations.join("; "))]
    EventInvalid {
        /// The event's name.
        event: String,
        /// The workflow's name.
        workflow: String,
        /// The first few: where, and what is wrong there.
        violations: Vec<String>,
    },
    /// A retry names a task that has not failed.
    #[error(
        "no task `{task}` failed in the last attempt of the run; failed tasks: {}",
        listed(failed)
    )]
    TaskNotFailed {
        /// What was named.
        task: String,
        /// The tasks that failed.
        failed: Vec<String>,
    },
    /// Runs started runs that started runs …
    #[error("a child run may have at most {most} generations of parents")]
    TooDeep {
        /// How many.
        most: u32,
    },
    /// A value is larger than allowed.
    #[error("the input has {size} bytes; at most {most} are allowed")]
    PayloadTooLarge {
        /// Bytes.
        size: u64,
        /// Bytes.
        most: u64,
    },
    /// An option of a start or a request makes no sense.
    #[error("`{field}`: {problem}")]
    InvalidOption {
        /// The option.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// An idempotency key is malformed.
    #[error("the idempotency key {0}")]
    KeyInvalid(&'static str),
    /// A key template is none, or has no key for the input.
    #[error(transparent)]
    KeyTemplate(#[from] InvalidKey),
    /// The key names another run and the start asked not to share.
    #[error("the idempotency key belongs to run {0}, which exists")]
    KeyTaken(RunId),
    /// The key names a run with another input.
    #[error("the idempotency key belongs to run {0}, which was started with another input")]
    KeyInputMismatch(RunId),
    /// The engine does not accept the module.
    #[error(transparent)]
    Module(#[from] ModuleError),
    /// The module has too many bytes.
    #[error("the module has more than {most} bytes")]
    ModuleTooLarge {
        /// Bytes.
        most: u64,
    },
    /// Another module has the version.
    #[error("workflow `{workflow}` version `{version}` is taken by module {digest}")]
    VersionTaken {
        /// The workflow's name.
        workflow: String,
        /// Its version.
        version: String,
        /// The module that has it.
        digest: Digest,
    },
    /// The version is closed to new runs.
    #[error("version `{version}` of workflow `{workflow}` is retired")]
    VersionRetired {
        /// The workflow's name.
        workflow: String,
        /// Its version.
        version: String,
    },
    /// The version is what new runs get by choice, so it cannot be retired.
    #[error("version `{version}` of workflow `{workflow}` is its chosen default")]
    VersionIsDefault {
        /// The workflow's name.
        workflow: String,
        /// Its version.
        version: String,
    },
    /// Runs on the module have not ended.
    #[error("{open} open runs execute module {digest}")]
    ModuleInUse {
        /// The module.
        digest: Digest,
        /// How many.
        open: u64,
    },
    /// Nothing was changed that could be taken back.
    #[error("nothing that new runs of workflow `{0}` get was changed")]
    NothingToRollBack(String),
    /// The workflow has as many versions as it may have.
    #[error("workflow `{0}` has as many versions as it may have")]
    TooManyVersions(String),
    /// Open runs cannot go on on the module that they were to be moved to.
    #[error("{} of {} open runs cannot go on on the new module", .0.failed, .0.runs)]
    Diverges(Box<UpgradeReport>),
    /// What worked for those who use a workflow may fail.
    #[error("the module narrows what its users may rely on: {}", first_change(.0, Verdict::Narrowing))]
    Narrows(Vec<InterfaceChange>),
    /// Tasks ask for hosts or secrets that they did not ask for before.
    #[error("the module asks for more than before: {}", first_change(.0, Verdict::Grant))]
    AsksForMore(Vec<InterfaceChange>),
    /// An input schema of the manifest cannot be used.
    #[error("the input schema of workflow `{workflow}` version `{version}` is wrong: {problem}")]
    Schema {
        /// The workflow's name.
        workflow: String,
        /// Its version.
        version: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A schedule cannot fire like that.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The reference belongs to a schedule that is defined otherwise.
    #[error("the reference `{reference}` belongs to schedule {id}, which is defined otherwise")]
    ReferenceTaken {
        /// The reference.
        reference: String,
        /// The schedule that has it.
        id: ScheduleId,
    },
    /// There are as many schedules as there may be.
    #[error("there are {most} schedules already")]
    TooManySchedules {
        /// How many there may be.
        most: usize,
    },
    /// The run's state machine does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The run cannot be forked there.
    #[error(transparent)]
    Fork(#[from] ForkRefusal),
    /// What the fork would have from the original does not replay.
    #[error("the beginning of the run does not replay: {0}")]
    ForkDiverges(String),
    /// The workflow fails with what was edited.
    #[error("with these edits the workflow would be stuck [{code}]: {message}")]
    ForkStuck {
        /// What it would be stuck by.
        code: String,
        /// Why.
        message: String,
    },
    /// The journal is too long.
    #[error("the journal has {length} entries; runs of at most {most} can be forked")]
    ForkTooLong {
        /// Entries.
        length: u64,
        /// Entries.
        most: u64,
    },
    /// The server does too much of this kind already.
    #[error("the server is busy: {0}")]
    Busy(&'static str),
    /// The server is about to stop.
    #[error("the server is shutting down")]
    Draining,
    /// The store could not do its part.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A defect of the server.
    #[error("internal error: {0}")]
    Internal(String),
}

impl ServiceError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::RunNotFound(_) => "run.not_found",
            Self::ModuleNotFound(_) => "module.not_found",
            Self::UnknownWorkflow { .. } => "run.unknown_workflow",
            Self::UnknownVersion { .. } => "run.unknown_version",
            Self::InputInvalid { .. } => "input.invalid",
            Self::EventUnknown { .. } => "event.unknown",
            Self::EventInvalid { .. } => "event.invalid",
            Self::TaskNotFailed { .. } => "retry.task_not_failed",
            Self::TooDeep { .. } => "child.too_deep",
            Self::PayloadTooLarge { .. } => "payload.too_large",
            Self::InvalidOption { .. } => "option.invalid",
            Self::KeyInvalid(_) => "key.invalid",
            Self::KeyTemplate(_) => "key.template",
            Self::KeyTaken(_) => "key.taken",
            Self::KeyInputMismatch(_) => "key.input_mismatch",
            Self::Module(error) => error.code(),
            Self::ModuleTooLarge { .. } => "module.too_large",
            Self::VersionTaken { .. } => "module.version_taken",
            Self::VersionRetired { .. } => "version.retired",
            Self::VersionIsDefault { .. } => "version.is_default",
            Self::ModuleInUse { .. } => "module.in_use",
            Self::NothingToRollBack(_) => "workflow.nothing_to_roll_back",
            Self::TooManyVersions(_) => "workflow.too_many_versions",
            Self::Diverges(_) => "upgrade.diverges",
            Self::Narrows(_) => "module.narrows",
            Self::AsksForMore(_) => "module.asks_for_more",
            Self::Schema { .. } => "module.schema",
            Self::ScheduleNotFound(_) => "schedule.not_found",
            Self::Spec(error) => error.code(),
            Self::ReferenceTaken { .. } => "schedule.reference_taken",
            Self::TooManySchedules { .. } => "schedule.too_many",
            Self::Refused(refusal) => refusal.code(),
            Self::Fork(refusal) => refusal.code(),
            Self::ForkDiverges(_) => "fork.diverges",
            Self::ForkStuck { .. } => "fork.stuck",
            Self::ForkTooLong { .. } => "fork.too_long",
            Self::Busy(_) => "server.busy",
            Self::Draining => "server.draining",
            Self::Store(error) => error.code(),
            Self::Internal(_) => "server.internal",
        }
    }
}

/// The most names that one message lists.
const MAX_LISTED: usize = 20;

fn listed(names: &[String]) -> String {
    if names.is_empty() {
        return "none".into();
    }
    let mut text = names.iter().take(MAX_LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > MAX_LISTED {
        text.push_str(&format!(" and {} more", names.len() - MAX_LISTED));
    }
    text
}

/// The first change of a kind, and how many more there are.
fn first_change(changes: &[InterfaceChange], verdict: Verdict) -> String {
    let mut of_kind = changes.iter().filter(|it| it.change.verdict == verdict);
    let Some(first) = of_kind.next() else { return String::new() };
    let more = match of_kind.count() {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    format!("{} {}: {}{more}", first.workflow, first.version, first.change)
}
