//! The network between a host and the server, from the host's side: it delays, loses what is asked or
//! answered, brings commits and messages a second time, late, and breaks off for a while. What has reached
//! the server happens there, whatever becomes of the host.
//!
//! It keeps to what a real link over a network promises (`everstep_server::remote`): leases are given up
//! when nothing was heard for long enough, and a host that comes back says which it believes to have.

use crate::world::{Defect, World};
use async_trait::async_trait;
use everstep_core::{
    Commit, Digest, Entry, Message, OpId, Payload, Record, Reply, RunId, Timestamp, Token,
};
use everstep_server::Timing;
use everstep_server::dispatch::{Introduction, Seat};
use everstep_server::link::{
    HandBack, HostLink, LinkError, LinkParts, LocalLink, News, Report, Work,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

/// How late what comes a second time may come, in milliseconds.
const LATE_MS: u64 = 25_000;

/// The server as this host reaches it.
#[derive(Clone)]
struct Reached {
    parts: LinkParts,
    seat: Seat,
    link: Arc<LocalLink>,
}

struct State {
    /// None when the server is down.
    reached: Option<Reached>,
    /// Nothing comes through.
    cut: bool,
    /// The host has crashed.
    dead: bool,
    stopped: bool,
    leases: BTreeMap<RunId, Token>,
    news: VecDeque<News>,
    heard: Instant,
}

/// See the module.
pub(crate) struct Wire {
    world: Arc<World>,
    host: usize,
    identity: String,
    concurrency: usize,
    state: Mutex<State>,
    bell: Notify,
    changed: watch::Sender<u64>,
}

impl Wire {
    pub(crate) fn new(world: &Arc<World>, host: usize, concurrency: usize) -> Arc<Self> {
        let state = State {
            reached: None,
            cut: false,
            dead: false,
            stopped: false,
            leases: BTreeMap::new(),
            news: VecDeque::new(),
            heard: Instant::now(),
        };
        let wire = Arc::new(Self {
            world: Arc::clone(world),
            host,
            identity: format!("{:x}", world.dice.next()),
            concurrency,
            state: Mutex::new(state),
            bell: Notify::new(),
            changed: watch::Sender::new(0),
        });
        tokio::spawn(Arc::clone(&wire).watch());
        wire
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.send_modify(|version| *version += 1);
    }

    /// Connects to a server, or again, with the leases that the host believes to have.
    pub(crate) fn connect(&self, parts: &LinkParts) {
        let (dead, leases) = {
            let state = self.state();
            (state.dead || state.cut, state.leases.clone().into_iter().collect::<Vec<_>>())
        };
        if dead {
            return;
        }
        let introduction = Introduction {
            identity: self.identity.clone(),
            name: format!("host {}", self.host),
            concurrency: self.concurrency,
            protocol: Some(1),
            ..Introduction::default()
        };
        let joined = parts.dispatch.join(introduction, &leases);
        let link = Arc::new(LocalLink::new(parts.clone(), joined.seat));
        let reached = Reached { parts: parts.clone(), seat: joined.seat, link };
        self.change(|state| {
            state.reached = Some(reached);
            state.heard = Instant::now();
            let lost = |run: &RunId| joined.lost.contains(run) && !self.is_careless();
            for (run, token) in leases.iter().filter(|(run, _)| lost(run)) {
                lose(state, *run, *token);
            }
        });
        self.bell.notify_one();
    }

    /// The server is down.
    pub(crate) fn disconnect(&self) {
        self.change(|state| state.reached = None);
    }

    /// The host has crashed. A server that notices takes its leases away soon.
    pub(crate) fn kill(&self, noticed: bool) {
        self.change(|state| state.dead = true);
        if noticed {
            self.lose_touch();
        }
    }

    /// Nothing comes through any more.
    pub(crate) fn cut(&self, noticed: bool) {
        self.change(|state| state.cut = true);
        if noticed {
            self.lose_touch();
        }
    }

    /// Everything comes through again, over a new connection if the old one was given up.
    pub(crate) fn heal(&self, parts: Option<&LinkParts>, again: bool) {
        self.change(|state| state.cut = false);
        let is_connected = self.state().reached.is_some();
        if let Some(parts) = parts.filter(|_| again || !is_connected) {
            self.connect(parts);
        }
    }

    /// What the server does when a connection breaks.
    fn lose_touch(&self) {
        if let Some(Reached { parts, seat, .. }) = self.state().reached.clone() {
            parts.dispatch.lose_touch(seat, parts.dispatch.timing().heartbeat);
        }
    }

    /// Whether the host has the lease of a run, by its own knowledge and that of the server.
    pub(crate) fn owns(&self, run: RunId) -> bool {
        let state = self.state();
        let held = state.leases.get(&run).zip(state.reached.as_ref());
        !state.dead && held.is_some_and(|(token, it)| it.parts.dispatch.holds(run, *token))
    }

    /// Gives leases up that cannot stand any more.
    async fn watch(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.heartbeat() / 2).await;
            let mut state = self.state();
            if state.dead {
                return;
            }
            if state.heard.elapsed() > Timing::default().parting() && !self.is_careless() {
                let all = state.leases.clone();
                all.into_iter().for_each(|(run, token)| lose(&mut state, run, token));
                self.bell.notify_one();
            }
        }
    }

    /// The defect in which nobody cares for leases.
    fn is_careless(&self) -> bool {
        self.world.defect == Some(Defect::ChecksNoTokens)
    }

    /// The server, when something comes through to it.
    fn reach(&self) -> Option<Reached> {
        let state = self.state();
        state.reached.clone().filter(|_| !state.cut && !state.dead)
    }

    /// The dead do nothing.
    async fn unless_dead(&self) {
        if self.state().dead {
            std::future::pending::<()>().await;
        }
    }

    async fn silence(&self) -> LinkError {
        self.world.pause(100, 10_000).await;
        LinkError::Unavailable("nothing came back".into())
    }

    /// Has the server do something, and brings what it says.
    async fn ask<T: Send + 'static>(&self, asked: impl AsyncAsked<T>) -> Result<T, LinkError> {
        self.unless_dead().await;
        self.world.moment().await;
        self.unless_dead().await;
        let Some(reached) = self.reach() else { return Err(self.silence().await) };
        if self.world.fault("a request is lost", self.world.plan.request_dropped) {
            return Err(self.silence().await);
        }
        // The server goes on with it also when the host does not wait.
        let doing = tokio::spawn(asked.of(reached));
        let answer = tokio::time::timeout(Timing::default().lease, doing).await;
        self.world.moment().await;
        self.unless_dead().await;
        let lost = self.world.fault("an answer is lost", self.world.plan.answer_dropped);
        match answer {
            Ok(Ok(answer)) if !lost && !self.state().cut => {
                self.state().heard = Instant::now();
                Ok(answer)
            }
            _ => Err(self.silence().await),
        }
    }

    /// Brings something a second time, a good while later.
    fn echo<T: Send + 'static>(&self, name: &'static str, asked: impl AsyncAsked<T>) {
        let Some(reached) = self.reach() else { return };
        if self.world.fault(name, self.world.plan.duplicated) {
            let late = Duration::from_millis(self.world.dice.between(0, LATE_MS));
            tokio::spawn(async move {
                tokio::time::sleep(late).await;
                drop(asked.of(reached).await);
            });
        }
    }
}

