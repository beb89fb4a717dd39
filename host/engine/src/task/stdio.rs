//! What a task prints, as log lines. The stream takes everything at once and is never busy; the
//! log itself is bounded.

use super::SharedLogs;
use crate::logs::Printed;
use bytes::Bytes;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// What one write may carry.
const WRITE_BYTES: usize = 64 << 10;

/// Stdout or stderr of a task.
#[derive(Clone)]
pub(super) struct Printer {
    logs: SharedLogs,
    stream: Printed,
}

impl Printer {
    pub(super) fn stdout(logs: &SharedLogs) -> Self {
        Self { logs: logs.clone(), stream: Printed::Stdout }
    }

    pub(super) fn stderr(logs: &SharedLogs) -> Self {
        Self { logs: logs.clone(), stream: Printed::Stderr }
    }

    fn print(&self, bytes: &[u8]) {
        self.logs.with(|logs| logs.print(self.stream, bytes));
    }
}

impl IsTerminal for Printer {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Printer {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
}

impl OutputStream for Printer {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.print(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES)
    }
}

#[async_trait::async_trait]
impl Pollable for Printer {
    async fn ready(&mut self) {}
}

impl AsyncWrite for Printer {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.print(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
