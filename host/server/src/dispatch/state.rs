//! The dispatcher's memory and the rules over it, without locks and waits.
//!
//! Invariant: no host waits for work while the queue has a run that it may have. Every change keeps
//! it: a run that comes goes to a waiting host before it is queued, a host that comes looks into the
//! queue before it waits.

use super::hosts::{Host, HostId, Introduction, Joined, Seat};
use super::owned::Owned;
use super::queue::{Lane, Pool, Queue};
use super::{HOMES_MAX, QUEUE_MAX, RECORDS_MAX, STICKY};
use crate::link::{News, Work};
use everstep_core::{Record, RunId, Token};
use hashlink::LruCache;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A lease, as the server knows it.
#[derive(Debug)]
pub(super) struct Held {
    pub(super) token: Token,
    pub(super) host: HostId,
    pub(super) expires: Instant,
    /// Something happened to the run since it was leased. Who hands it back may not know of that,
    /// so the run is then queued again.
    pub(super) moved: bool,
    /// The host is about to be told.
    told: bool,
    pub(super) lane: Option<Lane>,
}

/// What a host that asks for work is told.
pub(super) enum Next {
    Work(Box<Work<Option<Record>>>),
    /// Ask again when this rings.
    Wait(Arc<Notify>),
    Over,
}

/// Commits of a run that are under way.
#[derive(Debug, Default)]
struct UnderWay {
    commits: usize,
    /// The run needs a host when they are through.
    offered: bool,
}

/// What is to be done with a run that needs a host.
enum Place {
    Host(HostId),
    Home(HostId),
    Queue,
}

/// See the module.
pub(super) struct State {
    pub(super) queue: Queue,
    pub(super) records: HashMap<RunId, Record>,
    pub(super) leases: HashMap<RunId, Held>,
    pub(super) hosts: BTreeMap<HostId, Host>,
    /// Runs of which commits of hosts are under way.
    committing: HashMap<RunId, UnderWay>,
    /// Which host went to rest with a run last.
    homes: LruCache<RunId, (HostId, Option<Lane>)>,
    /// Pools of which there was no room for more in the queue: there is more in the store.
    pub(super) overflow: HashSet<Pool>,
    pub(super) draining: bool,
    lease_time: Duration,
    owned: Arc<Owned>,
    /// Leases that there have been.
    last_lease: u64,
    last_host: u64,
    /// Rings when a run begins to wait for the host that had it last.
    pub(super) homing: Arc<Notify>,
}

impl State {
    pub(super) fn new(lease_time: Duration, owned: Arc<Owned>) -> Self {
        Self {
            queue: Queue::default(),
            records: HashMap::new(),
            leases: HashMap::new(),
            hosts: BTreeMap::new(),
            committing: HashMap::new(),
            homes: LruCache::new(HOMES_MAX),
            overflow: [Pool::Unknown].into(),
            draining: false,
            lease_time,
            owned,
            last_lease: 0,
            last_host: 0,
            homing: Arc::default(),
        }
    }

    /// Finds a host for a run that is not leased, or queues it; one that another server owns is none of
    /// our business. False when it is queued already, or
    /// when there is no room; then the store has to be asked again. One that `must` be taken in is,
    /// also when the queue is full: nobody else may know that it has work.
    pub(super) fn offer(&mut self, run: RunId, record: Option<Record>, must: bool) -> bool {
        if !self.owned.owns(run) {
            return true;
        }
        if let Some(under_way) = self.committing.get_mut(&run) {
            // Whoever got it now could read what is about to be changed.
            under_way.offered = true;
            return true;
        }
        if self.queue.contains(run) {
            return false;
        }
        let home = self.homes.peek(&run).cloned();
        let lane = match &record {
            Some(record) => Some(Lane::of(record)),
            None => home.as_ref().and_then(|(_, lane)| lane.clone()),
        };
        let place = self.place(lane.as_ref(), home.map(|(host, _)| host));
        if let Place::Host(host) = place {
            self.assign(host, run, lane, record);
            return true;
        }
        let pool = Pool::of(lane.as_ref());
        if !must && self.queue.len_of(&pool) >= QUEUE_MAX {
            self.overflow.insert(pool);
            return false;
        }
        if let Some(record) = record.filter(|_| self.records.len() < RECORDS_MAX) {
            self.records.insert(run, record);
        }
        match place {
            Place::Home(home) => {
                self.queue.push_home(home, run, lane, Instant::now() + STICKY);
                self.homing.notify_one();
            }
            _ => self.queue.push(run, lane),
        }
        true
    }

