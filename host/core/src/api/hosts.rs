//! Hosts, as the server shows them.

use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostView {
    /// Its number, for as long as the server knows it.
    pub id: u64,
    /// Its name, for people.
    pub name: String,
    /// Where the server is that it is connected to, when that is not the one that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The pool that it serves; none for runs without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<String>,
    /// The workflows that it serves; empty for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workflows: Vec<String>,
    /// How many runs it drives at once.
    pub concurrency: u64,
    /// How many more it could take now.
    pub free: u64,
    /// How many it has.
    pub leases: u64,
    /// False when its connection broke off and it may come back.
    pub connected: bool,
    /// It takes no more work, because it is being stopped.
    pub draining: bool,
    /// Since when it is connected.
    pub connected_at: Timestamp,
    /// When it was heard last.
    pub heard_at: Timestamp,
    /// The version of the protocol that it speaks; none in the server's own process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<u32>,
    /// Where it is; none in the server's own process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Runs that it has rebuilt, from a snapshot or by a replay, since it was started.
    pub replays: u64,
}

/// Answer of `GET /v1/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostList {
    /// In the order in which they came.
    pub hosts: Vec<HostView>,
}
