//! The executor: one future, the author's workflow, and the operations it waits for.
//!
//! The host calls [`begin`], [`complete`] and [`request_cancel`], one completion at a time. Each
//! polls until nothing can go on without a further completion, and returns. The order of polls
//! depends on nothing but the order of completions: a completion wakes the one future that waits
//! for its operation, so the cost of a completion does not grow with what else is pending.
//!
//! No borrow of the state is held while the author's code runs (poll, drop or wake), because that
//! code registers and cancels operations.

use crate::Failure;
use crate::host::{operations, outcome, types::OpResult};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// A workflow that has begun; it ends with its encoded output.
pub(crate) type Root = Pin<Box<dyn Future<Output = Result<Vec<u8>, Failure>>>>;

#[derive(Default)]
struct Runtime {
    /// None before the start, after the end, and while it is being polled.
    root: Cell<Option<Root>>,
    woken: Arc<Woken>,
    operations: RefCell<BTreeMap<u64, Slot>>,
    cancellation: RefCell<Cancellation>,
}

enum Slot {
    Waiting(Option<Waker>),
    Completed(OpResult),
}

#[derive(Default)]
struct Cancellation {
    /// Whether the workflow has asked to be told.
    wanted: bool,
    reason: Option<String>,
    /// Who waits to be told, in the order in which they asked.
    waiting: BTreeMap<u64, Waker>,
    next_key: u64,
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

thread_local! {
    static RUNTIME: Runtime = Runtime::default();
}

/// Begins the run: polls its workflow for the first time.
pub(crate) fn begin(root: Root) {
    RUNTIME.with(|runtime| {
        runtime.root.set(Some(root));
        runtime.woken.0.store(true, Ordering::Relaxed);
        runtime.drive();
    });
}

/// Delivers the end of an operation. One that was given up is ignored.
pub(crate) fn complete(op: u64, result: OpResult) {
    RUNTIME.with(|runtime| {
        let slot = match runtime.operations.borrow_mut().get_mut(&op) {
            Some(slot) => std::mem::replace(slot, Slot::Completed(result)),
            None => return,
        };
        if let Slot::Waiting(Some(waker)) = slot {
            waker.wake();
        }
        runtime.drive();
    });
}

/// Delivers a request to stop. A workflow that has called `run.cancelled()` is told and goes on;
/// any other is dropped, which gives up all of its operations.
pub(crate) fn request_cancel(reason: String) {
    RUNTIME.with(|runtime| {
        let Some(root) = runtime.root.take() else { return };
        let mut cancellation = runtime.cancellation.borrow_mut();
        if cancellation.wanted {
            runtime.root.set(Some(root));
            cancellation.reason = Some(reason);
            let waiting = std::mem::take(&mut cancellation.waiting);
            drop(cancellation);
            waiting.into_values().for_each(Waker::wake);
            runtime.drive();
        } else {
            drop(cancellation);
            drop(root);
            outcome::cancelled();
        }
    });
}

impl Runtime {
    /// Polls the workflow as long as somebody woke it, and reports its end.
    fn drive(&self) {
        let waker = Waker::from(Arc::clone(&self.woken));
        while self.woken.0.swap(false, Ordering::Relaxed) {
            let Some(mut root) = self.root.take() else { return };
            match root.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Pending => self.root.set(Some(root)),
                Poll::Ready(end) => {
                    // Dropped first: what the future still holds is given up before the end.
                    drop(root);
                    return self.report(end);
                }
            }
        }
    }

    fn report(&self, end: Result<Vec<u8>, Failure>) {
        let asked_to_stop = self.cancellation.borrow().reason.is_some();
        match end {
            Ok(output) => outcome::complete(&output),
            Err(failure) if asked_to_stop && failure.is_cancelled() => outcome::cancelled(),
            Err(failure) => match failure.into_continued() {
                Ok(input) => outcome::continue_as_new(input.to_string().as_bytes()),
                Err(failure) => outcome::fail(&failure.into()),
            },
        }
    }
}

/// A registered operation. Ready with its result; dropped before that, it is given up.
#[derive(Debug)]
pub(crate) struct Operation {
    id: u64,
    ended: bool,
}

impl Operation {
    /// Takes charge of the operation that the host has just registered under this id.
    pub(crate) fn new(id: u64) -> Self {
        RUNTIME.with(|runtime| runtime.operations.borrow_mut().insert(id, Slot::Waiting(None)));
        Self { id, ended: false }
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended
    }
}

impl Future for Operation {
    type Output = OpResult;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<OpResult> {
        let id = self.id;
        let slot = RUNTIME.with(|runtime| {
            let mut operations = runtime.operations.borrow_mut();
            match operations.get_mut(&id) {
                Some(Slot::Waiting(waker)) => {
                    match waker {
                        Some(waker) => waker.clone_from(cx.waker()),
                        None => *waker = Some(cx.waker().clone()),
                    }
                    None
                }
                _ => operations.remove(&id),
            }
        });
        match slot {
            Some(Slot::Completed(result)) => {
                self.ended = true;
                Poll::Ready(result)
            }
            _ => Poll::Pending,
        }
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        // When a native test's thread ends, the state may be gone before the future is.
        let slot = RUNTIME.try_with(|runtime| runtime.operations.borrow_mut().remove(&self.id));
        if let Ok(Some(Slot::Waiting(_))) = slot {
            operations::cancel(self.id);
        }
    }
}

/// Resolves with the reason when somebody wants the run to stop; see
/// [`Run::cancelled`](crate::Run::cancelled).
#[derive(Debug)]
#[must_use = "await it, for example in `select!`"]
pub struct Cancelled {
    key: u64,
    ended: bool,
}

impl Cancelled {
    pub(crate) fn new() -> Self {
        RUNTIME.with(|runtime| {
            let mut cancellation = runtime.cancellation.borrow_mut();
            cancellation.wanted = true;
            cancellation.next_key += 1;
            Self { key: cancellation.next_key, ended: false }
        })
    }
}

impl Future for Cancelled {
    type Output = String;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<String> {
        let key = self.key;
        let reason = RUNTIME.with(|runtime| {
            let mut cancellation = runtime.cancellation.borrow_mut();
            if cancellation.reason.is_none() {
                cancellation.waiting.insert(key, cx.waker().clone());
            }
            cancellation.reason.clone()
        });
        reason.map_or(Poll::Pending, |reason| {
            self.ended = true;
            Poll::Ready(reason)
        })
    }
}

impl futures::future::FusedFuture for Cancelled {
    fn is_terminated(&self) -> bool {
        self.ended
    }
}

impl Drop for Cancelled {
    fn drop(&mut self) {
        let _ =
            RUNTIME.try_with(|runtime| runtime.cancellation.borrow_mut().waiting.remove(&self.key));
    }
}

#[cfg(test)]
mod tests;