    fn place(&self, lane: Option<&Lane>, home: Option<HostId>) -> Place {
        if self.draining {
            return Place::Queue;
        }
        let fitting = |host: &&Host| host.is_active() && host.serves(lane);
        if let Some(id) = home
            && let Some(host) = self.hosts.get(&id).filter(fitting)
        {
            if host.waiting {
                return Place::Host(id);
            }
            // Waiting for it makes sense only when somebody else could come first.
            if self.hosts.values().filter(fitting).count() > 1 {
                return Place::Home(id);
            }
        }
        let waiting = self.hosts.iter().filter(|(_, host)| host.waiting && fitting(host));
        match waiting.min_by_key(|(_, host)| host.fullness()) {
            Some((id, _)) => Place::Host(*id),
            None => Place::Queue,
        }
    }

    fn assign(&mut self, id: HostId, run: RunId, lane: Option<Lane>, record: Option<Record>) {
        let token = self.lease(id, run, lane);
        if let Some(host) = self.hosts.get_mut(&id) {
            host.waiting = false;
            host.inbox.push_back(Work { run, token, record });
            host.work_bell.notify_one();
        }
    }

    fn lease(&mut self, id: HostId, run: RunId, lane: Option<Lane>) -> Token {
        self.last_lease += 1;
        let token = self.owned.token(run, self.last_lease);
        let expires = Instant::now() + self.lease_time;
        let held = Held { token, host: id, expires, moved: false, told: false, lane };
        self.leases.insert(run, held);
        if let Some(host) = self.hosts.get_mut(&id) {
            host.leases += 1;
            host.served = self.last_lease;
        }
        token
    }

    /// Ends a lease, if the token is its.
    pub(super) fn end_lease(&mut self, run: RunId, token: Token) -> Option<Held> {
        self.leases.get(&run).filter(|held| held.token == token)?;
        let held = self.leases.remove(&run)?;
        if let Some(host) = self.hosts.get_mut(&held.host) {
            if host.is_full() {
                host.work_bell.notify_one();
            }
            host.leases = host.leases.saturating_sub(1);
        }
        Some(held)
    }

    /// Counts a commit in, if the token is that of the run's lease.
    pub(super) fn begin_commit(&mut self, run: RunId, token: Token) -> bool {
        let held = self.leases.get(&run).is_some_and(|held| held.token == token);
        if held {
            self.committing.entry(run).or_default().commits += 1;
        }
        held
    }

    /// A commit is through, whatever became of it.
    pub(super) fn end_commit(&mut self, run: RunId) {
        let Some(under_way) = self.committing.get_mut(&run) else { return };
        under_way.commits -= 1;
        if under_way.commits == 0 {
            let offered = under_way.offered;
            self.committing.remove(&run);
            if offered && !self.leases.contains_key(&run) {
                self.offer(run, None, true);
            }
        }
    }

    /// Takes a lease away from its host, tells it, and lets the run go on elsewhere.
    pub(super) fn revoke(&mut self, run: RunId, token: Token) {
        let Some(held) = self.end_lease(run, token) else { return };
        if let Some(host) = self.hosts.get_mut(&held.host) {
            host.inbox.retain(|work| work.token != token);
            host.news.push_back(News::Lost(run, token));
            host.news_bell.notify_one();
        }
        self.homes.remove(&run);
        self.offer(run, None, true);
    }

