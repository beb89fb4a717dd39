//! Requests of a host that wait for an answer. They outlive the connection: what was not answered
//! is asked again over the next one. All of them may be: a commit that was made already is answered
//! with a conflict, a lease that has ended stays so, a message has effect once.

use super::frame::{self, Frame};
use super::protocol::{FRAME_MAX, REQUEST_BYTES_MAX, REQUESTS_MAX};
use crate::link::LinkError;
use bytes::Bytes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// The unit in which bytes are counted.
const UNIT: usize = 1 << 10;

struct Waiting {
    frame: Bytes,
    answer: oneshot::Sender<Frame>,
}

#[derive(Default)]
struct State {
    waiting: BTreeMap<u64, Waiting>,
    /// The way to the server, when there is one.
    out: Option<mpsc::UnboundedSender<Bytes>>,
}

/// See the module.
pub(super) struct Pending {
    state: Mutex<State>,
    last_id: AtomicU64,
    requests: Semaphore,
    bytes: Semaphore,
}

/// Forgets a request that nobody waits for any more.
struct Forget<'a>(&'a Pending, u64);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.state().waiting.remove(&self.1);
    }
}

impl Pending {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            last_id: AtomicU64::new(0),
            requests: Semaphore::new(REQUESTS_MAX),
            bytes: Semaphore::new(REQUEST_BYTES_MAX / UNIT),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and waits for the answer for at most as long as `patience`.
    pub(super) async fn ask(
        &self,
        kind: &str,
        question: &(impl Serialize + ?Sized),
        patience: Duration,
    ) -> Result<Frame, LinkError> {
        let closed = |_| LinkError::Unavailable("the link is closed".into());
        let _place = self.requests.acquire().await.map_err(closed)?;
        let id = self.last_id.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(frame) = frame::encode(kind, id, question) else {
            let detail =
                format!("more than {FRAME_MAX} bytes do not go to the server in one piece");
            return Err(LinkError::TooLarge(detail));
        };
        let units = u32::try_from(frame.len() / UNIT).unwrap_or(u32::MAX);
        let _bytes = self.bytes.acquire_many(units).await.map_err(closed)?;
        let (answer, answered) = oneshot::channel();
        let _forget = Forget(self, id);
        {
            let mut state = self.state();
            if let Some(out) = &state.out {
                // When it has just broken, the request goes over the next connection.
                let _ = out.send(frame.clone());
            }
            state.waiting.insert(id, Waiting { frame, answer });
        }
        match tokio::time::timeout(patience, answered).await {
            Ok(Ok(frame)) => Ok(frame),
            Ok(Err(_)) => Err(LinkError::Unavailable("the link is closed".into())),
            Err(_) => Err(LinkError::Unavailable(format!("no answer within {patience:?}"))),
        }
    }

    /// Passes an answer on to whoever waits for it.
    pub(super) fn answered(&self, frame: Frame) {
        if let Some(waiting) = self.state().waiting.remove(&frame.head.id) {
            // Nobody waits any more: fine.
            let _ = waiting.answer.send(frame);
        }
    }

    /// Says something that needs no answer, when there is a connection.
    pub(super) fn tell(&self, kind: &str, what: &impl Serialize) {
        let frame = frame::encode(kind, 0, what);
        if let (Some(out), Some(frame)) = (&self.state().out, frame) {
            let _ = out.send(frame);
        }
    }

    /// There is a connection: asks everything again that waits.
    pub(super) fn connected(&self, out: mpsc::UnboundedSender<Bytes>) {
        let mut state = self.state();
        for waiting in state.waiting.values() {
            let _ = out.send(waiting.frame.clone());
        }
        state.out = Some(out);
    }

    /// There is none.
    pub(super) fn disconnected(&self) {
        self.state().out = None;
    }

    pub(super) fn is_connected(&self) -> bool {
        self.state().out.is_some()
    }
}
