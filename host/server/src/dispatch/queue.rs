//! Runs that wait for a host, in the order in which they came. They wait in *lanes*, one for each
//! pool and workflow, so that a host which may not have the first of them finds the first that it
//! may have. A run whose last host may still have its instance waits for that one alone, for a
//! moment, before it stands in its lane with the place that it had.
//!
//! Invariants: a run is in the queue at most once; `heads` has the first of each lane that is not
//! empty.

use crate::dispatch::HostId;
use everstep_core::{Record, RunId};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use tokio::time::Instant;

/// What decides which hosts may have a run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Lane {
    pub(super) pool: Option<Arc<str>>,
    pub(super) workflow: Arc<str>,
}

impl Lane {
    pub(super) fn of(record: &Record) -> Self {
        Self {
            pool: record.origin.options.pool.as_deref().map(Arc::from),
            workflow: record.origin.workflow.as_str().into(),
        }
    }
}

/// Those runs that share a bound on how many are queued: of a pool, of none, or of which it is not
/// known yet. A pool that nobody serves must not keep others from being queued.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Pool {
    Unknown,
    Known(Option<Arc<str>>),
}

impl Pool {
    pub(super) fn of(lane: Option<&Lane>) -> Self {
        lane.map_or(Self::Unknown, |lane| Self::Known(lane.pool.clone()))
    }
}

/// A run that waits for the host that had it last.
#[derive(Debug)]
struct AtHome {
    place: u64,
    run: RunId,
    lane: Option<Lane>,
    until: Instant,
}

