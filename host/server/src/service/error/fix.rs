//! What to do about each refusal, in words; `docs/errors.md` says more.

use super::ServiceError;
use everstep_core::Refusal;
use everstep_store::StoreError;

impl ServiceError {
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
            "see the server's log, mend the cause (often a full or failing disk, or a Redis that is \
             away); a server with a data directory has to be started again"
        }
        StoreError::InUse { .. } => "stop the other server, or use another data directory",
        StoreError::Format { .. } => "use a version of everstep that reads this format",
        StoreError::Foreign { .. } => "use another data directory; this one is something else's",
        StoreError::BadUrl(_) => "correct the address; docs/redis.md shows its form",
        StoreError::Unfit(_) => "change the configuration of Redis as it says, or use another one",
        StoreError::Inconsistent(_) => "report it with the server's log",
        StoreError::TooLarge { .. } => "put large data elsewhere and pass a reference to it",
        StoreError::BadCursor(_) => "pass the `cursor` of the page before, unchanged",
    }
}