    /// Drops everything about runs that another server owns now.
    pub(super) fn forget_foreign(&mut self) {
        let owned = Arc::clone(&self.owned);
        self.queue.retain(|run| owned.owns(run));
        self.records.retain(|run, _| owned.owns(*run));
        let foreign = self.leases.iter().filter(|(run, _)| !owned.owns(**run));
        let foreign: Vec<_> = foreign.map(|(run, held)| (*run, held.token)).collect();
        foreign.into_iter().for_each(|(run, token)| self.revoke(run, token));
    }

    /// Whether this is the newest connection of a host.
    pub(super) fn is_current(&self, seat: Seat) -> bool {
        self.hosts.get(&seat.host).is_some_and(|host| host.session == seat.session)
    }

    /// The next piece of work for a host that asks for it.
    pub(super) fn next(&mut self, seat: Seat) -> Next {
        let (id, draining) = (seat.host, self.draining);
        if !self.is_current(seat) {
            return Next::Over;
        }
        let Some(host) = self.hosts.get_mut(&id) else { return Next::Over };
        if let Some(work) = host.inbox.pop_front() {
            return Next::Work(Box::new(work));
        }
        if draining || !host.is_active() {
            return Next::Over;
        }
        let bell = Arc::clone(&host.work_bell);
        if host.is_full() {
            return Next::Wait(bell);
        }
        let host = &self.hosts[&id];
        let Some((run, lane)) = self.queue.take(id, |lane| host.serves(lane)) else {
            if let Some(host) = self.hosts.get_mut(&id) {
                host.waiting = true;
            }
            return Next::Wait(bell);
        };
        let token = self.lease(id, run, lane);
        let record = self.records.remove(&run);
        Next::Work(Box::new(Work { run, token, record }))
    }

    /// Gives hosts that wait what came into their lanes by another way than `offer`.
    pub(super) fn serve_waiting(&mut self) {
        let waiting = self.hosts.iter().filter(|(_, host)| host.waiting && host.is_active());
        let mut waiting: Vec<_> = waiting.map(|(id, host)| (host.fullness(), *id)).collect();
        waiting.sort_unstable();
        for (_, id) in waiting {
            let host = &self.hosts[&id];
            if let Some((run, lane)) = self.queue.take(id, |lane| host.serves(lane)) {
                let record = self.records.remove(&run);
                self.assign(id, run, lane, record);
            }
        }
    }

    /// A host asks for no more work. What was on the way to it goes on elsewhere.
    pub(super) fn stop_waiting(&mut self, id: HostId) {
        let Some(host) = self.hosts.get_mut(&id) else { return };
        host.waiting = false;
        for Work { run, token, record } in std::mem::take(&mut host.inbox) {
            if self.end_lease(run, token).is_some() {
                self.offer(run, record, true);
            }
        }
    }

    /// A host hands a run back that it has gone to rest with.
    pub(super) fn remember_home(&mut self, run: RunId, held: &Held) {
        self.homes.insert(run, (held.host, held.lane.clone()));
    }

    /// Tells the host of a run that something happened to it.
    pub(super) fn tell_holder(&mut self, run: RunId) {
        let Some(held) = self.leases.get_mut(&run) else { return };
        held.moved = true;
        if !held.told
            && let Some(host) = self.hosts.get_mut(&held.host)
        {
            held.told = true;
            host.news.push_back(News::Moved(run));
            host.news_bell.notify_one();
        }
    }

    pub(super) fn take_news(&mut self, id: HostId) -> Option<News> {
        let host = self.hosts.get_mut(&id)?;
        while let Some(news) = host.news.pop_front() {
            match news {
                News::Lost(..) => return Some(news),
                News::Moved(run) => {
                    if let Some(held) = self.leases.get_mut(&run).filter(|held| held.host == id) {
                        held.told = false;
                        return Some(news);
                    }
                }
            }
        }
        None
    }

