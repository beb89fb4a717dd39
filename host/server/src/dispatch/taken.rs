//! What a host has in its hands: a run that was taken for it, a commit of it that is under way. Made by the
//! dispatcher for links. Invariant: whatever is dropped is given back.

use super::Dispatch;
use super::queue::Lane;
use crate::link::HandBack;
use everstep_core::{Record, RunId, Token};
use std::sync::Arc;

/// A run that was taken for a host. Unless it is kept, it goes back.
#[derive(Debug)]
pub struct Taken {
    /// The run.
    pub run: RunId,
    /// The token of its lease.
    pub token: Token,
    /// Its record, if that is at hand.
    pub record: Option<Record>,
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) kept: bool,
}

impl Taken {
    /// The host has it from now on.
    pub fn keep(mut self) {
        self.kept = true;
    }

    /// Whether the host may have it, now that its record is known.
    #[must_use]
    pub fn is_for_its_host(&self, record: &Record) -> bool {
        let mut state = self.dispatch.state();
        let lane = Lane::of(record);
        let held = state.leases.get_mut(&self.run).filter(|held| held.token == self.token);
        let Some(held) = held else { return false };
        held.lane = Some(lane.clone());
        let host = held.host;
        state.hosts.get(&host).is_some_and(|host| host.serves(Some(&lane)))
    }

    /// Lets hosts have it that may.
    pub fn pass_on(mut self, record: Record) {
        self.kept = true;
        let mut state = self.dispatch.state();
        if state.end_lease(self.run, self.token).is_some() {
            // When there is no room, the store knows of it.
            state.offer(self.run, Some(record), false);
        }
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.kept {
            self.dispatch.hand_back(self.run, self.token, &HandBack::Now);
        }
    }
}

/// A commit of a host that is under way. As long as there is one, nobody else gets the run: what the
/// store has of it may still change under the lease that was.
#[derive(Debug)]
pub struct Committing {
    pub(super) dispatch: Arc<Dispatch>,
    pub(super) run: RunId,
}

impl Drop for Committing {
    fn drop(&mut self) {
        self.dispatch.state().end_commit(self.run);
    }
}
