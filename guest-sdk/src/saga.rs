//! Undoing what was done: compensations are registered step by step and executed in reverse when the
//! work fails or its run is asked to stop.

use crate::{Failure, Run, WorkflowResult};
use futures::future::{Either, LocalBoxFuture, select};
use std::cell::RefCell;
use std::fmt;
use std::pin::pin;
use std::rc::Rc;

type Compensation = Box<dyn FnOnce() -> LocalBoxFuture<'static, WorkflowResult<()>>>;

/// The list of what is to be undone. Clones are the same list.
#[derive(Clone, Default)]
pub struct Saga(Rc<RefCell<Vec<Compensation>>>);

impl Saga {
    /// Registers how to undo what has just been done.
    pub fn undo<F>(&self, compensate: impl FnOnce() -> F + 'static)
    where
        F: Future<Output = WorkflowResult<()>> + 'static,
    {
        self.0.borrow_mut().push(Box::new(move || Box::pin(compensate())));
    }

    /// Executes all compensations, the last one first, and goes on when one fails. Returns what
    /// failed.
    async fn compensate(&self) -> Vec<Failure> {
        let mut failures = Vec::new();
        loop {
            let Some(last) = self.0.borrow_mut().pop() else { return failures };
            failures.extend(last().await.err());
        }
    }
}

impl fmt::Debug for Saga {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Saga").field(&self.0.borrow().len()).finish()
    }
}

/// Executes `work`. When it fails, or the run is asked to stop while it is under way, everything
/// that it has registered with [`Saga::undo`] is undone, the last thing first; a run that was asked
/// to stop then ends as cancelled. Compensations that fail do not keep the others from being
/// executed; they stand in the details of the failure (`saga.compensation`).
///
/// ```no_run
/// # use everstep_sdk::prelude::*;
/// # #[task] async fn book() -> TaskResult<String> { Ok(String::new()) }
/// # #[task] async fn unbook(booking: String) -> TaskResult<()> { Ok(()) }
/// # #[task] async fn charge() -> TaskResult<()> { Ok(()) }
/// # async fn example(run: Run) -> WorkflowResult<()> {
/// saga(&run, async |saga| {
///     let booking = book.start(&run, ()).await?;
///     let undo = run.clone();
///     saga.undo(move || async move { unbook.start(&undo, booking).await });
///     charge.start(&run, ()).await
/// })
/// .await
/// # }
/// ```
pub async fn saga<T>(
    run: &Run,
    work: impl AsyncFnOnce(Saga) -> WorkflowResult<T>,
) -> WorkflowResult<T> {
    let saga = Saga::default();
    let ended = {
        let work = pin!(work(saga.clone()));
        match select(work, run.cancelled()).await {
            Either::Left((ended, _)) => ended,
            Either::Right((reason, _)) => Err(Failure::cancelled(reason)),
        }
    };
    let Err(failure) = ended else { return ended };
    if failure.is_continued() {
        return Err(failure);
    }
    let failures = saga.compensate().await;
    if failures.is_empty() {
        return Err(failure);
    }
    let problems: Vec<String> = failures.iter().map(ToString::to_string).collect();
    let message = format!("{} after: {failure}", count(problems.len()));
    Err(Failure::new("saga.compensation", message).not_retryable().with_details(problems))
}

fn count(failures: usize) -> String {
    match failures {
        1 => "a compensation failed".to_owned(),
        many => format!("{many} compensations failed"),
    }
}
