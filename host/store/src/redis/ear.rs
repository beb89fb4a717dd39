//! Listens to what is committed, by anybody: a connection of its own to one node, which hears what is
//! published on any. It is made when somebody asks for hints, and made again when it is lost; what was
//! missed meanwhile nobody knows, so that is said.

use super::link;
use super::options::RedisOptions;
use crate::alone::HINTS;
use crate::{Hint, Hints, StoreError};
use everstep_core::RunId;
use futures::StreamExt;
use redis::Client;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::broadcast::Sender;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The pause before a lost connection is made again.
const PAUSE: Duration = Duration::from_millis(200);

/// Listeners to the hints of a namespace.
#[derive(Debug)]
pub(super) struct Ear {
    nodes: Vec<Client>,
    attempt: Duration,
    channel: String,
    hints: Sender<Hint>,
    task: OnceLock<JoinHandle<()>>,
    /// The one that the store was opened on.
    runtime: Handle,
}

impl Ear {
    pub(super) fn new(options: &RedisOptions, channel: String) -> Result<Self, StoreError> {
        let (nodes, attempt) = (link::clients(options)?, options.attempt);
        let (hints, task, runtime) = (Sender::new(HINTS), OnceLock::new(), Handle::current());
        Ok(Self { nodes, attempt, channel, hints, task, runtime })
    }

    /// Hints from now on; the first one says when listening has begun.
    pub(super) fn listen(&self) -> Hints {
        let hints = Hints(self.hints.subscribe());
        let begin = || {
            let (nodes, channel) = (self.nodes.clone(), self.channel.clone());
            self.runtime.spawn(hear(nodes, self.attempt, channel, self.hints.clone()))
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

async fn hear(nodes: Vec<Client>, attempt: Duration, channel: String, hints: Sender<Hint>) {
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
                let run = message.get_payload_bytes().try_into().map(RunId::from_bytes);
                // Nobody may listen at the moment. What is no run is not ours.
                let _ = run.map(|run| hints.send(Hint::Run(run)));
            }
            tracing::debug!("the connection for hints is lost");
        }
        sleep(PAUSE).await;
    }
}
