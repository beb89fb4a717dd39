//! The executor against a recorded host: what is registered when, what is given up when, and that
//! a completion costs the same however much is pending.

#![allow(clippy::unwrap_used)]

use super::*;
use crate::host::recorded::calls;
use crate::host::types;
use crate::prelude::*;
use futures::FutureExt;
use std::rc::Rc;

#[task]
async fn double(n: u32) -> TaskResult<u32> {
    Ok(n * 2)
}

/// Begins a workflow that returns a number.
fn begin_with<F: Future<Output = WorkflowResult<u32>> + 'static>(workflow: impl FnOnce(Run) -> F) {
    let future = workflow(Run::new());
    begin(Box::pin(async move { Ok(future.await?.to_string().into_bytes()) }));
}

fn value(op: u64, json: &str) {
    complete(op, OpResult::Value(json.into()));
}

fn fired(op: u64) {
    complete(op, OpResult::Fired);
}

#[test]
fn a_task_is_started_when_it_is_called() {
    begin_with(|run| async move {
        let first = double.start(&run, 1);
        let second = double.attempt_timeout(secs(1)).start(&run, 2);
        Ok(second.await? - first.await?)
    });
    assert_eq!(calls(), ["1 = double 1", "2 = double 2 within 1000"]);
    value(1, "2");
    assert_eq!(calls(), [""; 0]);
    value(2, "4");
    assert_eq!(calls(), ["complete 2"]);
}

#[test]
fn sleeps_are_registered_and_named() {
    begin_with(|run| async move {
        run.sleep(days(1)).await;
        run.sleep_named(" nap", millis(5)).await;
        run.sleep_until(run.now() + secs(1)).await;
        Ok(0)
    });
    fired(1);
    fired(2);
    fired(3);
    let expected = ["1 = sleep 86400000", "2 = sleep 5 nap", "3 = sleep until 2000", "complete 0"];
    assert_eq!(calls(), expected);
}

#[test]
fn the_loser_of_a_select_is_cancelled() {
    begin_with(|run| async move {
        select! {
            output = double.start(&run, 1) => output,
            () = run.sleep(secs(5)) => Err(WorkflowError::new("late", "too late")),
        }
    });
    fired(2);
    assert_eq!(calls(), ["1 = double 1", "2 = sleep 5000", "cancel 1", "fail late: too late"]);
    value(1, "2");
    assert_eq!(calls(), [""; 0], "the run has ended");
}

#[test]
fn what_has_completed_is_not_cancelled() {
    begin_with(|run| async move {
        let unread = double.start(&run, 1);
        run.sleep(secs(1)).await;
        drop(unread);
        Ok(0)
    });
    value(1, "2");
    fired(2);
    assert_eq!(calls(), ["1 = double 1", "2 = sleep 1000", "complete 0"]);
}

#[test]
fn what_is_pending_at_the_end_is_given_up_before_it() {
    begin_with(|run| async move {
        let _unread = double.start(&run, 1);
        Ok(7)
    });
    assert_eq!(calls(), ["1 = double 1", "cancel 1", "complete 7"]);
}

#[test]
fn failures_arrive_as_they_were() {
    begin_with(|run| async move {
        let (first, second) = join!(double.start(&run, 1), double.start(&run, 2));
        assert!(second.unwrap_err().is_timeout());
        first
    });
    complete(2, OpResult::TimedOut);
    let failure = types::Failure {
        code: "card.declined".into(),
        message: "no".into(),
        details: None,
        retryable: false,
    };
    complete(1, OpResult::Failed(failure));
    assert_eq!(calls(), ["1 = double 1", "2 = double 2", "fail card.declined: no"]);
}

#[test]
fn an_output_of_another_shape_is_a_failure() {
    begin_with(|run| async move { double.start(&run, 1).await });
    value(1, "\"text\"");
    let end = calls().pop().unwrap();
    assert!(end.starts_with("fail task.output: the output of the task does not have"), "{end}");
}

