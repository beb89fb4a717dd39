//! The futures that a workflow awaits: a started task and a sleep. Both are registered with the
//! host when they are made, not when they are first polled, and both are given up when they are
//! dropped before their end. They work in `select!`, `join!` and every other combinator.

use crate::host::types::OpResult;
use crate::payload::decode;
use crate::runtime::Operation;
use crate::{Failure, Payload, TaskResult, failure};
use futures::future::FusedFuture;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

/// A task that has been started. Awaiting it gives its output, or the failure that no retry
/// overcame. Dropping it before that stops the task.
#[must_use = "dropping a started task cancels it; await it, or join it with others"]
pub struct TaskHandle<T> {
    state: State,
    output: PhantomData<fn() -> T>,
}

enum State {
    Started(Operation),
    /// The input could not be encoded, so nothing was started.
    Refused(Option<Failure>),
}

impl<T> TaskHandle<T> {
    pub(crate) fn started(op: u64) -> Self {
        Self { state: State::Started(Operation::new(op)), output: PhantomData }
    }

    pub(crate) fn refused(failure: Failure) -> Self {
        Self { state: State::Refused(Some(failure)), output: PhantomData }
    }
}

impl<T: Payload> Future for TaskHandle<T> {
    type Output = TaskResult<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = match &mut self.state {
            State::Started(operation) => ready!(Pin::new(operation).poll(cx)),
            State::Refused(failure) => {
                return failure.take().map_or(Poll::Pending, |failure| Poll::Ready(Err(failure)));
            }
        };
        Poll::Ready(match result {
            OpResult::Value(json) => decode(&json, "task.output", "the output of the task"),
            OpResult::Failed(failure) => Err(failure::received(failure)),
            OpResult::TimedOut => Err(Failure::new("task.timeout", "the task took too long")),
            OpResult::Cancelled => {
                Err(Failure::new("task.cancelled", "the task was cancelled").not_retryable())
            }
            OpResult::Fired => {
                Err(Failure::new("task.output", "the host answered a task as if it were a timer"))
            }
        })
    }
}

impl<T: Payload> FusedFuture for TaskHandle<T> {
    fn is_terminated(&self) -> bool {
        match &self.state {
            State::Started(operation) => operation.has_ended(),
            State::Refused(failure) => failure.is_none(),
        }
    }
}

impl<T> fmt::Debug for TaskHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            State::Started(operation) => f.debug_tuple("TaskHandle").field(operation).finish(),
            State::Refused(failure) => f.debug_tuple("TaskHandle").field(failure).finish(),
        }
    }
}

/// A durable sleep; made by [`Run::sleep`](crate::Run::sleep) and its siblings. It also ends when
/// an operator wakes the run or cancels the timer.
#[derive(Debug)]
#[must_use = "a sleep that is not awaited is cancelled at once; add `.await`"]
pub struct Sleep(Operation);

impl Sleep {
    pub(crate) fn started(op: u64) -> Self {
        Self(Operation::new(op))
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match ready!(Pin::new(&mut self.0).poll(cx)) {
            OpResult::Fired | OpResult::TimedOut | OpResult::Cancelled => Poll::Ready(()),
            // Going on would end the sleep before its time, which nobody may do.
            other => panic!("the host answered a timer with {other:?}"),
        }
    }
}

impl FusedFuture for Sleep {
    fn is_terminated(&self) -> bool {
        self.0.has_ended()
    }
}
