//! The link across machines: a host in a process of its own reaches a server over one connection,
//! which an HTTP request (`GET /v1/hosts/connect`) turns into a stream of frames in both directions.
//!
//! `protocol` says what is said, `frame` how it is put on the wire, `link` is the host's side,
//! `serve` the server's. Invariant: a connection carries hints and requests only; what counts is in
//! the store, under the token of a lease. So a connection may break at any time.

mod address;
mod connect;
mod frame;
mod keep;
mod link;
mod pending;
pub mod protocol;
mod serve;
mod server_clock;
#[cfg(test)]
mod tests;

pub use address::ServerAddress;
pub use link::{Happening, RemoteLink, RemoteOptions};
pub(crate) use serve::{Doorway, serve};
