//! Who should own how many shards: pure arithmetic, the same for every server that sees the same
//! members and owners. Called by `shards` at every look.
//!
//! Invariants: the shares of all members add up to all shards; a member gives up only what is above its
//! share, and takes only what nobody owns. So nothing moves while nobody comes or goes.

use std::collections::{BTreeMap, BTreeSet};

/// What a member is to do.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Moves {
    /// Shards that it owns and gives up.
    pub(super) give: BTreeSet<u16>,
    /// Shards that nobody owns, which it may claim.
    pub(super) take: Vec<u16>,
}

/// What a member is to do that owns `mine`, when these members are there (in order, itself among them)
/// and the others own `theirs`.
pub(super) fn moves(
    shards: u16,
    members: &[String],
    me: &str,
    mine: &BTreeSet<u16>,
    theirs: &BTreeMap<u16, String>,
) -> Moves {
    let Some(place) = members.iter().position(|member| member == me) else {
        return Moves::default();
    };
    let share = share(shards, members.len(), place);
    if mine.len() > share {
        let give = mine.iter().rev().take(mine.len() - share).copied().collect();
        return Moves { give, take: Vec::new() };
    }
    let is_free = |shard: &u16| !mine.contains(shard) && !theirs.contains_key(shard);
    // Members begin at different places, so that they do not all ask for the same shards.
    let begin = usize::from(shards) * place / members.len();
    let all = (0..shards).cycle().skip(begin).take(usize::from(shards));
    Moves { give: BTreeSet::new(), take: all.filter(is_free).take(share - mine.len()).collect() }
}

/// How many shards the member at this place gets: all the same, but for what is left over.
fn share(shards: u16, members: usize, place: usize) -> usize {
    let shards = usize::from(shards);
    shards / members + usize::from(place < shards % members)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rand::rngs::StdRng;
    use rand::seq::SliceRandom;
    use rand::{RngExt, SeedableRng};

    /// Servers that each look at what is there, in any order.
    struct World {
        shards: u16,
        members: Vec<String>,
        owners: BTreeMap<u16, String>,
    }

    impl World {
        fn of(&self, me: &str) -> BTreeSet<u16> {
            let mine = self.owners.iter().filter(|(_, owner)| *owner == me);
            mine.map(|(shard, _)| *shard).collect()
        }

        /// One look of one member. Returns how many shards changed hands.
        fn look(&mut self, me: &str) -> usize {
            let mine = self.of(me);
            let mut theirs = self.owners.clone();
            theirs.retain(|_, owner| owner != me);
            let Moves { give, take } = moves(self.shards, &self.members, me, &mine, &theirs);
            give.iter().for_each(|shard| drop(self.owners.remove(shard)));
            for shard in &take {
                assert!(self.owners.insert(*shard, me.to_owned()).is_none(), "it was taken");
            }
            give.len() + take.len()
        }
    }

    #[test]
    fn shards_are_shared_evenly_and_then_stay_where_they_are() {
        for seed in 0..300 {
            let mut chance = StdRng::seed_from_u64(seed);
            let shards = chance.random_range(1..=64);
            let mut world = World { shards, members: Vec::new(), owners: BTreeMap::new() };
            for _ in 0..6 {
                if !world.members.is_empty() && chance.random_bool(0.4) {
                    let gone = chance.random_range(0..world.members.len());
                    let gone = world.members.remove(gone);
                    world.owners.retain(|_, owner| *owner != gone);
                } else {
                    world.members.push(format!("{:08x}", chance.random::<u32>()));
                    world.members.sort();
                }
                let mut order = world.members.clone();
                for _ in 0..3 {
                    order.shuffle(&mut chance);
                    for member in &order {
                        world.look(member);
                    }
                }
                let moved: usize = order.iter().map(|member| world.look(member)).sum();
                assert_eq!(moved, 0, "seed {seed}: everything has its place");
                let sizes = world.members.iter().map(|member| world.of(member).len());
                let (least, most) = (sizes.clone().min(), sizes.max());
                assert!(most.unwrap_or(0) <= least.unwrap_or(0) + 1, "seed {seed}");
                if !world.members.is_empty() {
                    assert_eq!(world.owners.len(), usize::from(shards), "seed {seed}: all owned");
                }
            }
        }
    }

    #[test]
    fn what_is_owned_is_not_taken() {
        let members: Vec<_> = ["a", "b"].map(str::to_owned).into();
        let theirs = (0..4).map(|shard| (shard, "b".to_owned())).collect();
        assert_eq!(moves(4, &members, "a", &BTreeSet::new(), &theirs), Moves::default());
        let mine = (0..4).collect();
        let give = [2, 3].into();
        assert_eq!(
            moves(4, &members, "b", &mine, &BTreeMap::new()),
            Moves { give, take: Vec::new() }
        );
        assert_eq!(moves(4, &members, "c", &BTreeSet::new(), &BTreeMap::new()), Moves::default());
    }
}
