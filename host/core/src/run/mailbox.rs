//! Events that have been received and not yet waited for, in the order in which they came.

use crate::{Deferred, Payload, UserEvent};
use std::collections::{BTreeMap, VecDeque};

/// See the module.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Mailbox {
    by_name: BTreeMap<String, VecDeque<(Deferred, Payload)>>,
    len: usize,
}

impl Mailbox {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn put(&mut self, at: Deferred, event: &UserEvent) {
        self.len += 1;
        self.by_name.entry(event.name.clone()).or_default().push_back((at, event.data.clone()));
    }

    /// The oldest event of this name.
    pub(super) fn first(&self, name: &str) -> Option<&(Deferred, Payload)> {
        self.by_name.get(name)?.front()
    }

    /// Takes the oldest event of this name, which must be the one that stands there.
    pub(super) fn take(&mut self, name: &str, at: Deferred) -> Option<Payload> {
        let events = self.by_name.get_mut(name)?;
        if events.front()?.0 != at {
            return None;
        }
        let (_, data) = events.pop_front()?;
        if events.is_empty() {
            self.by_name.remove(name);
        }
        self.len -= 1;
        Some(data)
    }

    /// All events in order, for a journal that begins anew.
    pub(super) fn all(&self) -> Vec<UserEvent> {
        let mut events: Vec<_> = self
            .by_name
            .iter()
            .flat_map(|(name, events)| events.iter().map(move |(at, data)| (*at, name, data)))
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
