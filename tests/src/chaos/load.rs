//! Whoever uses the system while things go wrong: clients that start runs and send events, at whichever
//! server answers, and a reader that looks at journals on the way. Nothing that fails here is a violation;
//! what is acknowledged is noted.

use super::cluster::Cluster;
use super::evidence::{Ending, Evidence, Sighting};
use crate::ledger::now;
use crate::runs::body;
use everstep_client::{Client, ClientError, EntryView, EventBody, RunId, RunView, StateKind};
use futures::TryStreamExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Clients that start runs at once.
const CLIENTS: u64 = 5;
/// How long a client waits for one answer.
const ANSWER: Duration = Duration::from_secs(4);
/// How long one pause between two calls is.
const PAUSE: Duration = Duration::from_millis(50);
/// How long it may take until the system works again once everything is mended.
const RECOVERY: Duration = Duration::from_secs(180);
/// Journals read at once in the end.
const READS: usize = 8;
/// How old the runs may be that the reader looks at, counted in starts.
const RECENT: usize = 60;

/// See the module. Shared by the clients.
pub(super) struct Load {
    cluster: Arc<Cluster>,
    ledger: String,
    evidence: Mutex<Evidence>,
    over: AtomicBool,
    /// Starts that were asked for, however often each.
    pub asked: AtomicU64,
    /// When the system has to work again.
    deadline: Mutex<Option<Instant>>,
}

impl Load {
    /// A load on this system, whose tasks tell the ledger.
    #[must_use]
    pub(super) fn new(cluster: Arc<Cluster>, ledger: &str) -> Self {
        Self {
            cluster,
            ledger: ledger.to_owned(),
            evidence: Mutex::default(),
            over: AtomicBool::new(false),
            asked: AtomicU64::new(0),
            deadline: Mutex::new(None),
        }
    }

    fn note(&self, what: impl FnOnce(&mut Evidence)) {
        what(&mut self.evidence.lock().unwrap());
    }

