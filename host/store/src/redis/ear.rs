//! Listens to what others change: a connection of its own to one node, which hears what is
//! published on any. It is made when somebody asks for hints, and made again when it is lost; what was
//! missed meanwhile nobody knows, so that is said.

use super::link;
use super::options::RedisOptions;
use crate::{Hint, Hints, StoreError};
use everstep_core::{RunId, ScheduleId};
use futures::StreamExt;
use redis::Client;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::broadcast::Sender;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// Hints that a slow listener may be behind.
const HINTS: usize = 4_096;
/// The pause before a lost connection is made again.
const PAUSE: Duration = Duration::from_millis(200);

/// Listeners to the hints of a namespace.
#[derive(Debug)]
pub(super) struct Ear {
    nodes: Vec<Client>,
    attempt: Duration,
    channel: String,
    /// Who publishes here.
    own: u64,
    hints: Sender<Hint>,
    task: OnceLock<JoinHandle<()>>,
    /// The one that the store was opened on.
    runtime: Handle,
}

impl Ear {
    pub(super) fn new(
        options: &RedisOptions,
        channel: String,
        own: u64,
    ) -> Result<Self, StoreError> {
        let (nodes, attempt) = (link::clients(options)?, options.attempt);
        let (hints, task, runtime) = (Sender::new(HINTS), OnceLock::new(), Handle::current());
        Ok(Self { nodes, attempt, channel, own, hints, task, runtime })
    }

    /// Hints from now on; the first one says when listening has begun.
    pub(super) fn listen(&self) -> Hints {
        let hints = Hints(self.hints.subscribe());
        let begin = || {
            let (nodes, channel) = (self.nodes.clone(), self.channel.clone());
            self.runtime.spawn(hear(nodes, self.attempt, channel, self.own, self.hints.clone()))
        };
        self.task.get_or_init(begin);
        hints
    }

    pub(super) fn close(&self) {
        if let Some(task) = self.task.get() {
            task.abort();
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.close();
    }
}

/// A hint as it is published: by whom, a letter, an id.
pub(super) fn pack(own: u64, hint: Hint) -> Vec<u8> {
    let (letter, id) = match &hint {
        Hint::Run(run) => (b'r', run.as_bytes().as_slice()),
        Hint::Schedule(schedule) => (b's', schedule.as_bytes().as_slice()),
        Hint::Modules => (b'm', [].as_slice()),
        Hint::Missed => (b'?', [].as_slice()),
    };
    [own.to_be_bytes().as_slice(), &[letter], id].concat()
}

/// What somebody else has published; none when it was us. What cannot be read may be anything.
fn unpack(own: u64, message: &[u8]) -> Option<Hint> {
    let Some((by, hint)) = message.split_first_chunk::<8>() else { return Some(Hint::Missed) };
    if u64::from_be_bytes(*by) == own {
        return None;
    }
    let read = match hint.split_first() {
        Some((b'r', id)) => id.try_into().ok().map(|id| Hint::Run(RunId::from_bytes(id))),
        Some((b's', id)) => id.try_into().ok().map(|id| Hint::Schedule(ScheduleId::from_bytes(id))),
        Some((b'm', [])) => Some(Hint::Modules),
        _ => None,
    };
    Some(read.unwrap_or(Hint::Missed))
}

async fn hear(
    nodes: Vec<Client>,
    attempt: Duration,
    channel: String,
    own: u64,
    hints: Sender<Hint>,
) {
    for node in nodes.iter().cycle() {
        let subscribed = timeout(attempt, async {
            let mut subscription = node.get_async_pubsub().await?;
            subscription.subscribe(&channel).await?;
            Ok::<_, redis::RedisError>(subscription)
        });
        if let Ok(Ok(subscription)) = subscribed.await {
            let _ = hints.send(Hint::Missed);
            let mut messages = subscription.into_on_message();
            while let Some(message) = messages.next().await {
                // Nobody may listen at the moment.
                let _ = unpack(own, message.get_payload_bytes()).map(|hint| hints.send(hint));
            }
            tracing::debug!("the connection for hints is lost");
        }
        sleep(PAUSE).await;
    }
}