/// Counts how often the inner future is polled.
fn counted<F: Future>(polls: Rc<Cell<u64>>, inner: F) -> impl Future<Output = F::Output> {
    let mut inner = Box::pin(inner);
    futures::future::poll_fn(move |cx| {
        polls.set(polls.get() + 1);
        inner.poll_unpin(cx)
    })
}

#[test]
fn a_completion_wakes_only_what_waits_for_it() {
    const N: u32 = 10_000;
    let polls = Rc::new(Cell::new(0));
    let polled = Rc::clone(&polls);
    begin_with(|run| async move {
        let tasks = (0..N).map(|n| counted(Rc::clone(&polled), double.start(&run, n)));
        let outputs = join_all(tasks).await;
        outputs.into_iter().try_fold(0, |sum, output| Ok(sum + output?))
    });
    // The last one first, so that an executor that scans would pay most.
    for op in (1..=u64::from(N)).rev() {
        value(op, "1");
    }
    assert_eq!(calls().pop().unwrap(), "complete 10000");
    assert_eq!(polls.get(), 2 * u64::from(N));
}

#[test]
fn results_come_in_the_order_of_completion() {
    begin_with(|run| async move {
        let mut tasks: FuturesUnordered<_> = (0..3).map(|n| double.start(&run, n)).collect();
        let mut digits = 0;
        while let Some(output) = tasks.next().await {
            digits = digits * 10 + output?;
        }
        Ok(digits)
    });
    for op in [2, 3, 1] {
        value(op, &op.to_string());
    }
    assert_eq!(calls().pop().unwrap(), "complete 231");
}

#[test]
fn a_request_to_stop_drops_the_workflow() {
    begin_with(|run| async move {
        let (output, ()) = join!(double.start(&run, 1), run.sleep(secs(1)));
        output
    });
    request_cancel("enough".into());
    assert_eq!(calls(), ["1 = double 1", "2 = sleep 1000", "cancel 2", "cancel 1", "cancelled"]);
    fired(2);
    request_cancel("again".into());
    assert_eq!(calls(), [""; 0]);
}

/// Waits a day, and cleans up with a task when it is asked to stop; `end` decides how it ends.
fn begin_careful(end: fn(String) -> WorkflowResult<u32>) {
    begin_with(move |run| async move {
        select! {
            () = run.sleep(days(1)) => Ok(0),
            reason = run.cancelled() => {
                double.start(&run, 1).await?;
                end(reason)
            }
        }
    });
    request_cancel("enough".into());
    value(2, "2");
}

#[test]
fn a_workflow_that_wants_to_know_can_clean_up() {
    begin_careful(|reason| Err(WorkflowError::cancelled(reason)));
    let expected = ["1 = sleep 86400000", "cancel 1", "2 = double 1", "cancelled"];
    assert_eq!(calls(), expected);
}

#[test]
fn a_workflow_that_was_asked_to_stop_may_still_complete() {
    begin_careful(|_| Ok(9));
    assert_eq!(calls().pop().unwrap(), "complete 9");
}

#[test]
fn a_failed_cleanup_is_a_failure() {
    begin_careful(|_| Err(WorkflowError::new("a.b", "c")));
    assert_eq!(calls().pop().unwrap(), "fail a.b: c");
}

#[test]
fn the_request_is_remembered() {
    begin_with(|run| async move {
        let mut stop = run.cancelled();
        run.sleep(secs(1)).await;
        assert!((&mut stop).now_or_never().is_some());
        assert_eq!(run.cancelled().await, "enough");
        Ok(1)
    });
    request_cancel("enough".into());
    fired(1);
    assert_eq!(calls().pop().unwrap(), "complete 1");
}

#[test]
fn a_future_that_wakes_itself_goes_on() {
    begin_with(|_| async move {
        let mut left = 3;
        futures::future::poll_fn(|cx| {
            left -= 1;
            cx.waker().wake_by_ref();
            if left == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        Ok(5)
    });
    assert_eq!(calls(), ["complete 5"]);
}
