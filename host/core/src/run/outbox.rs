//! Messages to other runs that are not confirmed, and which of them a host has in its hands.

use crate::{Message, MessageId, MessageKind, OpId};
use std::collections::{BTreeMap, BTreeSet};

/// See the module. What is `unsent` is not durable: a fold leaves every message unsent, so after a
/// crash all of them are sent again.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Outbox {
    messages: BTreeMap<MessageId, Message>,
    unsent: BTreeSet<MessageId>,
}

impl Outbox {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn put(&mut self, op: OpId, message: Message) {
        let id = MessageId { op, kind: message.kind() };
        self.unsent.insert(id);
        self.messages.insert(id, message);
    }

    pub(super) fn contains(&self, id: MessageId) -> bool {
        self.messages.contains_key(&id)
    }

    /// Takes out what the other side has.
    pub(super) fn confirm(&mut self, id: MessageId) -> bool {
        self.unsent.remove(&id);
        self.messages.remove(&id).is_some()
    }

    /// Takes out whatever an operation still had to say, but for cancels.
    pub(super) fn answered(&mut self, op: OpId) {
        self.confirm(MessageId { op, kind: MessageKind::Start });
        self.confirm(MessageId { op, kind: MessageKind::Event });
    }

    /// Messages to send now, in order, at most `most`.
    pub(super) fn take(&mut self, most: usize) -> Vec<(MessageId, Message)> {
        let mut taken = Vec::new();
        while taken.len() < most {
            let Some(id) = self.unsent.pop_first() else { break };
            if let Some(message) = self.messages.get(&id) {
                taken.push((id, message.clone()));
            }
        }
        taken
    }

    /// Notes that a message was taken but may not have come through.
    pub(super) fn lost(&mut self, id: MessageId) {
        if self.messages.contains_key(&id) {
            self.unsent.insert(id);
        }
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// All messages, for a journal that begins anew.
    pub(super) fn all(&self) -> Vec<(MessageId, Message)> {
        self.messages.iter().map(|(id, message)| (*id, message.clone())).collect()
    }
}