    /// Takes a host in, or in again. Of the leases that it had, it keeps those that it presents.
    pub(super) fn join(
        &mut self,
        introduction: Introduction,
        presented: &[(RunId, Token)],
    ) -> Joined {
        let known = self.hosts.iter().find(|(_, host)| {
            !introduction.identity.is_empty() && host.introduction.identity == introduction.identity
        });
        let id = match known {
            Some((id, _)) => *id,
            None => {
                self.last_host += 1;
                HostId(self.last_host)
            }
        };
        self.stop_waiting(id);
        self.queue.abandon(id);
        let mut host = Host::new(introduction);
        if let Some(before) = self.hosts.remove(&id) {
            before.superseded.notify_one();
            host.session = before.session + 1;
            host.leases = before.leases;
        }
        let (session, heard) = (host.session, Arc::clone(&host.heard));
        let superseded = Arc::clone(&host.superseded);
        self.hosts.insert(id, host);
        let lost = self.settle(id, presented);
        Joined { seat: Seat { host: id, session }, lost, heard, superseded }
    }

    /// Compares the leases of a host with those that it believes to have. What it does not know of
    /// goes on elsewhere; what it has not is returned.
    fn settle(&mut self, id: HostId, presented: &[(RunId, Token)]) -> Vec<RunId> {
        let presented: HashMap<RunId, Token> = presented.iter().copied().collect();
        let expires = Instant::now() + self.lease_time;
        let mut unknown = Vec::new();
        for (run, held) in self.leases.iter_mut().filter(|(_, held)| held.host == id) {
            if presented.get(run) == Some(&held.token) {
                held.expires = expires;
                // What it was told of last may not have reached it.
                held.told = false;
            } else {
                unknown.push((*run, held.token));
            }
        }
        unknown.iter().for_each(|(run, token)| self.revoke(*run, *token));
        let mut lost = Vec::new();
        for (run, token) in presented {
            if self.leases.get(&run).is_some_and(|held| held.token == token && held.host == id) {
                self.tell_holder(run);
            } else {
                lost.push(run);
            }
        }
        lost
    }

    /// Forgets a host. Its runs go on elsewhere.
    pub(super) fn forget(&mut self, id: HostId) {
        self.stop_waiting(id);
        self.queue.abandon(id);
        self.hosts.remove(&id);
        self.leases_of(id).into_iter().for_each(|(run, token)| self.revoke(run, token));
    }

    fn leases_of(&self, id: HostId) -> Vec<(RunId, Token)> {
        let of_host = self.leases.iter().filter(|(_, held)| held.host == id);
        of_host.map(|(run, held)| (*run, held.token)).collect()
    }

    /// The connection of a host broke off. It has so long to come back to its runs.
    pub(super) fn lose_touch(&mut self, id: HostId, patience: Duration) {
        self.stop_waiting(id);
        self.queue.abandon(id);
        let now = Instant::now();
        if let Some(host) = self.hosts.get_mut(&id) {
            host.gone = Some(now);
        }
        for held in self.leases.values_mut().filter(|held| held.host == id) {
            held.expires = held.expires.min(now + patience);
        }
    }

    /// Takes leases away that were not renewed, and forgets hosts that have gone for good.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<RunId> {
        let expired = self.leases.iter().filter(|(_, held)| held.expires <= now);
        let expired: Vec<_> = expired.map(|(run, held)| (*run, held.token)).collect();
        expired.iter().for_each(|(run, token)| self.revoke(*run, *token));
        let patience = self.lease_time;
        self.hosts.retain(|_, host| {
            host.leases > 0 || host.gone.is_none_or(|since| now - since < patience)
        });
        expired.into_iter().map(|(run, _)| run).collect()
    }
}