/// See the module. A lane of none is that of runs of which it is not known yet.
#[derive(Debug, Default)]
pub(super) struct Queue {
    lanes: HashMap<Option<Lane>, VecDeque<(u64, RunId)>>,
    heads: BTreeMap<u64, Option<Lane>>,
    homes: HashMap<HostId, VecDeque<AtHome>>,
    queued: HashSet<RunId>,
    sizes: HashMap<Pool, usize>,
    last_place: u64,
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.queued.len()
    }

    /// How many runs of a pool are queued.
    pub(super) fn len_of(&self, pool: &Pool) -> usize {
        self.sizes.get(pool).copied().unwrap_or_default()
    }

    pub(super) fn contains(&self, run: RunId) -> bool {
        self.queued.contains(&run)
    }

    /// Puts a run at the end of its lane.
    pub(super) fn push(&mut self, run: RunId, lane: Option<Lane>) {
        if self.enter(run, lane.as_ref()) {
            self.insert(self.last_place, run, lane);
        }
    }

    /// Lets a run wait for the host that had it last.
    pub(super) fn push_home(
        &mut self,
        home: HostId,
        run: RunId,
        lane: Option<Lane>,
        until: Instant,
    ) {
        if self.enter(run, lane.as_ref()) {
            let place = self.last_place;
            self.homes.entry(home).or_default().push_back(AtHome { place, run, lane, until });
        }
    }

    /// Takes the run that has waited longest of those that a host may have.
    pub(super) fn take(
        &mut self,
        host: HostId,
        fits: impl Fn(Option<&Lane>) -> bool,
    ) -> Option<(RunId, Option<Lane>)> {
        let home = self.homes.get(&host).and_then(VecDeque::front).map(|first| first.place);
        let head = self.heads.iter().find(|(_, lane)| fits(lane.as_ref()));
        let head = head.map(|(place, lane)| (*place, lane.clone()));
        let (run, lane) = match (home, head) {
            (Some(home), Some((place, lane))) if place < home => (self.pop(place, &lane)?, lane),
            (None, Some((place, lane))) => (self.pop(place, &lane)?, lane),
            (Some(_), _) => {
                let first = self.homes.get_mut(&host)?.pop_front()?;
                (first.run, first.lane)
            }
            (None, None) => return None,
        };
        self.queued.remove(&run);
        let pool = Pool::of(lane.as_ref());
        if let Some(size) = self.sizes.get_mut(&pool) {
            *size -= 1;
            if *size == 0 {
                self.sizes.remove(&pool);
            }
        }
        Some((run, lane))
    }

    /// Forgets those that are not to be kept.
    pub(super) fn retain(&mut self, keep: impl Fn(RunId) -> bool) {
        let Self { lanes, heads, homes, queued, sizes, .. } = self;
        lanes.values_mut().for_each(|runs| runs.retain(|(_, run)| keep(*run)));
        lanes.retain(|_, runs| !runs.is_empty());
        homes.values_mut().for_each(|waiting| waiting.retain(|it| keep(it.run)));
        queued.retain(|run| keep(*run));
        let first = |runs: &VecDeque<(u64, RunId)>| runs.front().map(|(place, _)| *place);
        let first = lanes.iter().filter_map(|(lane, runs)| Some((first(runs)?, lane.clone())));
        *heads = first.collect();
        sizes.clear();
        for (lane, runs) in lanes {
            *sizes.entry(Pool::of(lane.as_ref())).or_default() += runs.len();
        }
        for waiting in homes.values().flatten() {
            *sizes.entry(Pool::of(waiting.lane.as_ref())).or_default() += 1;
        }
    }

    /// Counts a run in and gives it the last place. False when it is queued already.
    fn enter(&mut self, run: RunId, lane: Option<&Lane>) -> bool {
        let is_new = self.queued.insert(run);
        if is_new {
            *self.sizes.entry(Pool::of(lane)).or_default() += 1;
            self.last_place += 1;
        }
        is_new
    }

    /// Gives up waiting for hosts that did not come in time. Returns when the next is to be given
    /// up.
    pub(super) fn give_up(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let mut late = Vec::new();
        for waiting in self.homes.values_mut() {
            while let Some(first) = waiting.pop_front_if(|first| first.until <= now) {
                late.push(first);
            }
            let first = waiting.front().map(|first| first.until);
            next = [next, first].into_iter().flatten().min();
        }
        late.into_iter().for_each(|AtHome { place, run, lane, .. }| self.insert(place, run, lane));
        next
    }

    /// Gives up waiting for a host that has gone, or goes.
    pub(super) fn abandon(&mut self, home: HostId) {
        for AtHome { place, run, lane, .. } in self.homes.remove(&home).unwrap_or_default() {
            self.insert(place, run, lane);
        }
    }

    /// Puts a run into its lane, at its place.
    fn insert(&mut self, place: u64, run: RunId, lane: Option<Lane>) {
        let runs = self.lanes.entry(lane.clone()).or_default();
        let at = match runs.back() {
            Some((last, _)) if *last > place => runs.partition_point(|(other, _)| *other < place),
            _ => runs.len(),
        };
        if at == 0 {
            if let Some((head, _)) = runs.front() {
                self.heads.remove(head);
            }
            self.heads.insert(place, lane);
        }
        runs.insert(at, (place, run));
    }

    /// Takes the first of a lane, which has this place.
    fn pop(&mut self, place: u64, lane: &Option<Lane>) -> Option<RunId> {
        self.heads.remove(&place);
        let runs = self.lanes.get_mut(lane)?;
        let (_, run) = runs.pop_front()?;
        match runs.front() {
            Some((next, _)) => {
                self.heads.insert(*next, lane.clone());
            }
            None => {
                self.lanes.remove(lane);
            }
        }
        Some(run)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::time::Duration;

    fn run(n: u8) -> RunId {
        RunId::from_bytes([n; 16])
    }

    fn lane(pool: &str) -> Option<Lane> {
        let pool = Some(pool).filter(|pool| !pool.is_empty()).map(Arc::from);
        Some(Lane { pool, workflow: "w".into() })
    }

    fn of(pool: &'static str) -> impl Fn(Option<&Lane>) -> bool {
        move |found| found.is_none_or(|found| found.pool.as_deref().unwrap_or_default() == pool)
    }

    #[test]
    fn a_host_gets_the_oldest_that_it_may_have() {
        let mut queue = Queue::default();
        queue.push(run(1), lane("gpu"));
        queue.push(run(2), lane(""));
        queue.push(run(3), None);
        queue.push(run(4), lane("gpu"));
        queue.push(run(2), lane("gpu"));
        assert_eq!(queue.len(), 4, "a run is queued once");
        let sizes =
            [lane("gpu"), lane(""), None].map(|lane| queue.len_of(&Pool::of(lane.as_ref())));
        assert_eq!(sizes, [2, 1, 1]);
        let mut order = Vec::new();
        for pool in ["", "gpu", "gpu", "gpu", ""] {
            order.push(queue.take(HostId(1), of(pool)).map(|(run, _)| run));
        }
        assert_eq!(order, [Some(run(2)), Some(run(1)), Some(run(3)), Some(run(4)), None]);
        assert!(
            queue.len() == 0
                && queue.lanes.is_empty()
                && queue.heads.is_empty()
                && queue.sizes.is_empty()
        );
    }

    #[test]
    fn what_is_not_kept_leaves_nothing_behind() {
        let (mut queue, until) = (Queue::default(), Instant::now() + Duration::from_secs(1));
        for n in 1..=6 {
            queue.push(run(n), lane(if n % 2 == 0 { "gpu" } else { "" }));
        }
        queue.push_home(HostId(1), run(7), lane(""), until);
        queue.push_home(HostId(1), run(8), lane("gpu"), until);
        queue.retain(|it| [run(3), run(5), run(7)].contains(&it));
        assert_eq!((queue.len(), queue.len_of(&Pool::of(lane("").as_ref()))), (3, 3));
        assert!(!queue.contains(run(1)) && queue.take(HostId(2), of("gpu")).is_none());
        let left = [(); 4].map(|()| queue.take(HostId(1), of("")).map(|(run, _)| run));
        assert_eq!(left, [Some(run(3)), Some(run(5)), Some(run(7)), None]);
        queue.push(run(1), lane("gpu"));
        queue.retain(|_| false);
        assert!(queue.heads.is_empty() && queue.lanes.is_empty() && queue.sizes.is_empty());
    }

    #[test]
    fn a_run_waits_for_its_last_host_for_a_while_and_keeps_its_place() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        let until = now + Duration::from_secs(1);
        queue.push_home(HostId(1), run(1), lane(""), until);
        queue.push(run(2), lane(""));
        queue.push_home(HostId(1), run(3), lane(""), until);
        assert_eq!(queue.take(HostId(2), of("")).unwrap().0, run(2), "the others are not for it");
        assert_eq!(queue.give_up(now), Some(until));
        assert_eq!(queue.take(HostId(1), of("")).unwrap().0, run(1));
        queue.push(run(4), lane(""));
        assert_eq!(queue.give_up(until), None);
        assert_eq!(queue.take(HostId(2), of("")).unwrap().0, run(3), "it came before the other");
        assert_eq!(queue.take(HostId(2), of("")).unwrap().0, run(4));
        queue.push_home(HostId(1), run(5), lane(""), until);
        queue.abandon(HostId(1));
        assert_eq!(queue.take(HostId(2), of("")).unwrap().0, run(5));
    }
}
