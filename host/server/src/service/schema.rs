//! Checks inputs against the JSON Schemas of manifests. Starts and uploads call it.
//!
//! Schemas come from untrusted modules: nothing is fetched for them, their patterns run in linear
//! time, and the cache of compiled ones is bounded.

use super::ServiceError;
use everstep_core::manifest::WorkflowDefinition;
use everstep_core::{Digest, Manifest, Payload};
use hashlink::LruCache;
use jsonschema::{PatternOptions, Validator};
use std::sync::{Arc, Mutex, PoisonError};

/// How many compiled schemas are kept.
const CACHED: usize = 256;
/// The most violations that one refusal names.
const MAX_VIOLATIONS: usize = 5;
/// The most characters of one violation; it may quote the offending value.
const MAX_VIOLATION_CHARS: usize = 300;
/// Inputs from this size on are checked on a thread that may take its time, in bytes.
const LARGE_INPUT: usize = 32 << 10;

/// Module, workflow, version and, for an event, its name.
type Key = (Digest, String, String, String);

/// Compiled input schemas by module, workflow and version.
pub(super) struct InputSchemas {
    cache: Mutex<LruCache<Key, Arc<Validator>>>,
}

impl InputSchemas {
    pub(super) fn new() -> Self {
        Self { cache: Mutex::new(LruCache::new(CACHED)) }
    }

    /// Checks an input for a workflow.
    ///
    /// # Errors
    /// [`ServiceError::InputInvalid`], which says where the input is wrong.
    pub(super) async fn check(
        &self,
        digest: Digest,
        workflow: &WorkflowDefinition,
        input: &Payload,
    ) -> Result<(), ServiceError> {
        let Some(schema) = &workflow.input else { return Ok(()) };
        let violations = self.violations(digest, workflow, "", schema, input).await?;
        if violations.is_empty() {
            return Ok(());
        }
        Err(ServiceError::InputInvalid {
            workflow: workflow.name.clone(),
            version: workflow.version.clone(),
            violations,
        })
    }

    /// Checks the data of an event for a workflow.
    ///
    /// # Errors
    /// [`ServiceError::EventUnknown`], [`ServiceError::EventInvalid`].
    pub(super) async fn check_event(
        &self,
        digest: Digest,
        workflow: &WorkflowDefinition,
        name: &str,
        data: &Payload,
    ) -> Result<(), ServiceError> {
        let Some(events) = &workflow.events else { return Ok(()) };
        let Some(schema) = events.get(name) else {
            return Err(ServiceError::EventUnknown {
                event: name.chars().take(80).collect(),
                workflow: workflow.name.clone(),
                known: events.keys().cloned().collect(),
            });
        };
        let violations = self.violations(digest, workflow, name, schema, data).await?;
        if violations.is_empty() {
            return Ok(());
        }
        let (event, workflow) = (name.to_owned(), workflow.name.clone());
        Err(ServiceError::EventInvalid { event, workflow, violations })
    }

    async fn violations(
        &self,
        digest: Digest,
        workflow: &WorkflowDefinition,
        event: &str,
        schema: &serde_json::Value,
        input: &Payload,
    ) -> Result<Vec<String>, ServiceError> {
        let validator = self.validator(digest, workflow, event, schema)?;
        let violations = if input.len() < LARGE_INPUT {
            violations(&validator, input)
        } else {
            let input = input.clone();
            tokio::task::spawn_blocking(move || violations(&validator, &input))
                .await
                .map_err(|e| ServiceError::Internal(format!("checking an input failed: {e}")))?
        };
        Ok(violations)
    }

    fn validator(
        &self,
        digest: Digest,
        workflow: &WorkflowDefinition,
        event: &str,
        schema: &serde_json::Value,
    ) -> Result<Arc<Validator>, ServiceError> {
        let key = (digest, workflow.name.clone(), workflow.version.clone(), event.to_owned());
        let cache = || self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(validator) = cache().get(&key) {
            return Ok(Arc::clone(validator));
        }
        let validator = Arc::new(compile(workflow, schema)?);
        cache().insert(key, Arc::clone(&validator));
        Ok(validator)
    }
}

