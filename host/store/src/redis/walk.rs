//! A walk along an index through all shards at once, in the order of its members. Each shard hands out
//! a block at a time, so that a round trip is small however long the index is.

use super::Redis;
use super::keys::Index;
use crate::{Shards, StoreError};
use futures::future::try_join_all;
use redis::{Cmd, cmd};
use std::collections::VecDeque;

/// The fewest and the most members of a block.
const BLOCK: (usize, usize) = (16, 1_000);

/// Which part of an index: bounds in the words of `ZRANGEBYLEX`.
#[derive(Debug, Clone)]
pub(super) struct Span {
    pub(super) index: Index,
    pub(super) lowest: Vec<u8>,
    pub(super) highest: Vec<u8>,
    /// From the highest to the lowest.
    pub(super) backwards: bool,
}

impl Span {
    /// Members with this front, in order.
    pub(super) fn of(index: Index, front: &[u8]) -> Self {
        let highest = [b"[", front, &[0xff; 32]].concat();
        Self { index, lowest: [b"[", front].concat(), highest, backwards: false }
    }

    /// Only members behind this one.
    pub(super) fn behind(mut self, member: &[u8]) -> Self {
        let bound = [b"(", member].concat();
        *if self.backwards { &mut self.highest } else { &mut self.lowest } = bound;
        self
    }

    fn command(&self, key: &str, block: usize) -> Cmd {
        let mut range;
        if self.backwards {
            range = cmd("ZREVRANGEBYLEX");
            range.arg(key).arg(&self.highest).arg(&self.lowest);
        } else {
            range = cmd("ZRANGEBYLEX");
            range.arg(key).arg(&self.lowest).arg(&self.highest);
        }
        range.arg("LIMIT").arg(0).arg(block);
        range
    }
}

/// One shard's part of a walk.
struct Lane {
    shard: u16,
    span: Span,
    members: VecDeque<Vec<u8>>,
    /// Nothing is behind `members`.
    ends: bool,
}

/// A walk under way.
pub(super) struct Walk<'r> {
    redis: &'r Redis,
    lanes: Vec<Lane>,
    backwards: bool,
    block: usize,
}

impl<'r> Walk<'r> {
    /// `wanted` is about how many members will be asked for.
    pub(super) fn new(redis: &'r Redis, shards: &Shards, span: &Span, wanted: usize) -> Self {
        let shards: Vec<u16> = (0..redis.keys.shards).filter(|it| shards.contains(*it)).collect();
        let lane =
            |shard| Lane { shard, span: span.clone(), members: VecDeque::new(), ends: false };
        let block = (wanted.saturating_mul(2) / shards.len().max(1)).clamp(BLOCK.0, BLOCK.1);
        let lanes = shards.into_iter().map(lane).collect();
        Self { redis, lanes, backwards: span.backwards, block }
    }

    /// The next member and its shard.
    pub(super) async fn next(&mut self) -> Result<Option<(u16, Vec<u8>)>, StoreError> {
        self.fill().await?;
        let heads = self.lanes.iter().enumerate();
        let heads = heads.filter_map(|(at, lane)| Some((lane.members.front()?, at)));
        let first = if self.backwards { heads.max() } else { heads.min() };
        let Some((_, at)) = first else { return Ok(None) };
        let lane = &mut self.lanes[at];
        Ok(lane.members.pop_front().map(|member| (lane.shard, member)))
    }

    /// As many of the next members.
    pub(super) async fn take(&mut self, limit: usize) -> Result<Vec<(u16, Vec<u8>)>, StoreError> {
        let mut members = Vec::new();
        while members.len() < limit {
            let Some(member) = self.next().await? else { break };
            members.push(member);
        }
        Ok(members)
    }

    /// Brings blocks for all shards of which none is at hand.
    async fn fill(&mut self) -> Result<(), StoreError> {
        let (redis, block) = (self.redis, self.block);
        let empty = self.lanes.iter_mut().filter(|lane| lane.members.is_empty() && !lane.ends);
        let fills = empty.map(async |lane: &mut Lane| {
            let key = redis.keys.index(lane.shard, lane.span.index);
            let members: Vec<Vec<u8>> = redis.link.ask(&lane.span.command(&key, block)).await?;
            lane.ends = members.len() < block;
            if let Some(last) = members.last() {
                lane.span = lane.span.clone().behind(last);
            }
            lane.members = members.into();
            Ok::<(), StoreError>(())
        });
        try_join_all(fills).await.map(drop)
    }
}
