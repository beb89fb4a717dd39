//! Why the service refuses a request. Each error has a stable code, which `docs/errors.md`
//! documents, and a fix that says what to do; the HTTP layer turns them into problems.

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

    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::RunNotFound(_) => "check the id; `everstep runs list` shows the runs".into(),
            Self::ModuleNotFound(_) => {
                "check the digest; `everstep modules list` shows the modules".into()
            }
            Self::UnknownWorkflow { known, .. } if known.is_empty() => {
                "upload a module first: `everstep build`, then `everstep upload FILE`".into()
            }
            Self::UnknownWorkflow { .. } => {
                "use one of the known names, or upload the module that has this workflow".into()
            }
            Self::UnknownVersion { .. } => {
                "use one of the known versions, or leave the version out to get the newest".into()
            }
            Self::InputInvalid { workflow, .. } => format!(
                "change the input; `everstep modules list --json` has the schema of `{workflow}`"
            ),
            Self::EventUnknown { .. } => {
                "use one of its events, or declare this one in `#[workflow(events(…))]`".into()
            }
            Self::EventInvalid { workflow, .. } => format!(
                "change the data; `everstep modules list --json` has the schema of `{workflow}`"
            ),
            Self::TaskNotFailed { .. } => {
                "name one of the failed tasks; `everstep runs journal RUN` shows them".into()
            }
            Self::TooDeep { .. } => {
                "start the run without a parent, or use `continue as new` for what goes on for ever"
                    .into()
            }
            Self::PayloadTooLarge { .. } => {
                "put large data elsewhere and pass a reference to it".into()
            }
            Self::InvalidOption { field, .. } => format!("correct or leave out `{field}`"),
            Self::KeyInvalid(_) => "use 1 to 256 bytes without control characters".into(),
            Self::KeyTemplate(_) => {
                "change the input or the template, or give the start a key of its own".into()
            }
            Self::KeyTaken(_) => {
                "use another key, or `on_conflict: return_existing` to get that run".into()
            }
            Self::KeyInputMismatch(_) => {
                "use another key for another input; the input is compared byte for byte".into()
            }
            Self::Module(error) => error.fix().to_string(),
            Self::ModuleTooLarge { .. } => {
                "build for release and strip debug information and embedded data".into()
            }
            Self::VersionTaken { workflow, .. } => {
                format!(
                    "give the changed workflow a new version: `version = \"…\"` on \
                     `{workflow}`; or put the module in the place of the other one with `--replace`"
                )
            }
            Self::VersionRetired { .. } => {
                "use another version, or upload the module again to open this one".into()
            }
            Self::VersionIsDefault { workflow, .. } => format!(
                "choose another default first: `everstep modules default {workflow} VERSION`"
            ),
            Self::ModuleInUse { .. } => {
                "wait until they have ended, or move them: `everstep runs upgrade`".into()
            }
            Self::NothingToRollBack(_) => {
                "choose what new runs get with `everstep modules default`".into()
            }
            Self::TooManyVersions(_) => {
                "put the module in the place of a version with `--replace`".into()
            }
            Self::Diverges(_) => {
                "change the code so that it asks for the same as before, give it a new version \
                 beside the old one, or say `--allow-diverging`: the runs that do not pass stay \
                 on their module"
                    .into()
            }
            Self::Narrows(_) => {
                "keep the interface as it was, or say `--allow-narrowing` when its users are ready"
                    .into()
            }
            Self::AsksForMore(_) => {
                "say `--allow-grants` when its tasks may reach that; `--dry-run` shows all changes"
                    .into()
            }
            Self::Schema { .. } => {
                "correct the schema: no references to other documents, no look-around in patterns"
                    .into()
            }
            Self::ScheduleNotFound(_) => {
                "check the id or reference; `everstep schedules list` shows the schedules".into()
            }
            Self::Spec(error) => error.fix().into(),
            Self::ReferenceTaken { .. } => {
                "use another reference, or delete that schedule and make it anew".into()
            }
            Self::TooManySchedules { .. } => {
                "delete schedules that are not needed, or let one schedule start a workflow that \
                 does the work of several"
                    .into()
            }
            Self::Refused(refusal) => refusal_fix(refusal).into(),
            Self::Fork(refusal) => refusal.fix().into(),
            Self::ForkDiverges(_) => {
                "cut the journal in front of this position, or earlier when a child run that is \
                 under way has been told of there"
                    .into()
            }
            Self::ForkStuck { .. } => "edit to something that the workflow can read and use".into(),
            Self::ForkTooLong { .. } => {
                "let the workflow begin anew (`continue as new`) before its journal is that long"
                    .into()
            }
            Self::Busy(_) | Self::Draining => "try again in a moment".into(),
            Self::Store(error) => store_fix(error).into(),
            Self::Internal(_) => "report it with the server's log".into(),
        }
    }
}

fn refusal_fix(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::IllegalTransition { .. } => {
            "look at the run's state with `everstep runs show`; it must allow the request"
        }
        Refusal::AlreadySo(_) => "nothing needs to be done",
        Refusal::Corrupt { .. } => {
            "keep the data as it is, check the disk, and restore the run from a backup"
        }
        Refusal::Limit { .. } => "ask for less at once, or raise the limit on the server",
    }
}

fn store_fix(error: &StoreError) -> &'static str {
    match error {
        StoreError::Conflict { .. } | StoreError::AlreadyExists | StoreError::LeaseLost => {
            "try again; the run changed meanwhile"
        }
        StoreError::Duplicate => "nothing needs to be done; the run has it",
        StoreError::NotEnded => "wait until the run has ended",
        StoreError::ScheduleChanged { .. } => "try again; the schedule changed meanwhile",
        StoreError::PublicationChanged { .. } => "try again; the versions changed meanwhile",
        StoreError::Corrupt { .. } => {
            "keep the data as it is, check the disk, and restore it from a backup"
        }
        StoreError::Unavailable(_) => {
            "see the server's log, mend the cause (often a full or failing disk), start it again"
        }
        StoreError::InUse { .. } => "stop the other server, or use another data directory",
        StoreError::Format { .. } => "use a version of everstep that reads this format",
        StoreError::Foreign { .. } => "use another data directory; this one is something else's",
        StoreError::Inconsistent(_) => "report it with the server's log",
        StoreError::TooLarge { .. } => "put large data elsewhere and pass a reference to it",
        StoreError::BadCursor(_) => "pass the `cursor` of the page before, unchanged",
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