/// Something that a server can be asked.
trait AsyncAsked<T>: Send + 'static {
    fn of(self, reached: Reached) -> impl Future<Output = T> + Send + 'static;
}

impl<T, F, A> AsyncAsked<T> for F
where
    F: FnOnce(Reached) -> A + Send + 'static,
    A: Future<Output = T> + Send + 'static,
{
    fn of(self, reached: Reached) -> impl Future<Output = T> + Send + 'static {
        self(reached)
    }
}

fn lose(state: &mut State, run: RunId, token: Token) {
    if state.leases.get(&run) == Some(&token) {
        state.leases.remove(&run);
        state.news.push_back(News::Lost(run, token));
    }
}

#[async_trait]
impl HostLink for Wire {
    fn now(&self) -> Timestamp {
        everstep_server::clock::now()
    }

    async fn next_work(&self, free: usize) -> Option<Work> {
        if free == 0 {
            return std::future::pending().await;
        }
        let mut changed = self.changed.subscribe();
        loop {
            self.unless_dead().await;
            if self.state().stopped {
                return None;
            }
            changed.mark_unchanged();
            let Some(Reached { link, .. }) = self.reach() else {
                let _ = changed.changed().await;
                continue;
            };
            self.world.moment().await;
            let work = tokio::select! {
                work = link.next_work(free) => work,
                _ = changed.changed() => continue,
            };
            let Some(work) = work else {
                // Somebody else sits there: this connection is an old one.
                self.world.pause(50, 200).await;
                continue;
            };
            if self.world.fault("work is lost on the way", self.world.plan.work_dropped) {
                continue;
            }
            self.state().leases.insert(work.run, work.token);
            let (run, host, length) = (work.run, self.host, work.record.length);
            let token = work.token.0 & 0xffff;
            self.world
                .witness
                .note(format_args!("{run} is taken by host {host} at {length} under {token}"));
            return Some(work);
        }
    }

