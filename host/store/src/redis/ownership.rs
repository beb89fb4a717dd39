//! The servers on a store in Redis: who is there, and who owns which shard. Redis' own clock says when
//! something has run out. Nothing has an expiry of Redis', so no policy for full memory can take it.

use super::ear::pack;
use super::keys::Index;
use super::scripts::{CLAIM, JOIN, MEMBERS};
use super::{Redis, keyspace};
use crate::ownership::{check_member, check_shard};
use crate::{Hint, Hints, Member, Owner, Ownership, StoreError};
use async_trait::async_trait;
use futures::future::try_join_all;
use redis::cmd;
use std::time::Duration;

/// How often a claim whose epoch was not large enough draws another one.
const TRIES: usize = 5;

/// What was said to a claim: a word, the last epoch of the shard, and its member.
struct Said {
    done: bool,
    free: bool,
    epoch: u64,
    member: String,
}

impl Redis {
    /// `what` is in the words of the script.
    async fn ask_owner(
        &self,
        what: &str,
        owner: &Owner,
        ttl: Duration,
    ) -> Result<Said, StoreError> {
        let key = [self.keys.index(owner.shard, Index::Owner)];
        let (epoch, ttl) = (owner.epoch.to_string(), ttl.as_millis().to_string());
        let args = [what, &owner.member, &epoch, &ttl].map(str::as_bytes);
        let said: Vec<String> = self.link.run(&CLAIM, &key, &args).await?;
        let word = |n: usize| said.get(n).map_or("", String::as_str);
        let epoch = word(1).parse().map_err(|_| {
            StoreError::corrupt(format!("the epoch of shard {} is `{}`", owner.shard, word(1)))
        })?;
        let member = word(2).to_owned();
        Ok(Said { done: word(0) == "done", free: word(0) == "free", epoch, member })
    }
}

#[async_trait]
impl Ownership for Redis {
    fn is_shared(&self) -> bool {
        true
    }

    async fn join(&self, member: &Member, ttl: Duration) -> Result<(), StoreError> {
        let _open = self.gate().await?;
        check_member(member)?;
        let ttl = ttl.as_millis().to_string();
        let args = [&member.id, &member.url, &ttl].map(|text| text.as_bytes());
        self.link.run::<Vec<String>>(&JOIN, &[self.keys.meta("members")], &args).await.map(drop)
    }

    async fn leave(&self, id: &str) -> Result<(), StoreError> {
        let _open = self.gate().await?;
        self.link.ask(cmd("HDEL").arg(self.keys.meta("members")).arg(id)).await
    }

    async fn members(&self) -> Result<Vec<Member>, StoreError> {
        let _open = self.gate().await?;
        let keys = [self.keys.meta("members")];
        let found: Vec<(String, String)> = self.link.run(&MEMBERS, &keys, &[]).await?;
        let mut members: Vec<_> = found.into_iter().map(|(id, url)| Member { id, url }).collect();
        members.sort_unstable();
        Ok(members)
    }

    async fn claim(
        &self,
        shard: u16,
        member: &str,
        ttl: Duration,
    ) -> Result<Option<u64>, StoreError> {
        let _open = self.gate().await?;
        check_shard(shard, self.keys.shards)?;
        let mut wish = Owner { shard, member: member.to_owned(), epoch: 0 };
        // Epochs are not drawn for nothing: there are not so many.
        for _ in 0..TRIES {
            let said = self.ask_owner("claim", &wish, ttl).await?;
            if said.done {
                return Ok(Some(said.epoch));
            }
            if !said.free {
                return Ok(None);
            }
            // It did not have one yet, or a failover has forgotten the newest.
            wish.epoch = keyspace::epoch(&self.link, &self.keys, said.epoch).await?;
        }
        Err(StoreError::Unavailable(format!("shard {shard} has been claimed again and again")))
    }

    async fn renew(&self, owner: &Owner, ttl: Duration) -> Result<bool, StoreError> {
        let _open = self.gate().await?;
        Ok(self.ask_owner("renew", owner, ttl).await?.done)
    }

    async fn release(&self, owner: &Owner) -> Result<bool, StoreError> {
        let _open = self.gate().await?;
        Ok(self.ask_owner("release", owner, Duration::ZERO).await?.done)
    }

    async fn owners(&self) -> Result<Vec<Owner>, StoreError> {
        let _open = self.gate().await?;
        let shards = (0..self.keys.shards).map(async |shard| {
            let nobody = Owner { shard, member: String::new(), epoch: 0 };
            let said = self.ask_owner("look", &nobody, Duration::ZERO).await?;
            let (free, epoch, member) = (said.free, said.epoch, said.member);
            Ok::<_, StoreError>((!free).then_some(Owner { shard, member, epoch }))
        });
        Ok(try_join_all(shards).await?.into_iter().flatten().collect())
    }

    fn hints(&self) -> Hints {
        self.ear.listen()
    }

    async fn publish_hint(&self, hint: Hint) -> Result<(), StoreError> {
        let _open = self.gate().await?;
        let mut publish = cmd("PUBLISH");
        publish.arg(self.keys.hints()).arg(pack(self.mark, hint));
        self.link.ask::<u64>(&publish).await.map(drop)
    }
}
