//! The hosts that have joined: what each serves, how much it has, how it is heard.

use super::queue::Lane;
use crate::clock;
use crate::link::{News, Report, Work};
use everstep_core::api::HostView;
use everstep_core::{Record, RunId, Timestamp};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Names a host for as long as the server knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostId(pub u64);

/// One connection of a host. Only the newest one counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// The host.
    pub host: HostId,
    /// Tells this connection from earlier ones.
    pub session: u64,
}

/// How a host introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Introduction {
    /// Names the process among all hosts: who comes again with it is the same.
    pub identity: String,
    /// For people.
    pub name: String,
    /// How many runs it drives at once.
    pub concurrency: usize,
    /// It serves only runs of this pool; none for runs without one.
    pub pool: Option<String>,
    /// It serves only these workflows; empty for all.
    pub workflows: Vec<String>,
    /// The version of the protocol that it speaks; none in the server's own process.
    pub protocol: Option<u32>,
    /// Where it is.
    pub address: Option<String>,
    /// What it has said of itself so far.
    pub report: Report,
}

/// What becomes of a host that joined.
#[derive(Debug)]
pub struct Joined {
    /// Where it is from now on.
    pub seat: Seat,
    /// The runs that it believes to have, and has not.
    pub lost: Vec<RunId>,
    /// When it was heard last, in milliseconds since 1970.
    pub heard: Arc<AtomicU64>,
    /// Rings when the host has joined again elsewhere: this connection is of no use any more.
    pub superseded: Arc<Notify>,
}

/// A host, as the dispatcher knows it.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) introduction: Introduction,
    pub(super) session: u64,
    pub(super) connected_at: Timestamp,
    pub(super) heard: Arc<AtomicU64>,
    pub(super) superseded: Arc<Notify>,
    /// Since when it is not connected.
    pub(super) gone: Option<Instant>,
    /// It takes no more work.
    pub(super) stopping: bool,
    /// It waits for work at this moment.
    pub(super) waiting: bool,
    pub(super) leases: usize,
    /// When it got work last, in the order of all work.
    pub(super) served: u64,
    /// Leased to it, on the way.
    pub(super) inbox: VecDeque<Work<Option<Record>>>,
    pub(super) news: VecDeque<News>,
    pub(super) report: Report,
    pub(super) work_bell: Arc<Notify>,
    pub(super) news_bell: Arc<Notify>,
}

impl Host {
    pub(super) fn new(introduction: Introduction) -> Self {
        let now = clock::now();
        Self {
            report: introduction.report,
            introduction,
            session: 0,
            connected_at: now,
            heard: Arc::new(AtomicU64::new(now.as_millis())),
            superseded: Arc::default(),
            gone: None,
            stopping: false,
            waiting: false,
            leases: 0,
            served: 0,
            inbox: VecDeque::new(),
            news: VecDeque::new(),
            work_bell: Arc::default(),
            news_bell: Arc::default(),
        }
    }

    /// Whether it takes work at all.
    pub(super) fn is_active(&self) -> bool {
        self.gone.is_none() && !self.stopping
    }

    /// Whether it has as many runs as it drives at once.
    pub(super) fn is_full(&self) -> bool {
        self.leases >= self.introduction.concurrency.max(1)
    }

    /// Whether it may have the runs of a lane. Of one whose lane is not known yet, that is found
    /// out when it gets it.
    pub(super) fn serves(&self, lane: Option<&Lane>) -> bool {
        let Some(lane) = lane else { return true };
        let Introduction { pool, workflows, .. } = &self.introduction;
        let is_named = || workflows.iter().any(|name| **name == *lane.workflow);
        lane.pool.as_deref() == pool.as_deref() && (workflows.is_empty() || is_named())
    }

    /// How full it is, in thousandths, and when it got something last: less is better.
    pub(super) fn fullness(&self) -> (usize, u64) {
        (self.leases * 1_000 / self.introduction.concurrency.max(1), self.served)
    }

    pub(super) fn view(&self, id: HostId) -> HostView {
        let Introduction { name, concurrency, pool, workflows, protocol, address, .. } =
            self.introduction.clone();
        HostView {
            server: None,
            id: id.0,
            name,
            pool,
            workflows,
            concurrency: concurrency as u64,
            free: concurrency.saturating_sub(self.leases) as u64,
            leases: self.leases as u64,
            connected: self.gone.is_none(),
            draining: self.stopping,
            connected_at: self.connected_at,
            heard_at: Timestamp::from_millis(self.heard.load(Ordering::Relaxed)),
            protocol,
            address,
            replays: self.report.replays,
        }
    }
}

/// The longest name of a pool or a host, in bytes.
const LONGEST_NAME: usize = 128;

/// Checks the name of a pool.
///
/// # Errors
/// What is wrong with it.
pub fn check_pool(pool: &str) -> Result<(), String> {
    check_name(pool, "a pool")
}

/// Checks the name of a pool or a host.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_name(name: &str, what: &str) -> Result<(), String> {
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && c != ',';
    if name.is_empty() || name.len() > LONGEST_NAME || !name.chars().all(is_plain) {
        return Err(format!(
            "the name of {what} has 1 to {LONGEST_NAME} bytes, without spaces and commas"
        ));
    }
    Ok(())
}