    async fn next_news(&self) -> News {
        let mut changed = self.changed.subscribe();
        loop {
            self.unless_dead().await;
            if let Some(news) = self.state().news.pop_front() {
                return news;
            }
            changed.mark_unchanged();
            let reached = self.reach();
            let heard = async {
                match &reached {
                    Some(reached) => reached.link.next_news().await,
                    None => std::future::pending().await,
                }
            };
            let news = tokio::select! {
                news = heard => news,
                _ = changed.changed() => continue,
                () = self.bell.notified() => continue,
            };
            self.world.moment().await;
            let mut state = self.state();
            match news {
                News::Lost(..) if self.is_careless() => {}
                News::Lost(run, token) => lose(&mut state, run, token),
                News::Moved(_) => state.news.push_back(news),
            }
        }
    }

    async fn module(&self, digest: Digest) -> Result<Vec<u8>, LinkError> {
        self.ask(move |server: Reached| async move { server.link.module(digest).await }).await?
    }

    async fn record(&self, run: RunId) -> Result<Option<Record>, LinkError> {
        self.ask(move |server: Reached| async move { server.link.record(run).await }).await?
    }

    async fn journal(&self, run: RunId, from: u64) -> Result<Vec<Entry>, LinkError> {
        self.ask(move |server: Reached| async move { server.link.journal(run, from).await }).await?
    }

    async fn commit(&self, commit: Commit) -> Result<(), LinkError> {
        let (world, unfenced) = (Arc::clone(&self.world), self.is_careless());
        let asked = move |server: Reached| async move {
            if unfenced {
                return Ok(server.parts.committer.commit(commit).await?);
            }
            let committed = server.link.commit(commit).await;
            if matches!(committed, Err(LinkError::LeaseLost)) {
                world.witness.count("a commit is refused, its lease is lost");
            }
            committed
        };
        self.echo("a commit comes again", asked.clone());
        self.ask(asked).await?
    }

    async fn send(&self, from: RunId, message: Message) -> Result<Reply, LinkError> {
        if self.world.has(Defect::LosesMessages, 2_000) {
            return Ok(Reply::Taken);
        }
        let asked = move |server: Reached| async move { server.link.send(from, message).await };
        self.echo("a message comes again", asked.clone());
        self.ask(asked).await?
    }

    async fn progress(&self, run: RunId, op: OpId, progress: Option<Payload>) {
        let asked =
            move |server: Reached| async move { server.link.progress(run, op, progress).await };
        let _ = self.ask(asked).await;
    }

    async fn renew(
        &self,
        leases: &[(RunId, Token)],
        report: Report,
    ) -> Result<Vec<RunId>, LinkError> {
        let asked = leases.to_vec();
        let renewed = move |server: Reached| async move { server.link.renew(&asked, report).await };
        let lost = self.ask(renewed).await??;
        if self.is_careless() {
            return Ok(Vec::new());
        }
        let mut state = self.state();
        for (run, token) in leases.iter().filter(|(run, _)| lost.contains(run)) {
            if state.leases.get(run) == Some(token) {
                state.leases.remove(run);
            }
        }
        Ok(lost)
    }

    async fn hand_back(&self, run: RunId, token: Token, how: HandBack) {
        let asked =
            move |server: Reached| async move { server.link.hand_back(run, token, how).await };
        let _ = self.ask(asked).await;
        let mut state = self.state();
        if state.leases.get(&run) == Some(&token) {
            state.leases.remove(&run);
        }
    }

    async fn stop_work(&self) {
        self.state().stopped = true;
        let _ = self.ask(|server: Reached| async move { server.link.stop_work().await }).await;
    }

    async fn leave(&self) {
        let _ = self.ask(|server: Reached| async move { server.link.leave().await }).await;
    }

    fn heartbeat(&self) -> Duration {
        Timing::default().heartbeat
    }
}
