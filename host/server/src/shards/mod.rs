//! The shards of a store that several servers have open: this server's part of them. Servers look at who
//! is there and who owns what, now and then and whenever somebody comes or goes; whoever has more than
//! its share gives up the rest, whoever has less takes what is free. Called by `server`.
//!
//! Invariant: what this server believes to own it owns, and for at least a lease longer, which is how long
//! hosts go on that hear nothing of it: a claim that it could not renew for half of its time is lost.
//! Should it be stopped in between (a paused process), the store refuses what is written under leases of an
//! earlier claim.

mod balance;

use crate::clock;
use crate::dispatch::{Dispatch, Timing};
use crate::timers::Timers;
use everstep_core::Timestamp;
use everstep_store::{Hint, Member, Owner, Store, StoreError};
use futures::future::try_join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The rest between two looks, however often somebody rings.
const REST: Duration = Duration::from_millis(50);
/// Timers that one look for forgotten ones brings.
const OVERDUE_PAGE: usize = 1_000;
/// A timer that has been due for so many milliseconds is overdue.
const OVERDUE_MS: u64 = 2_000;

/// See the module.
pub(crate) struct Claims {
    store: Arc<dyn Store>,
    dispatch: Arc<Dispatch>,
    timers: Arc<Timers>,
    member: Member,
    timing: Timing,
    owned: BTreeMap<u16, Owner>,
    /// When all of them were certainly there.
    sure: Instant,
    bell: Arc<Notify>,
}

impl Claims {
    /// Joins the servers on a store, and takes the shards that are free.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn join(
        store: Arc<dyn Store>,
        dispatch: Arc<Dispatch>,
        timers: Arc<Timers>,
        url: String,
        bell: Arc<Notify>,
    ) -> Result<Self, StoreError> {
        let member = Member { id: format!("{:032x}", rand::random::<u128>()), url };
        let (timing, owned, sure) = (dispatch.timing(), BTreeMap::new(), Instant::now());
        let mut claims = Self { store, dispatch, timers, member, timing, owned, sure, bell };
        claims.look().await?;
        Ok(claims)
    }

    /// Keeps this server's share, until the future is dropped. A claim that is made at that moment may be
    /// left behind, and runs out.
    pub(crate) async fn keep(&mut self) {
        loop {
            let bell = Arc::clone(&self.bell);
            tokio::select! {
                () = tokio::time::sleep(self.timing.heartbeat) => {}
                () = bell.notified() => tokio::time::sleep(REST).await,
            }
            let until = self.sure + self.timing.lease;
            match tokio::time::timeout_at(until, self.look()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(%error, "the shards cannot be looked at"),
                Err(_) => tracing::warn!("the store did not answer in time"),
            }
            // Also after a pause of this process.
            if Instant::now() >= self.sure + self.timing.lease {
                self.lose(self.owned.keys().copied().collect());
                self.sure = Instant::now();
            }
        }
    }

    /// Gives everything up, so that others can go on at once.
    pub(crate) async fn release(mut self) {
        let all = self.owned.keys().copied().collect();
        if let Err(error) = self.give(all).await {
            tracing::warn!(%error, "claims could not be given up; they run out");
        }
        // What is left behind runs out as well.
        let _ = self.store.ownership().leave(&self.member.id).await;
        self.ring().await;
    }

    /// Lets the others look at once.
    async fn ring(&self) {
        // They look anyway, only later.
        let _ = self.store.ownership().publish_hint(Hint::Missed).await;
    }

    async fn look(&mut self) -> Result<(), StoreError> {
        let store = Arc::clone(&self.store);
        let servers = store.ownership();
        let begun = Instant::now();
        servers.join(&self.member, self.timing.claim()).await?;
        let renewals = self.owned.values().map(|owner| servers.renew(owner, self.timing.claim()));
        let renewed = try_join_all(renewals).await?;
        let gone = self.owned.keys().zip(renewed).filter(|(_, renewed)| !renewed);
        self.lose(gone.map(|(shard, _)| *shard).collect());
        self.sure = begun;
        let (members, owners) = (servers.members().await?, servers.owners().await?);
        let others = owners.into_iter().filter(|owner| owner.member != self.member.id);
        let others: BTreeMap<u16, String> = others.map(|it| (it.shard, it.member)).collect();
        let ids: Vec<String> = members.iter().map(|member| member.id.clone()).collect();
        let mine: BTreeSet<u16> = self.owned.keys().copied().collect();
        let moves = balance::moves(store.shards(), &ids, &self.member.id, &mine, &others);
        let has_given = !moves.give.is_empty();
        self.give(moves.give).await?;
        let is_new = self.take(moves.take).await?;
        let urls: BTreeMap<&str, &str> =
            members.iter().map(|it| (it.id.as_str(), it.url.as_str())).collect();
        let elsewhere = others.iter().filter_map(|(shard, owner)| {
            urls.get(owner.as_str()).map(|url| (*shard, Arc::from(*url)))
        });
        self.dispatch.know_elsewhere(elsewhere.collect());
        // A newcomer that got less than its share waits for the others to look.
        if has_given || is_new || (self.owned.is_empty() && ids.len() > 1) {
            self.ring().await;
        }
        self.look_for_forgotten().await
    }

    /// Forgets shards at once, without asking anybody.
    fn lose(&mut self, shards: BTreeSet<u16>) {
        if shards.is_empty() {
            return;
        }
        self.owned.retain(|shard, _| !shards.contains(shard));
        self.dispatch.lose(&shards);
        let (lost, left) = (shards.len(), self.owned.len());
        tracing::info!(lost, left, "shards go on elsewhere");
    }

    async fn give(&mut self, shards: BTreeSet<u16>) -> Result<(), StoreError> {
        let given: Vec<Owner> =
            shards.iter().filter_map(|shard| self.owned.get(shard)).cloned().collect();
        self.lose(shards);
        let servers = self.store.ownership();
        try_join_all(given.iter().map(|owner| servers.release(owner))).await.map(drop)
    }

    /// Claims shards, and reads what there is to do in them. Says whether there were any.
    async fn take(&mut self, shards: Vec<u16>) -> Result<bool, StoreError> {
        let (store, mut taken) = (Arc::clone(&self.store), 0);
        for shard in shards {
            let claim =
                store.ownership().claim(shard, &self.member.id, self.timing.claim()).await?;
            let Some(epoch) = claim else { continue };
            let owner = Owner { shard, member: self.member.id.clone(), epoch };
            self.owned.insert(shard, owner);
            self.dispatch.gain(shard, epoch);
            taken += 1;
        }
        if taken > 0 {
            self.timers.read_again();
            self.dispatch.refill(&self.store).await?;
            let owned = self.owned.len();
            tracing::info!(taken, owned, shards = store.shards(), "this server owns more shards");
        }
        Ok(taken > 0)
    }

    /// Hints may be lost, and a server may end between a commit and its hint: what needs a host, or should
    /// have been woken long ago, is found in the store.
    async fn look_for_forgotten(&self) -> Result<(), StoreError> {
        self.dispatch.look_again();
        let shards = self.dispatch.owned();
        let until = Timestamp::from_millis(clock::now().as_millis().saturating_sub(OVERDUE_MS));
        let overdue = self.store.due(&shards, until, None, OVERDUE_PAGE).await?;
        for due in overdue {
            if !self.dispatch.is_leased(due.run) {
                self.dispatch.wake(due.run);
            }
        }
        Ok(())
    }
}
