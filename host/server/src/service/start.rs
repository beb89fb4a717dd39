//! Starting runs: everything about a start is checked here, then the state machine makes the run
//! exist. A start with an idempotency key is answered with the run that has the key already, even
//! after the workflow, its versions or its schema have changed.

use super::{Service, ServiceError};
use everstep_core::api::{OnConflict, StartBody, Started};
use everstep_core::manifest::WorkflowDefinition;
use everstep_core::time::CENTURY_MS;
use everstep_core::{
    InputHash, KeyTemplate, Parent, Payload, Run, RunId, StartOptions, StartRequest, Timestamp,
};
use everstep_store::StoreError;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

/// The longest idempotency key, in bytes.
const LONGEST_KEY: usize = 256;
/// The most tags of a run.
const MAX_TAGS: usize = 32;
/// The longest name or value of a tag, in bytes.
const LONGEST_TAG: usize = 256;

impl Service {
    /// Checks a start as if it were made now.
    ///
    /// # Errors
    /// As [`Service::start`], but for those about keys.
    pub(super) async fn check_start(&self, body: &StartBody) -> Result<(), ServiceError> {
        let input = body.input.clone().unwrap_or_else(Payload::null);
        let most = self.options.limits.payload_bytes;
        if input.len() as u64 > most {
            return Err(ServiceError::PayloadTooLarge { size: input.len() as u64, most });
        }
        check_options(body)?;
        let store = &*self.parts.store;
        let found = self.registry.find(store, &body.workflow, body.version.as_deref()).await?;
        self.schemas.check(found.module.digest, found.workflow(), &input).await
    }

    /// Starts a run; it is durable when this returns.
    ///
    /// # Errors
    /// When the workflow or version is unknown, the input does not fit, an option makes no sense,
    /// or the key is taken.
    pub async fn start(&self, body: StartBody) -> Result<Started, ServiceError> {
        self.start_as(body, None).await
    }

    /// Starts a run, as a child when it has a parent; a child has its id from that.
    pub(super) async fn start_as(
        &self,
        mut body: StartBody,
        child: Option<(RunId, Parent)>,
    ) -> Result<Started, ServiceError> {
        let now = crate::clock::now();
        let input = body.input.clone().unwrap_or_else(Payload::null);
        let most = self.options.limits.payload_bytes;
        if input.len() as u64 > most {
            return Err(ServiceError::PayloadTooLarge { size: input.len() as u64, most });
        }
        let due = due(&body, now)?;
        check_options(&body)?;
        if let Some(started) = self.holder(&body, &body.workflow, &input).await? {
            return Ok(started);
        }
        let store = &*self.parts.store;
        let found = self.registry.find(store, &body.workflow, body.version.as_deref()).await?;
        let (digest, workflow) = (found.module.digest, found.workflow());
        // A child has its name from its parent.
        let key = match child {
            Some(_) => Ok(None),
            None => derived_key(&body, workflow, &input),
        };
        match key {
            Ok(None) => {}
            Ok(key) => {
                body.idempotency_key = key;
                if let Some(started) = self.holder(&body, &workflow.name, &input).await? {
                    return Ok(started);
                }
            }
            Err(refused) => {
                // What the schema has to say about the input is clearer.
                self.schemas.check(digest, workflow, &input).await?;
                return Err(refused);
            }
        }
        self.schemas.check(digest, workflow, &input).await?;
        let id = match (&body.idempotency_key, child) {
            (_, Some((id, _))) => id,
            (Some(key), None) => RunId::from_key(&workflow.name, key),
            (None, None) => RunId::new(now, rand::random()),
        };
        let on_conflict = body.on_conflict;
        let request = StartRequest {
            id,
            workflow: workflow.name.clone(),
            version: workflow.version.clone(),
            digest,
            engine: everstep_engine::CONFIG_VERSION,
            limits: self.options.limits,
            input: input.clone(),
            options: options(body, workflow),
            due,
            parent: child.map(|(_, parent)| parent),
        };
        match self.commit(Run::start(request, now)).await {
            Ok(()) => {}
            // Another start with the same key was quicker.
            Err(StoreError::AlreadyExists | StoreError::Conflict { .. }) => {
                let record = self.record(id).await?;
                return existing(id, record.origin.input_hash, &input, on_conflict);
            }
            Err(error) => return Err(error.into()),
        }
        self.starts.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(run = %id, workflow = workflow.name, version = workflow.version, "started");
        Ok(Started { id, created: true })
    }

    /// The answer to a start whose key names a run that exists.
    async fn holder(
        &self,
        body: &StartBody,
        workflow: &str,
        input: &Payload,
    ) -> Result<Option<Started>, ServiceError> {
        let Some(key) = &body.idempotency_key else { return Ok(None) };
        check_key(key)?;
        let id = RunId::from_key(workflow, key);
        let Some(record) = self.parts.store.record(id).await? else { return Ok(None) };
        existing(id, record.origin.input_hash, input, body.on_conflict).map(Some)
    }
}

/// The key that a template makes of the input, when the start has none of its own.
fn derived_key(
    body: &StartBody,
    workflow: &WorkflowDefinition,
    input: &Payload,
) -> Result<Option<String>, ServiceError> {
    let template = body.key_template.as_ref().or(workflow.key.as_ref());
    match template.filter(|_| body.idempotency_key.is_none()) {
        Some(template) => Ok(Some(KeyTemplate::parse(template)?.expand(input)?)),
        None => Ok(None),
    }
}

