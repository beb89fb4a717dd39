//! The manifest: what a module says it contains. It comes from untrusted code, so it is parsed
//! strictly and checked before anything relies on it.

use crate::{KeyTemplate, RetryPolicy, TaskOptions};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;

/// The manifest format that this version reads.
pub const FORMAT: u32 = 1;

/// The most workflows, and the most tasks, one module may have.
const MAX_DEFINITIONS: usize = 1_000;

/// What a module contains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// Always [`FORMAT`].
    pub format: u32,
    /// What built the module, for people.
    #[serde(default)]
    pub sdk: String,
    /// The workflows.
    pub workflows: Vec<WorkflowDefinition>,
    /// The tasks.
    #[serde(default)]
    pub tasks: Vec<TaskDefinition>,
}

/// A workflow of a module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WorkflowDefinition {
    /// 1 to 256 bytes.
    pub name: String,
    /// 1 to 256 bytes.
    pub version: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of the input; absent for anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<serde_json::Value>,
    /// JSON Schema of the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<serde_json::Value>,
    /// JSON Schemas of the events that it takes, by name; absent for any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events: Option<BTreeMap<String, serde_json::Value>>,
    /// When to try a failed run again, unless the start says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryPolicy>,
    /// The longest a run may take, in milliseconds, unless the start says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// A [`KeyTemplate`], from which starts without an idempotency key get theirs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// A task of a module.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskDefinition {
    /// 1 to 256 bytes.
    pub name: String,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<serde_json::Value>,
    /// JSON Schema of the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<serde_json::Value>,
    /// How it is executed unless the workflow says otherwise.
    #[serde(flatten)]
    pub options: TaskOptions,
    /// The longest an attempt may be without a heartbeat, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_timeout_ms: Option<u64>,
    /// How many attempts a host executes at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<NonZeroU32>,
    /// How many attempts a host begins in a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// What it may reach.
    #[serde(default)]
    pub grants: Grants,
}

/// At most so many in a time, evenly spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rate {
    /// How many.
    pub tasks: NonZeroU32,
    /// In so many milliseconds.
    pub per_ms: NonZeroU32,
}

/// What a task may reach outside the sandbox.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Grants {
    /// Hosts for outbound HTTP: `name` (ports 80 and 443), `name:port` or `name:*` (any port).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Secrets of the server, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<String>,
}

/// A manifest that cannot be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidManifest(String);

impl Manifest {
    /// Reads and checks what `definitions.describe` returned.
    ///
    /// # Errors
    /// A sentence that names what is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, InvalidManifest> {
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|e| InvalidManifest(format!("the manifest is not readable: {e}")))?;
        manifest.check().map_err(InvalidManifest)?;
        Ok(manifest)
    }

    /// The workflow with this name and version.
    #[must_use]
    pub fn workflow(&self, name: &str, version: &str) -> Option<&WorkflowDefinition> {
        self.workflows.iter().find(|w| w.name == name && w.version == version)
    }

    /// The task with this name.
    #[must_use]
    pub fn task(&self, name: &str) -> Option<&TaskDefinition> {
        self.tasks.iter().find(|t| t.name == name)
    }

    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!(
                "manifest format {} is not known; this server reads format {FORMAT}",
                self.format
            ));
        }
        if self.workflows.is_empty() {
            return Err("the module has no workflow; list it in `module!(workflows: […])`".into());
        }
        if self.workflows.len().max(self.tasks.len()) > MAX_DEFINITIONS {
            return Err(format!("a module has at most {MAX_DEFINITIONS} workflows and tasks"));
        }
        let mut seen = BTreeSet::new();
        for workflow in &self.workflows {
            let what = format!("workflow `{}` version `{}`", workflow.name, workflow.version);
            check_name(&workflow.name, "a workflow's name")?;
            check_name(&workflow.version, "a workflow's version")?;
            check_retry(workflow.retry, &what)?;
            for name in workflow.events.iter().flat_map(BTreeMap::keys) {
                check_name(name, "an event's name")?;
            }
            if let Some(Err(refused)) = workflow.key.as_deref().map(KeyTemplate::parse) {
                return Err(format!("the key of {what}: {refused}"));
            }
            if !seen.insert((&workflow.name, &workflow.version)) {
                return Err(format!("{what} is listed twice"));
            }
        }
        let mut seen = BTreeSet::new();
        for task in &self.tasks {
            check_name(&task.name, "a task's name")?;
            check_retry(task.options.retry, &format!("task `{}`", task.name))?;
            for name in &task.grants.secrets {
                check_name(name, "a secret's name")?;
            }
            if !seen.insert(&task.name) {
                return Err(format!("task `{}` is listed twice", task.name));
            }
        }
        Ok(())
    }
}

fn check_name(name: &str, what: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > 256 || name.chars().any(char::is_control) {
        let shown: String = name.chars().take(40).collect();
        return Err(format!("{what} has 1 to 256 bytes and no control characters, not {shown:?}"));
    }
    Ok(())
}

fn check_retry(retry: Option<RetryPolicy>, what: &str) -> Result<(), String> {
    retry.map_or(Ok(()), |policy| policy.check().map_err(|e| format!("the retry of {what}: {e}")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn refusal(json: &str) -> String {
        Manifest::parse(json.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_full_manifest_is_read() {
        let json = r#"{"format":1,"sdk":"x","workflows":[{"name":"w","version":"1"}],
            "tasks":[{"name":"t","retry":{"kind":"fixed","max_attempts":2,"delay_ms":5},
            "attempt_timeout_ms":9,"grants":{"hosts":["a:*"]}}]}"#;
        let manifest = Manifest::parse(json.as_bytes()).unwrap();
        let task = manifest.task("t").unwrap();
        assert_eq!(task.options.attempt_timeout_ms, Some(9));
        assert_eq!(task.options.retry_policy().max_attempts(), 2);
        assert_eq!(task.grants.hosts, ["a:*"]);
        assert!(manifest.workflow("w", "1").is_some());
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert!(refusal("[").contains("not readable"));
        assert!(refusal(r#"{"format":9,"workflows":[]}"#).contains("format 9"));
        assert!(refusal(r#"{"format":1,"workflows":[]}"#).contains("no workflow"));
        let w = r#"{"name":"w","version":"1"}"#;
        assert!(refusal(&format!(r#"{{"format":1,"workflows":[{w},{w}]}}"#)).contains("twice"));
        let unnamed = r#"{"format":1,"workflows":[{"name":"","version":"1"}]}"#;
        assert!(refusal(unnamed).contains("1 to 256 bytes"));
        let eager = r#"{"format":1,"workflows":[{"name":"w","version":"1",
            "retry":{"kind":"fixed","max_attempts":0,"delay_ms":1}}]}"#;
        assert!(refusal(eager).contains("max_attempts"));
        let keyless = r#"{"format":1,"workflows":[{"name":"w","version":"1","key":"${id"}]}"#;
        assert!(refusal(keyless).contains("the key of workflow `w`"));
    }
}
