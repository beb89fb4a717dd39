//! Child runs: runs that a run starts and waits for.

use crate::event::{EventTarget, Sending};
use crate::host::children::{self, OnParentEnd as Policy};
use crate::host::types::OpResult;
use crate::payload::{decode, encode};
use crate::runtime::Operation;
use crate::time::as_millis;
use crate::{
    Failure, Payload, RetryPolicy, Run, Workflow, WorkflowDefinition, WorkflowResult, failure,
};
use futures::future::{Either, FusedFuture, select};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// What becomes of a child when its parent ends, or drops its handle, before it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnParentEnd {
    /// It is asked to stop.
    #[default]
    Cancel,
    /// It goes on alone.
    Abandon,
}

/// Options of a child's start.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ChildOptions {
    /// The version. When absent: that of the definition, or the newest when started by name.
    pub version: Option<String>,
    /// When to try the whole child again after it failed.
    pub retry: Option<RetryPolicy>,
    /// The longest it may take.
    pub timeout: Option<Duration>,
    /// How long it waits before it begins.
    pub delay: Option<Duration>,
    /// Searchable labels.
    pub tags: BTreeMap<String, String>,
    /// When its parent ends first.
    pub on_parent_end: OnParentEnd,
}

/// A workflow with options for the next child; made by [`Workflow::child`].
#[derive(Debug, Clone)]
#[must_use = "options take effect with `.start_child(&run, input)`"]
pub struct ConfiguredChild<W> {
    workflow: PhantomData<fn() -> W>,
    options: ChildOptions,
}

impl<W: Workflow> ConfiguredChild<W> {
    pub(crate) fn new(options: ChildOptions) -> Self {
        Self { workflow: PhantomData, options }
    }

    /// Starts the child; see [`Workflow::start_child`].
    pub fn start_child(
        self,
        run: &Run,
        input: <W::Definition as WorkflowDefinition>::Input,
    ) -> ChildHandle<<W::Definition as WorkflowDefinition>::Output> {
        let mut options = self.options;
        options.version.get_or_insert_with(|| W::Definition::VERSION.to_owned());
        run.start_child(W::Definition::NAME, &input, options)
    }
}

/// A child run that has been started. Awaiting it gives its output, or why there is none. Dropping
/// it before that stops the child, unless it is to be abandoned.
#[must_use = "dropping the handle of a child stops it; await it, or start it with `Abandon`"]
pub struct ChildHandle<T> {
    id: String,
    state: Result<Operation, Option<Failure>>,
    output: PhantomData<fn() -> T>,
}

impl<T: Payload> ChildHandle<T> {
    pub(crate) fn begin<I: Serialize>(workflow: &str, input: &I, options: ChildOptions) -> Self {
        let output = PhantomData;
        match encode(input, "child.input", "the input of the child") {
            Ok(input) => {
                let child = children::start(workflow, &input, &options.into());
                Self { id: child.run_id, state: Ok(Operation::new(child.op)), output }
            }
            Err(failure) => Self { id: String::new(), state: Err(Some(failure)), output },
        }
    }

    /// The id that the child has, or will have.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits for the child's end, but not longer than this; none when the time was up. The child
    /// goes on then, and can be waited for again.
    pub async fn wait_for(&mut self, run: &Run, limit: Duration) -> Option<WorkflowResult<T>> {
        match select(self, run.sleep(limit)).await {
            Either::Left((ended, _)) => Some(ended),
            Either::Right(_) => None,
        }
    }

    /// Sends an event to the child.
    pub fn send<D: Serialize>(&self, name: &str, data: &D) -> Sending {
        Sending::begin(EventTarget::Run(self.id.clone()), name, data)
    }

    /// Asks the child to stop, and does not wait for it any more.
    pub fn cancel(self) {}
}

impl<T: Payload> Future for ChildHandle<T> {
    type Output = WorkflowResult<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let operation = match &mut self.state {
            Ok(operation) => operation,
            Err(failure) => return failure.take().map_or(Poll::Pending, |it| Poll::Ready(Err(it))),
        };
        Poll::Ready(match ready!(Pin::new(operation).poll(cx)) {
            OpResult::Value(json) => decode(&json, "child.output", "the output of the child"),
            OpResult::Failed(failure) => Err(failure::received(failure)),
            OpResult::Cancelled => {
                Err(Failure::new("child.cancelled", "the child run was cancelled").not_retryable())
            }
            other @ (OpResult::Fired | OpResult::TimedOut) => {
                panic!("the host answered a child run with {other:?}")
            }
        })
    }
}

impl<T: Payload> FusedFuture for ChildHandle<T> {
    fn is_terminated(&self) -> bool {
        match &self.state {
            Ok(operation) => operation.has_ended(),
            Err(failure) => failure.is_none(),
        }
    }
}

impl<T> fmt::Debug for ChildHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ChildHandle").field(&self.id).finish()
    }
}

impl From<ChildOptions> for children::Options {
    fn from(options: ChildOptions) -> Self {
        Self {
            version: options.version,
            retry: options.retry.map(Into::into),
            timeout: options.timeout.map(as_millis),
            delay: options.delay.map(as_millis),
            tags: options.tags.into_iter().collect(),
            on_parent_end: match options.on_parent_end {
                OnParentEnd::Cancel => Policy::Cancel,
                OnParentEnd::Abandon => Policy::Abandon,
            },
        }
    }
}
