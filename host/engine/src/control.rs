//! The line between a running task and its host: heartbeats one way, the wish to stop the other.
//! The engine has one end, whoever executes tasks the other.

use everstep_core::Payload;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// One attempt's line. Clones are the same line.
#[derive(Debug, Clone, Default)]
pub struct TaskControl(Arc<Line>);

#[derive(Debug, Default)]
struct Line {
    cancelled: AtomicBool,
    /// Whether the task looks at `cancelled`.
    listens: AtomicBool,
    last: Mutex<Option<(Instant, Payload)>>,
}

impl TaskControl {
    /// Tells the task that nobody wants its outcome any more. True when it may be listening: then
    /// it should be given time to clean up.
    #[must_use]
    pub fn cancel(&self) -> bool {
        self.0.cancelled.store(true, Ordering::SeqCst);
        self.0.listens.load(Ordering::SeqCst)
    }

    /// What the last heartbeat said.
    #[must_use]
    pub fn progress(&self) -> Option<Payload> {
        self.last().map(|(_, progress)| progress)
    }

    /// When the last heartbeat came.
    #[must_use]
    pub fn last_beat(&self) -> Option<Instant> {
        self.last().map(|(at, _)| at)
    }

    pub(crate) fn beat(&self, progress: Payload) {
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        *last = Some((Instant::now(), progress));
    }

    pub(crate) fn asked_whether_cancelled(&self) -> bool {
        self.0.listens.store(true, Ordering::SeqCst);
        self.0.cancelled.load(Ordering::SeqCst)
    }

    fn last(&self) -> Option<(Instant, Payload)> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
