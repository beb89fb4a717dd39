//! Bringing a run's messages to other runs. What goes to one run goes in order (a child is started
//! before it is sent an event or asked to stop), what goes to different ones together.

use crate::link::HostLink;
use everstep_core::{Message, MessageId, Reply, RunId};
use futures::StreamExt;
use std::collections::BTreeMap;

/// How many are on their way at once.
const AT_ONCE: usize = 64;

/// Sends these messages. Returns the answers, and the messages that may have been lost.
pub(super) async fn send(
    link: &dyn HostLink,
    from: RunId,
    messages: Vec<(MessageId, Message)>,
) -> (Vec<(MessageId, Reply)>, Vec<MessageId>) {
    let mut by_receiver: BTreeMap<RunId, Vec<(MessageId, Message)>> = BTreeMap::new();
    for (id, message) in messages {
        by_receiver.entry(receiver(&message)).or_default().push((id, message));
    }
    let sent = futures::stream::iter(by_receiver.into_values())
        .map(|group| send_in_order(link, from, group))
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let mut answered = (Vec::new(), Vec::new());
    for (replies, lost) in sent {
        answered.0.extend(replies);
        answered.1.extend(lost);
    }
    answered
}

fn receiver(message: &Message) -> RunId {
    match message {
        Message::Start { child, .. } | Message::Cancel { child, .. } => *child,
        Message::Event { to, .. } => *to,
        Message::End { parent, .. } => parent.run,
    }
}

async fn send_in_order(
    link: &dyn HostLink,
    from: RunId,
    messages: Vec<(MessageId, Message)>,
) -> (Vec<(MessageId, Reply)>, Vec<MessageId>) {
    let mut replies = Vec::with_capacity(messages.len());
    let mut messages = messages.into_iter();
    while let Some((id, message)) = messages.next() {
        match link.send(from, message).await {
            Ok(reply) => replies.push((id, reply)),
            Err(error) => {
                tracing::warn!(run = %from, op = %id.op, %error, "a message may be lost");
                // What is behind it must not overtake it.
                let lost = std::iter::once(id).chain(messages.map(|(id, _)| id)).collect();
                return (replies, lost);
            }
        }
    }
    (replies, Vec::new())
}
