//! Workflows, their versions, and what new runs get: the registry as people see and change it.

use super::UpgradeReport;
use crate::compat::Change;
use crate::publication;
use crate::{Digest, Timestamp};
use serde::{Deserialize, Serialize};

/// How an upload is to be treated: the parameters of `POST /v1/modules`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct UploadOptions {
    /// Put the module behind versions that other modules have, and move their open runs.
    pub replace: bool,
    /// Move the runs that pass although others do not; those stay on their module.
    pub allow_diverging: bool,
    /// Take it although what worked for callers and readers may fail.
    pub allow_narrowing: bool,
    /// Take it although its tasks ask for hosts or secrets that they did not ask for before.
    pub allow_grants: bool,
    /// Only say what would happen.
    pub dry_run: bool,
}

impl UploadOptions {
    /// Everything is taken.
    #[must_use]
    pub fn forced() -> Self {
        Self {
            replace: true,
            allow_diverging: true,
            allow_narrowing: true,
            allow_grants: true,
            dry_run: false,
        }
    }
}

/// What an upload changes for those who use a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceChange {
    /// The workflow.
    pub workflow: String,
    /// The version that it is compared with: the one that is replaced, or what new runs got before.
    pub was: String,
    /// The version in the new module.
    pub version: String,
    /// What is different.
    #[serde(flatten)]
    pub change: Change,
}

/// A workflow, as the registry shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkflowView {
    /// Its name.
    pub name: String,
    /// The version that new runs get which name none; none when all are retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<String>,
    /// The version that somebody chose for them; none for the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// Oldest first.
    pub versions: Vec<VersionView>,
    /// What was changed, oldest first; the last 100.
    #[serde(default)]
    pub changes: Vec<publication::Change>,
}

/// A version of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionView {
    /// Its name.
    pub version: String,
    /// The module behind it.
    pub digest: Digest,
    /// When it was published, or last replaced.
    pub published_at: Timestamp,
    /// Since when no runs can be started with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired_at: Option<Timestamp>,
}

/// Answer of `GET /v1/workflows`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkflowList {
    /// By name.
    pub workflows: Vec<WorkflowView>,
}

/// Body of `POST /v1/workflows/{name}/default`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DefaultBody {
    /// What new runs get that name no version; the newest when absent.
    pub version: Option<String>,
}

/// Body of `POST /v1/workflows/{name}/rollback`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RollbackBody {
    /// Move the runs that pass although others do not; those stay on their module.
    pub allow_diverging: bool,
    /// Only say what would happen.
    pub dry_run: bool,
}

/// Answer of `POST /v1/workflows/{name}/rollback`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolledBack {
    /// The workflow as it is now.
    pub workflow: WorkflowView,
    /// What became of the open runs, when a module was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upgrade: Option<UpgradeReport>,
}
