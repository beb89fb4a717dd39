//! The claim of a server on a store that several servers can have open: one works on it, the others stand
//! by and take over when its claim runs out. Called by the server when it starts, and until it ends.
//!
//! Invariant: whoever works owns every shard. Its tokens begin with the largest epoch of its claims, so what
//! the server before it still sends is refused as soon as a run is leased anew; and it has stopped by
//! then, because it does so before a claim that it cannot renew has run out.

use everstep_store::{Member, Owner, Ownership, Redis, StoreError};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a claim lasts, unless it is renewed.
const TTL: Duration = Duration::from_secs(15);
/// How often it is renewed, or looked whether there is one to be had. Who cannot renew for two of these
/// stops with one to spare.
const EVERY: Duration = Duration::from_secs(5);

/// All shards of a store.
pub(crate) struct Claims {
    store: Arc<Redis>,
    member: Member,
    owners: Vec<Owner>,
    /// When they were certainly there.
    sure: Instant,
}

impl Claims {
    /// Waits until nobody else works on the store.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn wait(
        store: Arc<Redis>,
        shards: u16,
        url: String,
    ) -> Result<Self, StoreError> {
        let member = Member { id: format!("{:032x}", rand::random::<u128>()), url };
        let mut told = false;
        loop {
            store.join(&member, TTL).await?;
            let sure = Instant::now();
            if let Some(owners) = claim_all(&store, shards, &member).await? {
                return Ok(Self { store, member, owners, sure });
            }
            if !told {
                told = true;
                let url = working(&store).await?;
                tracing::info!(url, "another server works on the store; standing by");
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    /// What tokens begin with.
    pub(crate) fn epoch(&self) -> u64 {
        self.owners.iter().map(|owner| owner.epoch).max().unwrap_or_default()
    }

    /// Renews the claims for as long as that works. Whoever returns from here has to stop at once.
    pub(crate) async fn keep(&mut self) {
        loop {
            tokio::time::sleep(EVERY).await;
            let begun = Instant::now();
            let until = self.sure + (TTL - EVERY);
            match tokio::time::timeout_at(until, self.renew()).await {
                Ok(Ok(true)) => self.sure = begun,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => tracing::warn!(%error, "the claim on the store is not renewed"),
                Err(_) => return,
            }
        }
    }

    async fn renew(&self) -> Result<bool, StoreError> {
        self.store.join(&self.member, TTL).await?;
        let renewed = self.owners.iter().map(|owner| self.store.renew(owner, TTL));
        let renewed = futures::future::try_join_all(renewed).await?;
        Ok(renewed.into_iter().all(|renewed| renewed))
    }

    /// Lets the next server in at once.
    pub(crate) async fn release(&self) {
        // The first shard is the one that others look at, so it is free when all are.
        for owner in self.owners.iter().rev() {
            if let Err(error) = self.store.release(owner).await {
                tracing::warn!(%error, "a claim on the store could not be given up; it runs out");
                return;
            }
        }
        // What is left behind runs out as well.
        let _ = self.store.leave(&self.member.id).await;
    }
}

/// Claims every shard; whoever has the first one has the right to the others, which may take until the
/// claims of the server before have run out.
async fn claim_all(
    store: &Redis,
    shards: u16,
    member: &Member,
) -> Result<Option<Vec<Owner>>, StoreError> {
    let mut owners = Vec::new();
    for shard in 0..shards {
        let Some(epoch) = store.claim(shard, &member.id, TTL).await? else {
            for owner in &owners {
                store.release(owner).await?;
            }
            return Ok(None);
        };
        owners.push(Owner { shard, member: member.id.clone(), epoch });
    }
    Ok(Some(owners))
}

/// Where the server is that works on the store.
async fn working(store: &Redis) -> Result<String, StoreError> {
    let owner = store.owners().await?.into_iter().next();
    let members = store.members().await?;
    let member = members.into_iter().find(|it| owner.as_ref().is_some_and(|o| o.member == it.id));
    Ok(member.map(|member| member.url).unwrap_or_default())
}
