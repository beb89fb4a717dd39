//! Sending events to runs. An event is checked against what the run's workflow declares, and is
//! durable when the sender is answered.

use super::{Service, ServiceError};
use everstep_core::api::{
    EventBody, EventSent, EventTarget, Multicast, MulticastBody, MulticastResult,
};
use everstep_core::{External, Payload, RunId, UserEvent};
use everstep_store::StoreError;
use futures::StreamExt;

/// The most runs that one event goes to.
const MOST_TARGETS: usize = 1_000;
/// How many of them are told at once.
const AT_ONCE: usize = 64;
/// The longest name or reference, in bytes.
const LONGEST_NAME: usize = 256;

impl Service {
    /// Sends an event to a run. One with a reference that the run knows is not received again,
    /// even after the run has ended.
    ///
    /// # Errors
    /// When there is no such run, it has ended, or it does not take such an event.
    pub async fn send_event(&self, run: RunId, body: EventBody) -> Result<EventSent, ServiceError> {
        let EventBody { name, data, reference } = body;
        let data = data.unwrap_or_else(Payload::null);
        self.check_event(&name, &data, reference.as_deref())?;
        let record = self.record(run).await?;
        let event = External::Event(Box::new(UserEvent { name, data, reference }));
        let known = |duplicate| Ok(EventSent { run, duplicate });
        if let Some(reference) = event.reference()
            && self.parts.store.has_reference(run, reference).await?
        {
            return known(true);
        }
        if let External::Event(event) = &event {
            let origin = &record.origin;
            let store = &*self.parts.store;
            let found = self.registry.of_run(store, origin).await?;
            let (name, data) = (&event.name, &event.data);
            self.schemas.check_event(origin.digest, found.workflow(), name, data).await?;
        }
        match self.ask(run, &event).await {
            Ok(_) => known(false),
            Err(ServiceError::Store(StoreError::Duplicate)) => known(true),
            Err(error) => Err(error),
        }
    }

    /// Sends an event to many runs, and tells what became of it for each.
    ///
    /// # Errors
    /// When there are too many, or the event itself is wrong.
    pub async fn multicast(&self, body: MulticastBody) -> Result<Multicast, ServiceError> {
        let MulticastBody { to, event } = body;
        if to.len() > MOST_TARGETS {
            let problem = format!("at most {MOST_TARGETS} runs are allowed");
            return Err(ServiceError::InvalidOption { field: "to", problem });
        }
        let data = event.data.clone().unwrap_or_else(Payload::null);
        self.check_event(&event.name, &data, event.reference.as_deref())?;
        let results = futures::stream::iter(to)
            .map(|target| async {
                let run = match target {
                    EventTarget::Run { run } => run,
                    EventTarget::Key { workflow, key } => RunId::from_key(&workflow, &key),
                };
                result(run, self.send_event(run, event.clone()).await)
            })
            .buffered(AT_ONCE)
            .collect()
            .await;
        Ok(Multicast { results })
    }

    fn check_event(
        &self,
        name: &str,
        data: &Payload,
        reference: Option<&str>,
    ) -> Result<(), ServiceError> {
        let most = self.options.limits.payload_bytes;
        if data.len() as u64 > most {
            return Err(ServiceError::PayloadTooLarge { size: data.len() as u64, most });
        }
        for (field, text) in [("name", Some(name)), ("reference", reference)] {
            let Some(text) = text else { continue };
            if text.is_empty() || text.len() > LONGEST_NAME || text.chars().any(char::is_control) {
                let problem =
                    format!("1 to {LONGEST_NAME} bytes without control characters are allowed");
                return Err(ServiceError::InvalidOption { field, problem });
            }
        }
        Ok(())
    }
}

fn result(run: RunId, sent: Result<EventSent, ServiceError>) -> MulticastResult {
    match sent {
        Ok(sent) => {
            let duplicate = sent.duplicate;
            MulticastResult { run, ok: true, duplicate, code: None, detail: None }
        }
        Err(error) => MulticastResult {
            run,
            ok: false,
            duplicate: false,
            code: Some(error.code().to_owned()),
            detail: Some(error.to_string()),
        },
    }
}
