//! The servers on a store that only one process can have open. There is one shard. Nothing outlives
//! the process, so nothing is written down.

use crate::ownership::{check_member, check_shard};
use crate::{Hint, Hints, Member, Owner, Ownership, StoreError};
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::broadcast::Sender;

/// Members and the one owner of a store.
#[derive(Debug)]
pub(crate) struct Alone {
    /// The epoch of the store, which is that of every claim: owners within one process share the
    /// dispatcher that counts their tokens.
    epoch: u64,
    state: Mutex<State>,
    /// Says nothing: there are no others. Those who listen wait for as long as the store is there.
    hints: Sender<Hint>,
}

#[derive(Debug, Default)]
struct State {
    members: BTreeMap<String, (String, Instant)>,
    owner: Option<(String, Instant)>,
}

impl State {
    fn owner(&self) -> Option<&str> {
        let (owner, until) = self.owner.as_ref()?;
        (Instant::now() < *until).then_some(owner)
    }

    fn is(&self, owner: &Owner) -> bool {
        let there = self.owner.as_ref();
        owner.shard == 0 && there.is_some_and(|(member, _)| *member == owner.member)
    }
}

impl Alone {
    pub(crate) fn new(epoch: u64) -> Self {
        Self { epoch, state: Mutex::default(), hints: Sender::new(1) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Ownership for Alone {
    fn is_shared(&self) -> bool {
        false
    }

    async fn join(&self, member: &Member, ttl: Duration) -> Result<(), StoreError> {
        check_member(member)?;
        let until = Instant::now() + ttl;
        self.state().members.insert(member.id.clone(), (member.url.clone(), until));
        Ok(())
    }

    async fn leave(&self, id: &str) -> Result<(), StoreError> {
        self.state().members.remove(id);
        Ok(())
    }

    async fn members(&self) -> Result<Vec<Member>, StoreError> {
        let mut state = self.state();
        state.members.retain(|_, (_, until)| Instant::now() < *until);
        let members = state.members.iter();
        Ok(members.map(|(id, (url, _))| Member { id: id.clone(), url: url.clone() }).collect())
    }

    async fn claim(
        &self,
        shard: u16,
        member: &str,
        ttl: Duration,
    ) -> Result<Option<u64>, StoreError> {
        check_shard(shard, 1)?;
        let mut state = self.state();
        if state.owner().is_some_and(|owner| owner != member) {
            return Ok(None);
        }
        state.owner = Some((member.to_owned(), Instant::now() + ttl));
        Ok(Some(self.epoch))
    }

    async fn renew(&self, owner: &Owner, ttl: Duration) -> Result<bool, StoreError> {
        let mut state = self.state();
        let is_there = state.is(owner);
        if is_there {
            state.owner = Some((owner.member.clone(), Instant::now() + ttl));
        }
        Ok(is_there)
    }

    async fn release(&self, owner: &Owner) -> Result<bool, StoreError> {
        let mut state = self.state();
        Ok(state.is(owner) && state.owner.take().is_some())
    }

    async fn owners(&self) -> Result<Vec<Owner>, StoreError> {
        let state = self.state();
        let owner = |member: &str| Owner { shard: 0, member: member.into(), epoch: self.epoch };
        Ok(state.owner().map(owner).into_iter().collect())
    }

    fn hints(&self) -> Hints {
        Hints(self.hints.subscribe())
    }

    async fn publish_hint(&self, _hint: Hint) -> Result<(), StoreError> {
        Ok(())
    }
}
