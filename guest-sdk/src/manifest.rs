//! The manifest that `definitions.describe` answers; `wit/definitions.wit` documents it.

use crate::module::Module;
use crate::time::as_millis;
use crate::{Rate, RetryPolicy, TaskDefinition, WorkflowDefinition};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use std::collections::BTreeMap;

/// What a module contains.
#[derive(Debug, Serialize)]
pub(crate) struct Manifest {
    format: u32,
    sdk: &'static str,
    workflows: Vec<Workflow>,
    tasks: Vec<Task>,
}

/// What the manifest says of a workflow.
#[derive(Debug, Serialize)]
pub(crate) struct Workflow {
    name: &'static str,
    version: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'static str,
    input: Schema,
    output: Schema,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<RetryPolicy>,
    timeout_ms: Option<u64>,
    events: BTreeMap<&'static str, Schema>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'static str>,
}

/// What the manifest says of a task.
#[derive(Debug, Serialize)]
pub(crate) struct Task {
    name: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: &'static str,
    input: Schema,
    output: Schema,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry: Option<RetryPolicy>,
    attempt_timeout_ms: Option<u64>,
    total_timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    heartbeat_timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<RateLimit>,
    grants: Grants,
}

#[derive(Debug, Serialize)]
struct Grants {
    hosts: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    secrets: Vec<String>,
}

#[derive(Debug, Serialize)]
struct RateLimit {
    tasks: u32,
    per_ms: u64,
}

impl Manifest {
    pub(crate) fn of<M: Module>() -> Self {
        Self {
            format: 1,
            sdk: concat!("everstep-sdk ", env!("CARGO_PKG_VERSION")),
            workflows: M::WORKFLOWS.iter().map(|entry| (entry.describe)()).collect(),
            tasks: M::TASKS.iter().map(|entry| (entry.describe)()).collect(),
        }
    }

    /// A manifest has nothing in it that JSON cannot say, so the empty answer (which the host
    /// refuses at upload) does not occur.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Workflow {
    pub(crate) fn of<W: WorkflowDefinition>() -> Self {
        let settings = W::settings();
        Self {
            name: W::NAME,
            version: W::VERSION,
            description: settings.description,
            input: taken::<W::Input>(),
            output: given::<W::Output>(),
            retry: settings.retry,
            timeout_ms: settings.timeout.map(as_millis),
            events: settings.events.into_iter().collect(),
            key: settings.key,
        }
    }
}

impl Task {
    pub(crate) fn of<T: TaskDefinition>() -> Self {
        let settings = T::settings();
        Self {
            name: T::NAME,
            description: settings.description,
            input: taken::<T::Input>(),
            output: given::<T::Output>(),
            retry: settings.options.retry,
            attempt_timeout_ms: settings.options.attempt_timeout.map(as_millis),
            total_timeout_ms: settings.options.total_timeout.map(as_millis),
            heartbeat_timeout_ms: settings.heartbeat_timeout.map(as_millis),
            concurrency: settings.concurrency,
            rate: settings
                .rate
                .map(|Rate { tasks, per }| RateLimit { tasks, per_ms: as_millis(per) }),
            grants: Grants { hosts: settings.hosts, secrets: settings.secrets },
        }
    }
}

/// The schema of what is read: a field with a default may be absent.
#[doc(hidden)]
#[must_use]
pub fn taken<T: JsonSchema>() -> Schema {
    SchemaSettings::default().for_deserialize().into_generator().into_root_schema_for::<T>()
}

/// The schema of what is written: a field with a default is there.
fn given<T: JsonSchema>() -> Schema {
    SchemaSettings::default().for_serialize().into_generator().into_root_schema_for::<T>()
}
