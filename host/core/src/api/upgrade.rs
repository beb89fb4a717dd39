//! What the check of a new module against open runs says, and how runs are moved to it.

use super::RunSelection;
use crate::{Digest, Divergence, RunId};
use serde::{Deserialize, Serialize};

/// Body of `POST /v1/upgrades`: moves open runs to another module, after all of them have been replayed
/// on it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpgradeBody {
    /// To this version of their workflow; to the one that they have when absent (after another
    /// module was put behind it).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// To this module, in the place of the one that is published under the version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    /// Which runs; those that have ended are left out.
    #[serde(skip_serializing_if = "RunSelection::is_everything")]
    pub filter: RunSelection,
    /// These runs instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub runs: Vec<RunId>,
    /// Says that a filter without a condition is meant.
    pub all: bool,
    /// Move the runs that pass although others do not; those stay where they are.
    pub allow_diverging: bool,
    /// Only say what would happen.
    pub dry_run: bool,
}

/// What was found when open runs were replayed on another module. A replay proves that the module
/// asks for the same up to where each run is now, and nothing about what comes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct UpgradeReport {
    /// Runs that were checked.
    pub runs: u64,
    /// Those that could go on on the other module.
    pub passed: u64,
    /// Those that could not.
    pub failed: u64,
    /// Those that execute the other module now.
    pub moved: u64,
    /// What failed, by cause, most frequent first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<FindingGroup>,
    /// What failed, run by run; at most 1,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// How long it took, in milliseconds.
    pub elapsed_ms: u64,
}

/// Runs that fail for the same cause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingGroup {
    /// The code of the findings.
    pub code: String,
    /// What they have in common.
    pub summary: String,
    /// How many.
    pub runs: u64,
    /// One of them.
    pub example: RunId,
    /// Where in its code the module asks that run's journal for something else, as far as the module's
    /// debug information tells: the innermost function first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<String>,
}

/// Why a run cannot go on on another module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The run.
    pub run: RunId,
    /// A stable dotted word: `divergence`, `guest.trap`, `journal.corrupt`, `upgrade.task_missing` …
    pub code: String,
    /// What happened, for people; may have many lines.
    pub message: String,
    /// The first difference, when it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub divergence: Option<Box<Divergence>>,
}

/// How far a check is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UpgradeProgress {
    /// Runs that were checked.
    pub checked: u64,
    /// Runs that are to be checked, as far as it is known.
    pub of: u64,
    /// Those that failed.
    pub failed: u64,
    /// Runs that were moved.
    pub moved: u64,
}

/// One line of an answer that tells of its progress: any number of progress lines, then the answer
/// or the problem.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgressLine<T> {
    /// How far it is.
    Progress(UpgradeProgress),
    /// What the request would have been answered with.
    Answer(T),
    /// Why it was refused.
    Problem(super::Problem),
}

impl Finding {
    /// What findings of one cause have in common.
    #[must_use]
    pub fn summary(&self) -> String {
        cause_summary(&self.message, self.divergence.as_deref())
    }
}

/// What causes of one kind have in common: of a divergence both sides without their inputs or the
/// fields that differ, of a panic its place, otherwise the first line of the message.
#[must_use]
pub fn cause_summary(message: &str, divergence: Option<&Divergence>) -> String {
    if let Some(divergence) = divergence {
        return divergence.summary();
    }
    let panic = message.lines().find_map(|line| line.split_once("panicked at "));
    match panic {
        Some((_, place)) => format!("panicked at {}", place.trim_end_matches(':')),
        None => message.lines().next().unwrap_or_default().to_owned(),
    }
}