/// Refuses a manifest with an input schema that cannot be used, before anything is stored.
///
/// # Errors
/// [`ServiceError::Schema`] for the first one.
pub(super) fn check_manifest(manifest: &Manifest) -> Result<(), ServiceError> {
    for workflow in &manifest.workflows {
        let events = workflow.events.iter().flat_map(|events| events.values());
        for schema in workflow.input.iter().chain(events) {
            compile(workflow, schema)?;
        }
    }
    Ok(())
}

fn compile(
    workflow: &WorkflowDefinition,
    schema: &serde_json::Value,
) -> Result<Validator, ServiceError> {
    jsonschema::options().with_pattern_options(PatternOptions::regex()).build(schema).map_err(
        |error| ServiceError::Schema {
            workflow: workflow.name.clone(),
            version: workflow.version.clone(),
            problem: shortened(&error.to_string()),
        },
    )
}

fn violations(validator: &Validator, input: &Payload) -> Vec<String> {
    let value: serde_json::Value = match input.read() {
        Ok(value) => value,
        Err(error) => return vec![format!("it cannot be read: {error}")],
    };
    validator
        .iter_errors(&value)
        .take(MAX_VIOLATIONS)
        .map(|error| {
            let path = error.instance_path().as_str();
            let place = if path.is_empty() { "at the top" } else { path };
            format!("{place}: {}", shortened(&error.to_string()))
        })
        .collect()
}

fn shortened(text: &str) -> String {
    if text.chars().count() <= MAX_VIOLATION_CHARS {
        return text.to_owned();
    }
    text.chars().take(MAX_VIOLATION_CHARS).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn workflow(schema: serde_json::Value) -> WorkflowDefinition {
        let json = json!({"name": "w", "version": "1", "input": schema});
        serde_json::from_value(json).unwrap()
    }

    async fn check(workflow: &WorkflowDefinition, input: &str) -> Result<(), ServiceError> {
        let input = Payload::from_bytes(input.as_bytes()).unwrap();
        InputSchemas::new().check(Digest::of(b"m"), workflow, &input).await
    }

    #[tokio::test]
    async fn a_violation_says_where() {
        let schema = json!({"type": "object", "required": ["email"], "properties": {
            "email": {"type": "string"}, "tags": {"items": {"type": "integer"}}}});
        let workflow = workflow(schema);
        check(&workflow, r#"{"email":"a@b.c"}"#).await.unwrap();
        let error = check(&workflow, r#"{"email":5,"tags":[1,"x"]}"#).await.unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/email") && text.contains("/tags/1"), "{text}");
        let error = check(&workflow, "7").await.unwrap_err();
        assert!(error.to_string().contains("at the top"), "{error}");
    }

    #[tokio::test]
    async fn hostile_inputs_end_in_short_errors() {
        let workflow = workflow(json!({"type": "string", "pattern": "^(a+)+$"}));
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert!(check(&workflow, &deep).await.unwrap_err().to_string().len() < 1_000);
        let slow = format!("\"{}!\"", "a".repeat(100_000));
        assert!(check(&workflow, &slow).await.unwrap_err().to_string().len() < 1_000);
    }

    #[test]
    fn a_schema_that_cannot_be_used_is_refused_and_nothing_is_fetched_for_it() {
        for schema in [json!({"type": "no-such-type"}), json!({"$ref": "http://127.0.0.1:1/x"})] {
            let mut manifest: Manifest = serde_json::from_value(
                json!({"format": 1, "workflows": [{"name": "w", "version": "1"}]}),
            )
            .unwrap();
            check_manifest(&manifest).unwrap();
            manifest.workflows[0].input = Some(schema);
            let error = check_manifest(&manifest).unwrap_err();
            assert_eq!(error.code(), "module.schema");
        }
    }
}
