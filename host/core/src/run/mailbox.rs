//! Events that have been received and not yet waited for, in the order in which they came.

use crate::{Deferred, Payload, Timestamp, UserEvent};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// An event that has been received.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Mail {
    /// Where it stands in the journal.
    pub(super) at: Deferred,
    /// When it came. A wait whose time was up by then does not get it.
    pub(super) received: Timestamp,
    pub(super) data: Payload,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Mailbox {
    by_name: BTreeMap<String, VecDeque<Mail>>,
    len: usize,
}

impl Mailbox {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn put(&mut self, at: Deferred, received: Timestamp, event: &UserEvent) {
        self.len += 1;
        let mail = Mail { at, received, data: event.data.clone() };
        self.by_name.entry(event.name.clone()).or_default().push_back(mail);
    }

    /// The oldest event of this name.
    pub(super) fn first(&self, name: &str) -> Option<&Mail> {
        self.by_name.get(name)?.front()
    }

    /// Takes the oldest event of this name, which must be the one that stands there.
    pub(super) fn take(&mut self, name: &str, at: Deferred) -> Option<Payload> {
        let events = self.by_name.get_mut(name)?;
        if events.front()?.at != at {
            return None;
        }
        let Mail { data, .. } = events.pop_front()?;
        if events.is_empty() {
            self.by_name.remove(name);
        }
        self.len -= 1;
        Some(data)
    }

    /// What there is, by where it stands in the journal.
    pub(super) fn by_place(&self) -> impl Iterator<Item = (Deferred, Payload)> {
        self.by_name.values().flatten().map(|mail| (mail.at, mail.data.clone()))
    }

    /// All events in order, for a journal that begins anew.
    pub(super) fn all(&self) -> Vec<UserEvent> {
        let mut events: Vec<_> = self
            .by_name
            .iter()
            .flat_map(|(name, events)| events.iter().map(move |mail| (mail.at, name, &mail.data)))
            .collect();
        events.sort_by_key(|(at, ..)| *at);
        let event = |(_, name, data): (Deferred, &String, &Payload)| UserEvent {
            name: name.clone(),
            data: data.clone(),
            reference: None,
        };
        events.into_iter().map(event).collect()
    }
}
