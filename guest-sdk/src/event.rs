//! Events: waiting for them, and sending them to other runs.

use crate::host::types::OpResult;
use crate::host::{self, events};
use crate::payload::{decode, encode};
use crate::runtime::Operation;
use crate::time::as_millis;
use crate::{Failure, Payload, WorkflowResult, failure};
use futures::future::FusedFuture;
use serde::Serialize;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// A wait for an event without a time limit; made by [`Run::event`](crate::Run::event). It begins
/// when it is first polled (events that come before are kept) and ends when it is dropped.
#[derive(Debug)]
#[must_use = "await it, for example in `select!`"]
pub struct EventWait<T>(Wait, PhantomData<fn() -> T>);

/// A wait for an event with a time limit; made by [`EventWait::timeout`].
#[derive(Debug)]
#[must_use = "await it, for example in `select!`"]
pub struct TimedEventWait<T>(Wait, PhantomData<fn() -> T>);

/// How a wait with a time limit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited<T> {
    /// The event came.
    Received(T),
    /// The time was up first.
    TimedOut,
}

impl<T> Awaited<T> {
    /// The event, if it came.
    pub fn received(self) -> Option<T> {
        match self {
            Self::Received(event) => Some(event),
            Self::TimedOut => None,
        }
    }
}

impl<T: Payload> EventWait<T> {
    pub(crate) fn new(name: &str) -> Self {
        Self(Wait { name: name.to_owned(), timeout: None, operation: None }, PhantomData)
    }

    /// The same wait, for so long at most (up to 100 years). An event that is there already is
    /// taken even if the time is zero.
    pub fn timeout(mut self, limit: Duration) -> TimedEventWait<T> {
        self.0.timeout = Some(as_millis(limit));
        TimedEventWait(self.0, PhantomData)
    }
}

#[derive(Debug)]
struct Wait {
    name: String,
    timeout: Option<u64>,
    operation: Option<Operation>,
}

impl Wait {
    /// None when the time was up.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Vec<u8>>> {
        let (name, timeout) = (&self.name, self.timeout);
        let operation =
            self.operation.get_or_insert_with(|| Operation::new(events::wait(name, timeout)));
        match ready!(Pin::new(operation).poll(cx)) {
            OpResult::Value(data) => Poll::Ready(Some(data)),
            OpResult::TimedOut => Poll::Ready(None),
            // Going on would be a guess.
            other => panic!("the host answered a wait for event `{}` with {other:?}", self.name),
        }
    }

    fn has_ended(&self) -> bool {
        self.operation.as_ref().is_some_and(Operation::has_ended)
    }

    /// An event that nobody can read leaves the run as it is, until its code is mended: what was
    /// received stays in the journal.
    fn read<T: Payload>(&self, data: &[u8]) -> T {
        match decode(data, "event.data", &format!("the data of event `{}`", self.name)) {
            Ok(event) => event,
            Err(failure) => panic!("{failure}"),
        }
    }
}

impl<T: Payload> Future for EventWait<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match ready!(self.0.poll_data(cx)) {
            Some(data) => Poll::Ready(self.0.read(&data)),
            None => panic!("a wait without a time limit has timed out"),
        }
    }
}

impl<T: Payload> FusedFuture for EventWait<T> {
    fn is_terminated(&self) -> bool {
        self.0.has_ended()
    }
}

impl<T: Payload> Future for TimedEventWait<T> {
    type Output = Awaited<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Awaited<T>> {
        Poll::Ready(match ready!(self.0.poll_data(cx)) {
            Some(data) => Awaited::Received(self.0.read(&data)),
            None => Awaited::TimedOut,
        })
    }
}

impl<T: Payload> FusedFuture for TimedEventWait<T> {
    fn is_terminated(&self) -> bool {
        self.0.has_ended()
    }
}

/// A run that an event goes to. A text is the run's id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventTarget {
    /// By its id.
    Run(String),
    /// By the idempotency key with which it was started.
    Key {
        /// The workflow's name.
        workflow: String,
        /// The key.
        key: String,
    },
}

impl EventTarget {
    /// The run of this workflow that was started with this key.
    pub fn key(workflow: impl Into<String>, key: impl Into<String>) -> Self {
        Self::Key { workflow: workflow.into(), key: key.into() }
    }
}

impl<T: Into<String>> From<T> for EventTarget {
    fn from(id: T) -> Self {
        Self::Run(id.into())
    }
}

/// An event on its way to another run. It is sent in any case; awaiting this says whether the run
/// has it.
#[derive(Debug)]
#[must_use = "await it to know whether the run has the event"]
pub struct Sending(Result<Operation, Option<Failure>>);

impl Sending {
    pub(crate) fn begin<T: Serialize>(to: EventTarget, name: &str, data: &T) -> Self {
        let data = match encode(data, "event.data", "the data of the event") {
            Ok(data) => data,
            Err(failure) => return Self(Err(Some(failure))),
        };
        let to = match to {
            EventTarget::Run(id) => events::Target::Run(id),
            EventTarget::Key { workflow, key } => {
                events::Target::Key(events::RunKey { workflow, key })
            }
        };
        Self(Ok(Operation::new(events::send(&to, name, &data, None))))
    }
}

impl Future for Sending {
    type Output = WorkflowResult<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let operation = match &mut self.0 {
            Ok(operation) => operation,
            Err(failure) => return failure.take().map_or(Poll::Pending, |it| Poll::Ready(Err(it))),
        };
        Poll::Ready(match ready!(Pin::new(operation).poll(cx)) {
            host::types::OpResult::Failed(failure) => Err(failure::received(failure)),
            _ => Ok(()),
        })
    }
}

impl FusedFuture for Sending {
    fn is_terminated(&self) -> bool {
        match &self.0 {
            Ok(operation) => operation.has_ended(),
            Err(failure) => failure.is_none(),
        }
    }
}
