//! Work that is finished also when nobody waits for it any more. A commit of a host is: were it dropped
//! half-way, it could become durable without anybody hearing of it, after the run has gone elsewhere.

use futures::FutureExt;
use futures::future::BoxFuture;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::runtime::Handle;

/// A future that goes on by itself when it is dropped.
pub(crate) struct Finishing<T: Send + 'static>(Option<BoxFuture<'static, T>>);

impl<T: Send + 'static> Finishing<T> {
    pub(crate) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(Some(work.boxed()))
    }
}

impl<T: Send + 'static> Future for Finishing<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let Some(work) = &mut self.0 else { return Poll::Pending };
        let polled = work.as_mut().poll(context);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Finishing<T> {
    fn drop(&mut self) {
        let Some(work) = self.0.take() else { return };
        // Where there is no runtime the process is at its end.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(work.map(drop));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use tokio::sync::Notify;

    #[tokio::test]
    async fn what_nobody_waits_for_is_finished() {
        let (go, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (begun, told) = (Arc::clone(&go), Arc::clone(&done));
        let mut work = Finishing::new(async move {
            begun.notified().await;
            told.notify_one();
        });
        assert!((&mut work).now_or_never().is_none());
        drop(work);
        go.notify_one();
        done.notified().await;
    }
}