    /// Asks nothing new from now on; what is under way may end.
    pub(super) fn stop(&self) {
        *self.deadline.lock().unwrap() = Some(Instant::now() + RECOVERY);
        self.over.store(true, Ordering::SeqCst);
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    fn is_late(&self) -> bool {
        self.deadline.lock().unwrap().is_some_and(|deadline| Instant::now() > deadline)
    }

    /// Asks the servers in turn until one answers. None when the time is over.
    async fn insist<T, F>(&self, random: &mut StdRng, ask: impl Fn(Client) -> F) -> Option<T>
    where
        F: Future<Output = Result<T, ClientError>>,
    {
        let mut server = random.random_range(0..self.cluster.clients.len());
        loop {
            let client = self.cluster.clients[server % self.cluster.clients.len()].clone();
            if let Ok(Ok(answer)) = tokio::time::timeout(ANSWER, ask(client)).await {
                return Some(answer);
            }
            if self.is_late() {
                return None;
            }
            server += 1;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Uploads a module.
    ///
    /// # Panics
    /// When no server takes it.
    pub(super) async fn upload(&self, component: Vec<u8>) {
        let mut random = StdRng::seed_from_u64(0);
        let ask = |client: Client| {
            let component = component.clone();
            async move { client.upload(component).await }
        };
        let uploading = tokio::time::timeout(RECOVERY, self.insist(&mut random, ask));
        assert!(matches!(uploading.await, Ok(Some(_))), "no server takes a module");
    }

    /// Starts runs until it is told to stop.
    pub(super) async fn clients(self: &Arc<Self>, seed: u64) {
        let client = |number| {
            let (load, random) = (Arc::clone(self), StdRng::seed_from_u64(seed ^ number));
            tokio::spawn(async move { load.client(number, random).await })
        };
        let clients: Vec<_> = (1..=CLIENTS).map(client).collect();
        for client in clients {
            client.await.unwrap();
        }
    }

    async fn client(&self, client: u64, mut random: StdRng) {
        let mut number = 0;
        while !self.is_over() {
            number += 1;
            self.asked.fetch_add(1, Ordering::Relaxed);
            if random.random_bool(0.25) {
                self.run_with_event(&format!("{client}-{number}"), &mut random).await;
            } else {
                self.run_with_steps(&format!("{client}-{number}"), &mut random).await;
            }
            let pause = random.random_range(100..700);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// Tasks that tell the ledger, and sleeps. Every other start has a key.
    async fn run_with_steps(&self, key: &str, random: &mut StdRng) {
        let sleep_ms: u64 = random.random_range(100..2_500);
        let steps: u32 = random.random_range(2..6);
        let input = json!({ "steps": steps, "sleep_ms": sleep_ms, "ledger": self.ledger });
        let mut start = body("crash", &input);
        start.idempotency_key = random.random_bool(0.5).then(|| key.to_owned());
        let started = self.insist(random, |client| {
            let start = start.clone();
            async move { client.start(&start).await }
        });
        if let Some(started) = started.await {
            self.note(|evidence| evidence.starts.push(started.id));
        }
    }

    /// Tasks, and then a wait for an event, which may come before.
    async fn run_with_event(&self, key: &str, random: &mut StdRng) {
        let mut start = body("bench-waits", &json!({ "steps": 3 }));
        start.idempotency_key = Some(key.to_owned());
        let started = self.insist(random, |client| {
            let start = start.clone();
            async move { client.start(&start).await }
        });
        let Some(started) = started.await else { return };
        self.note(|evidence| evidence.starts.push(started.id));
        let reference = format!("event-{key}");
        let event = EventBody { name: "never".into(), data: None, reference: Some(reference) };
        let sent = self.insist(random, |client| {
            let event = event.clone();
            async move {
                match client.send_event(started.id, &event).await {
                    // It has ended, so it had the event; only the answer was lost.
                    Err(ClientError::Problem(problem)) if problem.status == 409 => Ok(false),
                    sent => sent.map(|_| true),
                }
            }
        });
        if let (Some(true), Some(reference)) = (sent.await, event.reference.clone()) {
            self.note(|evidence| evidence.events.push((started.id, reference)));
        }
    }

    /// Looks at journals of runs, at whichever server answers, until it is told to stop.
    pub(super) async fn reader(&self, seed: u64) {
        let mut random = StdRng::seed_from_u64(!seed);
        while !self.is_over() {
            tokio::time::sleep(PAUSE).await;
            let run = {
                let evidence = self.evidence.lock().unwrap();
                let recent = evidence.starts.len().saturating_sub(RECENT);
                evidence.starts[recent..].choose(&mut random).copied()
            };
            let (Some(run), Some(client)) = (run, self.cluster.clients.choose(&mut random)) else {
                continue;
            };
            let asked = now();
            let reading = tokio::time::timeout(ANSWER, journal(client, run));
            if let Ok(Ok(journal)) = reading.await {
                let sighting = Sighting { run, asked, seen: now(), journal };
                self.note(|evidence| evidence.sightings.push(sighting));
            }
        }
    }

    /// Waits until every run that was acknowledged has ended, as long as that may take, and reads how.
    ///
    /// # Panics
    /// When a reader does.
    pub(super) async fn collect(self: &Arc<Self>, seed: u64) -> Evidence {
        let starts = self.evidence.lock().unwrap().starts.clone();
        let mut readers = tokio::task::JoinSet::new();
        for (number, run) in (0..).zip(starts) {
            let load = Arc::clone(self);
            readers.spawn(async move { (run, load.ending(run, seed ^ number).await) });
            while readers.len() >= READS {
                let (run, ending) = readers.join_next().await.unwrap().unwrap();
                self.note(|evidence| evidence.endings.extend(ending.map(|ending| (run, ending))));
            }
        }
        while let Some(read) = readers.join_next().await {
            let (run, ending) = read.unwrap();
            self.note(|evidence| evidence.endings.extend(ending.map(|ending| (run, ending))));
        }
        self.evidence.lock().unwrap().clone()
    }

    /// How a run ended, or how it is when the time is over; none when it is not there.
    async fn ending(&self, run: RunId, seed: u64) -> Option<Ending> {
        let mut random = StdRng::seed_from_u64(seed);
        loop {
            let look = |client: Client| async move {
                match client.run(run).await {
                    Err(ClientError::Problem(problem)) if problem.status == 404 => Ok(None),
                    view => view.map(Some),
                }
            };
            let Some(view) = self.insist(&mut random, look).await else {
                return Some(Ending::default());
            };
            let RunView { state, output, .. } = view?;
            if !state.is_terminal() && state != StateKind::Stuck && !self.is_late() {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            let read = |client: Client| async move { journal(&client, run).await };
            let Some(journal) = self.insist(&mut random, read).await else {
                return Some(Ending::default());
            };
            let output = output.map(|output| output.read().unwrap_or_default());
            return Some(Ending { state: Some(state), output, journal });
        }
    }
}

async fn journal(client: &Client, run: RunId) -> Result<Vec<EntryView>, ClientError> {
    client.journal(run, 0).try_collect().await
}