/// What a start answers when its key names a run that exists.
fn existing(
    id: RunId,
    input_hash: InputHash,
    input: &Payload,
    on_conflict: OnConflict,
) -> Result<Started, ServiceError> {
    match on_conflict {
        OnConflict::Error => Err(ServiceError::KeyTaken(id)),
        OnConflict::ReturnExisting if input_hash != input.hash() => {
            Err(ServiceError::KeyInputMismatch(id))
        }
        OnConflict::ReturnExisting => Ok(Started { id, created: false }),
    }
}

/// What the start says, else what the workflow says.
fn options(body: StartBody, workflow: &WorkflowDefinition) -> StartOptions {
    StartOptions {
        idempotency_key: body.idempotency_key,
        retry: body.retry.or(workflow.retry),
        timeout_ms: body.timeout_ms.or(workflow.timeout_ms),
        tags: body.tags,
        pool: body.pool,
    }
}

/// When the first attempt is due; none for at once.
fn due(body: &StartBody, now: Timestamp) -> Result<Option<Timestamp>, ServiceError> {
    match (body.delay_ms, body.at) {
        (Some(_), Some(_)) => Err(invalid("at", "say either `at` or `delay_ms`, not both")),
        (Some(delay), None) if delay > CENTURY_MS => {
            Err(invalid("delay_ms", "at most 100 years are allowed"))
        }
        (None, Some(at)) if at.since(now) > CENTURY_MS => {
            Err(invalid("at", "at most 100 years from now are allowed"))
        }
        (Some(delay), None) => Ok(Some(now.plus(delay))),
        (None, at) => Ok(at),
    }
}

fn check_options(body: &StartBody) -> Result<(), ServiceError> {
    if body.key_template.is_some() && body.idempotency_key.is_some() {
        return Err(invalid("key_template", "say either a key or a template for it, not both"));
    }
    if let Some(policy) = &body.retry {
        policy.check().map_err(|problem| invalid("retry", problem))?;
    }
    match body.timeout_ms {
        Some(0) => return Err(invalid("timeout_ms", "a run needs at least 1 ms")),
        Some(ms) if ms > CENTURY_MS => {
            return Err(invalid("timeout_ms", "at most 100 years are allowed"));
        }
        _ => {}
    }
    if let Some(pool) = &body.pool {
        crate::dispatch::check_pool(pool).map_err(|problem| invalid("pool", problem))?;
    }
    check_tags(&body.tags)
}

fn check_tags(tags: &BTreeMap<String, String>) -> Result<(), ServiceError> {
    if tags.len() > MAX_TAGS {
        return Err(invalid("tags", format!("at most {MAX_TAGS} tags are allowed")));
    }
    for (name, value) in tags {
        if name.is_empty() || name.len() > LONGEST_TAG || value.len() > LONGEST_TAG {
            let problem = format!("names have 1 to {LONGEST_TAG} bytes, values at most as many");
            return Err(invalid("tags", problem));
        }
        // Filters are written `name:value`.
        if name.contains(':') {
            return Err(invalid("tags", "names have no colon"));
        }
    }
    Ok(())
}

pub(super) fn check_key(key: &str) -> Result<(), ServiceError> {
    if key.is_empty() {
        return Err(ServiceError::KeyInvalid("is empty"));
    }
    if key.len() > LONGEST_KEY {
        return Err(ServiceError::KeyInvalid("has more than 256 bytes"));
    }
    if key.chars().any(char::is_control) {
        return Err(ServiceError::KeyInvalid("has control characters"));
    }
    Ok(())
}

fn invalid(field: &'static str, problem: impl Into<String>) -> ServiceError {
    ServiceError::InvalidOption { field, problem: problem.into() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_are_one_to_256_bytes_of_text() {
        check_key("order-7").unwrap();
        check_key(&"é".repeat(128)).unwrap();
        for wrong in [String::new(), "a\nb".into(), "a\u{0}".into(), "é".repeat(129)] {
            assert_eq!(check_key(&wrong).unwrap_err().code(), "key.invalid", "{wrong:?}");
        }
    }

    #[test]
    fn a_start_is_due_at_one_time_within_a_century() {
        let now = Timestamp::from_millis(1_000);
        let mut body = StartBody::new("w");
        assert_eq!(due(&body, now).unwrap(), None);
        body.delay_ms = Some(500);
        assert_eq!(due(&body, now).unwrap(), Some(Timestamp::from_millis(1_500)));
        body.delay_ms = Some(CENTURY_MS + 1);
        assert!(due(&body, now).is_err());
        body.at = Some(now);
        assert!(due(&body, now).unwrap_err().to_string().contains("not both"));
        body.delay_ms = None;
        assert_eq!(due(&body, now).unwrap(), Some(now));
        body.at = Some(now.plus(CENTURY_MS + 1));
        assert!(due(&body, now).is_err());
    }

    #[test]
    fn options_that_make_no_sense_are_named() {
        let mut body = StartBody::new("w");
        body.timeout_ms = Some(0);
        assert!(check_options(&body).unwrap_err().to_string().contains("timeout_ms"));
        body.timeout_ms = None;
        body.tags = (0..33).map(|n| (n.to_string(), String::new())).collect();
        assert!(check_options(&body).unwrap_err().to_string().contains("tags"));
        body.tags = [(String::new(), String::new())].into();
        assert!(check_options(&body).is_err());
        body.tags = [("a".to_owned(), "b".repeat(257))].into();
        assert!(check_options(&body).is_err());
        body.tags = [("a:b".to_owned(), "c".to_owned())].into();
        assert!(check_options(&body).is_err());
    }
}
