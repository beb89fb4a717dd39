//! What several servers on one store need to share its runs: who is there, who owns which shard, and
//! word of what the others commit.
//!
//! Whoever owns a shard advances its runs, until its claim runs out. Time is judged by the store alone,
//! so clocks of servers may differ. A claim that ran out unnoticed does no harm for long: it came with
//! an *epoch*, tokens of leases begin with that, and the next owner's is larger.

use crate::StoreError;
use async_trait::async_trait;
use everstep_core::{RunId, ScheduleId};
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};

/// The most bytes of a member's id, or of its address.
pub const MAX_MEMBER: usize = 256;

/// A server that works on a store.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// A name that no other server has, and that this one has anew each time it starts.
    pub id: String,
    /// Where the others reach it.
    pub url: String,
}

/// Who owns a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Which shard.
    pub shard: u16,
    /// The id of the member.
    pub member: String,
    /// The epoch of its claim; its tokens begin with it.
    pub epoch: u64,
}

/// What a store knows of the servers on it.
#[async_trait]
pub trait Ownership: Send + Sync {
    /// Whether several servers can have the store open at a time. When not, the rest of this trait
    /// works as well, for the one that there is.
    fn is_shared(&self) -> bool;

    /// Says that a server is there, for so long; again, in good time, as long as it stays.
    ///
    /// # Errors
    /// `Inconsistent` when its id or address is empty or too long; `Unavailable`.
    async fn join(&self, member: &Member, ttl: Duration) -> Result<(), StoreError>;

    /// Says that a server is not there any more. Its claims have to be released one by one.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn leave(&self, id: &str) -> Result<(), StoreError>;

    /// The servers that are there, by id.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`.
    async fn members(&self) -> Result<Vec<Member>, StoreError>;

    /// Claims a shard, for so long. Returns the epoch, which on a shared store is larger than that of
    /// any claim before; none when somebody else owns the shard.
    ///
    /// # Errors
    /// `Inconsistent` when there is no such shard; `Unavailable`.
    async fn claim(
        &self,
        shard: u16,
        member: &str,
        ttl: Duration,
    ) -> Result<Option<u64>, StoreError>;

    /// Makes a claim last so long from now on. False when it is not there any more: whoever hears that
    /// stops at once.
    ///
    /// # Errors
    /// `Unavailable`: who cannot renew a claim has to stop before it runs out.
    async fn renew(&self, owner: &Owner, ttl: Duration) -> Result<bool, StoreError>;

    /// Gives a claim up, so that others need not wait. False when it was not there any more.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn release(&self, owner: &Owner) -> Result<bool, StoreError>;

    /// Who owns what, by shard.
    ///
    /// # Errors
    /// `Corrupt`, `Unavailable`.
    async fn owners(&self) -> Result<Vec<Owner>, StoreError>;

    /// Tells what is changed by others from now on. Some may be missing: the store is the truth.
    fn hints(&self) -> Hints;

    /// Tells the others to look at something. Of runs they hear with every commit.
    ///
    /// # Errors
    /// `Unavailable`.
    async fn publish_hint(&self, hint: Hint) -> Result<(), StoreError>;
}

/// Something to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// This run has changed.
    Run(RunId),
    /// This schedule has changed.
    Schedule(ScheduleId),
    /// There are other modules, or others are published.
    Modules,
    /// Some hints were lost: any run may have changed.
    Missed,
}

/// The hints since this was made.
#[derive(Debug)]
pub struct Hints(pub(crate) broadcast::Receiver<Hint>);

impl Hints {
    /// The next hint; waits for it. None when the store is gone.
    pub async fn next(&mut self) -> Option<Hint> {
        match self.0.recv().await {
            Ok(hint) => Some(hint),
            Err(RecvError::Lagged(_)) => Some(Hint::Missed),
            Err(RecvError::Closed) => None,
        }
    }
}

/// Refuses what no member is.
pub(crate) fn check_member(member: &Member) -> Result<(), StoreError> {
    let fits = |text: &str| !text.is_empty() && text.len() <= MAX_MEMBER;
    if fits(&member.id) && fits(&member.url) {
        return Ok(());
    }
    let what = format!("the id and the address of a member have 1 to {MAX_MEMBER} bytes");
    Err(StoreError::Inconsistent(what))
}

/// Refuses a shard that there is not.
pub(crate) fn check_shard(shard: u16, shards: u16) -> Result<(), StoreError> {
    if shard < shards {
        return Ok(());
    }
    Err(StoreError::Inconsistent(format!("there are {shards} shards, and no shard {shard}")))
}
