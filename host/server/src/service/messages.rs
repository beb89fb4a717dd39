//! Messages between runs, as hosts bring them. Each has effect once, however often it is brought.
//!
//! What the receiver will never take is an answer; only what may go better next time is an error,
//! and the host brings the message again.

use super::{Service, ServiceError};
use crate::link::LinkError;
use everstep_core::api::{EventBody, OnConflict, StartBody};
use everstep_core::{
    ChildRequest, External, Failure, Message, OpId, OpResult, Parent, Payload, Reply, RunId,
};
use everstep_store::StoreError;

/// How many generations of parents a run may have. Bounds what a run that starts itself can do.
const DEEPEST: u32 = 32;
/// How long children may clean up, in milliseconds.
const GRACE_MS: u64 = 30_000;

impl Service {
    /// Brings a message of a run to another one.
    ///
    /// # Errors
    /// When it may come through another time.
    pub async fn deliver(&self, from: RunId, message: Message) -> Result<Reply, LinkError> {
        let delivered = match message {
            Message::Start { op, child, request } => {
                self.start_child(from, op, child, *request).await
            }
            Message::Event { to, event } => {
                let body = EventBody {
                    name: event.name,
                    data: Some(event.data),
                    reference: event.reference,
                };
                self.send_event(to, body).await.map(drop)
            }
            Message::Cancel { child, reason } => self.stop_child(child, reason).await,
            Message::End { parent, result } => self.child_ended(parent, result).await,
        };
        match delivered {
            Ok(()) => Ok(Reply::Taken),
            Err(error) if may_pass(&error) => Err(LinkError::Unavailable(error.to_string())),
            Err(error) => {
                let failure = Failure::new(error.code(), format!("{error}; {}", error.fix()));
                Ok(Reply::Refused(failure.not_retryable()))
            }
        }
    }

    async fn start_child(
        &self,
        from: RunId,
        op: OpId,
        child: RunId,
        request: ChildRequest,
    ) -> Result<(), ServiceError> {
        if self.parts.store.record(child).await?.is_some() {
            return Ok(());
        }
        let parent = self.record(from).await?;
        let depth = parent.origin.parent.map_or(0, |parent| parent.depth) + 1;
        if depth > DEEPEST {
            return Err(ServiceError::TooDeep { most: DEEPEST });
        }
        let ChildRequest { workflow, version, input, options, delay_ms, .. } = request;
        let body = StartBody {
            version,
            input: Some(input),
            delay_ms,
            on_conflict: OnConflict::ReturnExisting,
            retry: options.retry,
            timeout_ms: options.timeout_ms,
            tags: options.tags,
            pool: options.pool.or_else(|| parent.origin.options.pool.clone()),
            ..StartBody::new(workflow)
        };
        let parent = Parent { run: from, op, depth };
        self.start_as(body, Some((child, parent))).await.map(drop)
    }

    /// A child that is not there, or has ended, needs no stopping.
    async fn stop_child(&self, child: RunId, reason: String) -> Result<(), ServiceError> {
        let wish = External::Cancel { reason, grace_ms: GRACE_MS };
        self.told(child, wish).await
    }

    /// A parent that is not there, or has ended, does not want to know.
    async fn child_ended(&self, parent: Parent, result: OpResult) -> Result<(), ServiceError> {
        self.told(parent.run, External::ChildEnded { op: parent.op, result }).await
    }

    async fn told(&self, run: RunId, what: External) -> Result<(), ServiceError> {
        match self.ask(run, &what).await {
            Ok(_)
            | Err(
                ServiceError::RunNotFound(_)
                | ServiceError::Refused(_)
                // One whose record is damaged cannot be told anything any more.
                | ServiceError::Store(StoreError::Duplicate | StoreError::Corrupt { .. }),
            ) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes note of what a running task says of itself; none when it is over.
    pub fn task_progress(&self, run: RunId, op: OpId, progress: Option<Payload>) {
        self.parts.hub.progress(run, op, progress);
    }
}

/// Errors of the moment.
fn may_pass(error: &ServiceError) -> bool {
    match error {
        ServiceError::Busy(_) | ServiceError::Draining | ServiceError::Internal(_) => true,
        ServiceError::Store(error) => !matches!(
            error,
            StoreError::TooLarge { .. } | StoreError::Inconsistent(_) | StoreError::Corrupt { .. }
        ),
        _ => false,
    }
}
