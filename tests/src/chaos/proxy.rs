//! A wire between two processes that can be cut, stopped up and made slow: a TCP proxy on the loopback
//! interface. The cluster has one between every two that speak to each other.
//!
//! Invariant: whatever happens to it, bytes that come through come in order and unchanged.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How a wire is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// As it should be.
    Whole,
    /// Every connection is closed, new ones are closed at once.
    Cut,
    /// Connections stand, and nothing comes through.
    Stalled,
    /// What is sent arrives so much later.
    Slow(Duration),
}

/// See the module. It ends with the value that stands for it.
#[derive(Debug)]
pub(super) struct Proxy {
    port: u16,
    wire: watch::Sender<Wire>,
    accepting: JoinHandle<()>,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.wire.send_replace(Wire::Cut);
    }
}

impl Proxy {
    /// A wire to this port.
    ///
    /// # Panics
    /// When there is no free port.
    pub(super) async fn to(target: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (wire, seen) = watch::channel(Wire::Whole);
        let accepting = tokio::spawn(async move {
            // An error of one connection is not one of the wire.
            loop {
                if let Ok((near, _)) = listener.accept().await {
                    tokio::spawn(connection(near, target, seen.clone()));
                }
            }
        });
        Self { port, wire, accepting }
    }

    /// Where it begins.
    #[must_use]
    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Makes the wire be like that.
    pub(super) fn set(&self, wire: Wire) {
        self.wire.send_replace(wire);
    }
}

async fn connection(near: TcpStream, target: u16, wire: watch::Receiver<Wire>) {
    if *wire.borrow() == Wire::Cut {
        return;
    }
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, target));
    let Ok(far) = TcpStream::connect(target).await else { return };
    // A small message must not wait for the next one.
    if near.set_nodelay(true).and(far.set_nodelay(true)).is_err() {
        return;
    }
    let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
    let through = async {
        let there = pump(near_in, far_out, wire.clone());
        let back = pump(far_in, near_out, wire.clone());
        tokio::join!(there, back)
    };
    let mut cut = wire.clone();
    tokio::select! {
        _ = through => {}
        // Dropping both ends closes them.
        _ = cut.wait_for(|wire| *wire == Wire::Cut) => {}
    }
}

/// Carries bytes until one end is closed.
async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut wire: watch::Receiver<Wire>) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let Ok(read) = from.read(&mut bytes).await else { return };
        if wire.wait_for(|wire| *wire != Wire::Stalled).await.is_err() {
            return;
        }
        let delay = match *wire.borrow() {
            Wire::Slow(delay) => delay,
            _ => Duration::ZERO,
        };
        tokio::time::sleep(delay).await;
        if read == 0 {
            // The other direction may go on.
            let _ = to.shutdown().await;
            return;
        }
        if to.write_all(&bytes[..read]).await.is_err() {
            return;
        }
    }
}
