//! Which shards of the store this server owns, and who owns the others. Changed by `shards` through the
//! dispatcher; read with every commit.

use everstep_core::{RunId, Token};
use everstep_store::Shards;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

/// Tokens of a claim are this much larger than those of the claim before.
const TOKENS_PER_EPOCH: u32 = 40;
/// Whoever owns this shard does what is to be done once on a store: schedules, retention.
const FIRST: u16 = 0;

/// See the module.
pub(super) struct Owned {
    shard_of: Box<dyn Fn(RunId) -> u16 + Send + Sync>,
    /// Of shards that are ours, with the epochs of the claims.
    epochs: RwLock<BTreeMap<u16, u64>>,
    /// Where the servers are that own the others.
    elsewhere: RwLock<BTreeMap<u16, Arc<str>>>,
}

impl Owned {
    pub(super) fn new(shard_of: impl Fn(RunId) -> u16 + Send + Sync + 'static) -> Self {
        Self {
            shard_of: Box::new(shard_of),
            epochs: RwLock::default(),
            elsewhere: RwLock::default(),
        }
    }

    pub(super) fn owns(&self, run: RunId) -> bool {
        self.read().contains_key(&(self.shard_of)(run))
    }

    pub(super) fn leads(&self) -> bool {
        self.read().contains_key(&FIRST)
    }

    pub(super) fn shards(&self) -> Shards {
        self.read().keys().copied().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.read().len()
    }

    /// The n-th token of this server, for a run of a shard that it owns.
    pub(super) fn token(&self, run: RunId, n: u64) -> Token {
        let epoch = self.read().get(&(self.shard_of)(run)).copied().unwrap_or_default();
        Token((epoch << TOKENS_PER_EPOCH) + n)
    }

    pub(super) fn gain(&self, shard: u16, epoch: u64) {
        self.epochs.write().unwrap_or_else(PoisonError::into_inner).insert(shard, epoch);
    }

    pub(super) fn lose(&self, shards: &BTreeSet<u16>) {
        let mut epochs = self.epochs.write().unwrap_or_else(PoisonError::into_inner);
        epochs.retain(|shard, _| !shards.contains(shard));
    }

    pub(super) fn know_elsewhere(&self, owners: BTreeMap<u16, Arc<str>>) {
        *self.elsewhere.write().unwrap_or_else(PoisonError::into_inner) = owners;
    }

    /// Where the server is that owns a run, when that is another one.
    pub(super) fn elsewhere(&self, run: RunId) -> Option<Arc<str>> {
        if self.owns(run) {
            return None;
        }
        let elsewhere = self.elsewhere.read().unwrap_or_else(PoisonError::into_inner);
        elsewhere.get(&(self.shard_of)(run)).cloned()
    }

    pub(super) fn other_servers(&self) -> BTreeSet<Arc<str>> {
        let elsewhere = self.elsewhere.read().unwrap_or_else(PoisonError::into_inner);
        elsewhere.values().cloned().collect()
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, BTreeMap<u16, u64>> {
        self.epochs.read().unwrap_or_else(PoisonError::into_inner)
    }
}
