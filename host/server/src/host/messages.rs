//! Bringing a run's messages to other runs. The messages of one operation go one after the other
//! (a child is started before it is asked to stop), those of different operations together.

use crate::link::HostLink;
use everstep_core::{Message, MessageId, Reply, RunId};
use futures::StreamExt;

/// How many are on their way at once.
const AT_ONCE: usize = 64;

/// Sends these messages. Returns the answers, and whether any message may have been lost.
pub(super) async fn send(
    link: &dyn HostLink,
    from: RunId,
    messages: Vec<(MessageId, Message)>,
) -> (Vec<(MessageId, Reply)>, bool) {
    let mut by_operation: Vec<Vec<(MessageId, Message)>> = Vec::new();
    for (id, message) in messages {
        match by_operation.last_mut() {
            Some(group) if group[0].0.op == id.op => group.push((id, message)),
            _ => by_operation.push(vec![(id, message)]),
        }
    }
    let sent = futures::stream::iter(by_operation)
        .map(|group| send_in_order(link, from, group))
        .buffer_unordered(AT_ONCE)
        .collect::<Vec<_>>()
        .await;
    let lost = sent.iter().any(|(_, lost)| *lost);
    (sent.into_iter().flat_map(|(replies, _)| replies).collect(), lost)
}

async fn send_in_order(
    link: &dyn HostLink,
    from: RunId,
    messages: Vec<(MessageId, Message)>,
) -> (Vec<(MessageId, Reply)>, bool) {
    let mut replies = Vec::with_capacity(messages.len());
    for (id, message) in messages {
        match link.send(from, message).await {
            Ok(reply) => replies.push((id, reply)),
            Err(error) => {
                tracing::warn!(run = %from, op = %id.op, %error, "a message may be lost");
                return (replies, true);
            }
        }
    }
    (replies, false)
}
