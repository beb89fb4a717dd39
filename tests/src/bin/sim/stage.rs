//! The processes of a simulation: a server over what was stored before, and hosts with real host loops.
//! Each can be crashed at any moment and be started again; what goes wrong with them is decided here.

use crate::dice::Dice;
use crate::guest::Player;
use crate::script::{SLOW_MS, TASK, WORKFLOW, Work};
use crate::store::Opened;
use crate::wire::Wire;
use crate::world::{World, truth};
use everstep_core::{Digest, Failure, Manifest, Payload, Publication};
use everstep_engine::{
    CONFIG_VERSION, Engine, EngineOptions, Module, RunContext, Script, ScriptedGuest, TaskRun,
};
use everstep_server::dispatch::Dispatch;
use everstep_server::link::{HostLink, LinkParts};
use everstep_server::service::Service;
use everstep_server::{
    Assembly, HostOptions, RetentionOptions, SelfCheckOptions, ServiceOptions, Timing, host,
};
use everstep_store::{NewModule, PublicationChange, Store};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// What stands for the module: the store keeps bytes, and nobody reads them.
const BYTES: &[u8] = b"a script";

/// Executes the tasks of one host, with the witness beside it.
struct Stand {
    world: Arc<World>,
    host: usize,
    wire: Arc<Mutex<Option<Arc<Wire>>>>,
}

impl Script for Stand {
    fn instantiate(&self, _: RunContext) -> Box<dyn ScriptedGuest> {
        Box::new(Player::default())
    }

    fn run_task(
        &self,
        task: TaskRun,
    ) -> Pin<Box<dyn Future<Output = Result<Payload, Failure>> + Send>> {
        let wire = self.wire.lock().unwrap().clone();
        let (world, host) = (Arc::clone(&self.world), self.host);
        Box::pin(async move {
            let work: Work = task.input.read().unwrap();
            let owns = wire.is_some_and(|wire| wire.owns(task.run_id));
            world.witness.begins(task.run_id, task.op, task.attempt, host, owns);
            let takes_ms = if work.slow && task.attempt == 1 { SLOW_MS } else { work.takes_ms };
            tokio::time::sleep(Duration::from_millis(takes_ms)).await;
            if task.attempt <= work.fails {
                return Err(Failure::new("work.failed", format!("attempt {}", task.attempt)));
            }
            Ok(Payload::from_value(&work.id).unwrap())
        })
    }
}

struct Slot {
    engine: Arc<Engine>,
    wire: Arc<Mutex<Option<Arc<Wire>>>>,
    serving: Mutex<Option<(watch::Sender<bool>, JoinHandle<()>)>>,
    /// Something is happening to it.
    busy: Mutex<bool>,
}

struct Running {
    opened: Arc<Opened>,
    parts: LinkParts,
    background: Vec<JoinHandle<()>>,
}

/// See the module.
pub(crate) struct Stage {
    world: Arc<World>,
    pub(crate) module: Arc<Module>,
    engine: Arc<Engine>,
    server: Mutex<Option<Running>>,
    epoch: Mutex<u64>,
    slots: Vec<Slot>,
}

fn engine(script: Arc<dyn Script>) -> (Arc<Engine>, Arc<Module>) {
    let options = EngineOptions { max_instances: 1, max_tasks: 1, ..EngineOptions::default() };
    let engine = Arc::new(Engine::new(options).unwrap());
    let module = engine.install(Digest::of(BYTES), manifest(), script);
    (engine, module)
}

fn manifest() -> Manifest {
    let json = serde_json::json!({
        "format": 1,
        "workflows": [{"name": WORKFLOW, "version": "1"}],
        "tasks": [{"name": TASK}],
    });
    Manifest::parse(json.to_string().as_bytes()).unwrap()
}

impl Stage {
    pub(crate) async fn new(world: &Arc<World>) -> Arc<Self> {
        let slots = (0..usize::try_from(world.plan.hosts).unwrap()).map(|host| {
            let wire = Arc::new(Mutex::new(None));
            let stand = Stand { world: Arc::clone(world), host, wire: Arc::clone(&wire) };
            let (serving, busy) = (Mutex::new(None), Mutex::new(false));
            Slot { engine: engine(Arc::new(stand)).0, wire, serving, busy }
        });
        let slots = slots.collect();
        let stand = Stand { world: Arc::clone(world), host: 99, wire: Arc::default() };
        let (engine, module) = engine(Arc::new(stand));
        publish(world).await;
        Arc::new(Self {
            world: Arc::clone(world),
            module,
            engine,
            server: Mutex::new(None),
            epoch: Mutex::new(0),
            slots,
        })
    }

    /// What clients talk to; none while the server is down.
    pub(crate) fn service(&self) -> Option<Arc<Service>> {
        self.parts().map(|parts| parts.service)
    }

    fn parts(&self) -> Option<LinkParts> {
        self.server.lock().unwrap().as_ref().map(|running| running.parts.clone())
    }

    fn wires(&self) -> impl Iterator<Item = Arc<Wire>> {
        self.slots.iter().filter_map(|slot| slot.wire.lock().unwrap().clone())
    }

    pub(crate) async fn start_server(&self) {
        if self.server.lock().unwrap().is_some() {
            return;
        }
        loop {
            let epoch = {
                let mut epoch = self.epoch.lock().unwrap();
                *epoch += 1;
                *epoch
            };
            let opened = Opened::new(&self.world, epoch);
            let store = Arc::clone(&opened) as Arc<dyn Store>;
            let dispatch = Arc::new(Dispatch::alone(Timing::default(), epoch));
            let (engine, options) = (Arc::clone(&self.engine), ServiceOptions::default());
            let assembled = Assembly::new(store, dispatch, engine, options).await;
            let Ok(assembly) = assembled else {
                self.world.pause(50, 500).await;
                continue;
            };
            self.world.witness.note(format_args!("server {epoch} is up"));
            let parts = assembly.links().clone();
            let checks = SelfCheckOptions { every: None };
            let background = assembly.serve(RetentionOptions::default(), checks);
            let running = Running { opened, parts: parts.clone(), background };
            *self.server.lock().unwrap() = Some(running);
            self.wires().for_each(|wire| wire.connect(&parts));
            return;
        }
    }

    fn crash_server(&self) {
        let Some(running) = self.server.lock().unwrap().take() else { return };
        self.world.witness.count("the server crashes");
        running.opened.crash();
        running.background.iter().for_each(JoinHandle::abort);
        self.wires().for_each(|wire| wire.disconnect());
    }

    fn start_host(&self, host: usize) {
        let slot = &self.slots[host];
        let concurrency = usize::try_from(self.world.dice.between(1, 12)).unwrap();
        let wire = Wire::new(&self.world, host, concurrency);
        *slot.wire.lock().unwrap() = Some(Arc::clone(&wire));
        if let Some(parts) = self.parts() {
            wire.connect(&parts);
        }
        let options = HostOptions {
            concurrency,
            task_concurrency: usize::try_from(self.world.dice.between(1, 8)).unwrap(),
            warm_instances: usize::try_from(self.world.dice.between(1, 4)).unwrap(),
            drain: Duration::from_millis(self.world.dice.between(0, 5_000)),
            snapshot_share: 0.0,
            ..HostOptions::default()
        };
        let links = vec![wire as Arc<dyn HostLink>];
        let (draining, drained) = watch::channel(false);
        let engine = Arc::clone(&slot.engine);
        let serving = tokio::spawn(host::serve(links, engine, options, drained, Handle::current()));
        *slot.serving.lock().unwrap() = Some((draining, serving));
        self.world.witness.note(format_args!("host {host} is up"));
    }

    fn crash_host(&self, host: usize) {
        let slot = &self.slots[host];
        if let Some(wire) = slot.wire.lock().unwrap().take() {
            wire.kill(self.world.dice.happens(5_000));
        }
        if let Some((_, serving)) = slot.serving.lock().unwrap().take() {
            serving.abort();
        }
    }

    pub(crate) fn start_hosts(&self) {
        (0..self.slots.len()).for_each(|host| self.start_host(host));
    }

    /// Lets things go wrong for as long as the plan says, then mends everything.
    pub(crate) async fn suffer(self: &Arc<Self>) {
        let world = &self.world;
        let end = Instant::now() + world.plan.lasts;
        let mut recovering = JoinSet::new();
        loop {
            world.shift_clock();
            let mean = world.plan.disaster_ms;
            let next = match mean {
                0 => end,
                mean => {
                    Instant::now() + Duration::from_millis(world.dice.between(mean / 2, mean * 2))
                }
            };
            let tick = Instant::now() + Duration::from_secs(3);
            tokio::select! {
                biased;
                () = world.crash.notified() => self.restart_server().await,
                () = tokio::time::sleep_until(next.min(end).min(tick)) => {
                    if Instant::now() >= end {
                        break;
                    }
                    // A disaster per mean time, drawn tick by tick.
                    if mean > 0 && (next <= tick || world.dice.happens(30_000_000 / mean.max(3_000))) {
                        self.disaster(&mut recovering).await;
                    }
                }
            }
            while recovering.try_join_next().is_some() {}
        }
        world.heal();
        while recovering.join_next().await.is_some() {}
        let fell = self.server.lock().unwrap().as_ref().is_none_or(|it| it.opened.has_crashed());
        if fell {
            self.restart_server().await;
        }
    }

    async fn restart_server(&self) {
        self.crash_server();
        self.world.pause(10, 10_000).await;
        self.start_server().await;
    }

    async fn disaster(self: &Arc<Self>, recovering: &mut JoinSet<()>) {
        let dice: &Dice = &self.world.dice;
        let host = usize::try_from(dice.between(0, self.slots.len() as u64 - 1)).unwrap();
        match dice.between(0, 9) {
            0 | 1 => self.restart_server().await,
            2 => {
                self.world.witness.count("everything crashes");
                for host in (0..self.slots.len()).filter(|host| self.take(*host)) {
                    self.crash_host(host);
                    let stage = Arc::clone(self);
                    recovering.spawn(async move {
                        stage.world.pause(10, 12_000).await;
                        stage.start_host(host);
                        stage.give(host);
                    });
                }
                self.restart_server().await;
            }
            choice if self.take(host) => {
                let stage = Arc::clone(self);
                recovering.spawn(async move {
                    match choice {
                        3 | 4 => stage.crash_and_restart(host).await,
                        5 => stage.drain_and_restart(host).await,
                        _ => stage.cut_off(host).await,
                    }
                    stage.give(host);
                });
            }
            _ => {}
        }
    }

    fn take(&self, host: usize) -> bool {
        !std::mem::replace(&mut *self.slots[host].busy.lock().unwrap(), true)
    }

    fn give(&self, host: usize) {
        *self.slots[host].busy.lock().unwrap() = false;
    }

    async fn crash_and_restart(&self, host: usize) {
        self.world.witness.count("a host crashes");
        self.crash_host(host);
        self.world.pause(10, 20_000).await;
        self.start_host(host);
    }

    async fn drain_and_restart(&self, host: usize) {
        self.world.witness.count("a host is drained");
        let serving = self.slots[host].serving.lock().unwrap().take();
        if let Some((draining, serving)) = serving {
            draining.send_replace(true);
            let _ = serving.await;
        }
        if let Some(wire) = self.slots[host].wire.lock().unwrap().take() {
            wire.kill(true);
        }
        self.start_host(host);
    }

    async fn cut_off(&self, host: usize) {
        self.world.witness.count("a host is cut off");
        let Some(wire) = self.slots[host].wire.lock().unwrap().clone() else { return };
        let noticed = self.world.dice.happens(5_000);
        wire.cut(noticed);
        self.world.pause(500, 45_000).await;
        wire.heal(self.parts().as_ref(), noticed);
        self.world.witness.note(format_args!("host {host} is back"));
    }
}

/// Puts the module where a server finds it.
async fn publish(world: &World) {
    let (digest, at) = (Digest::of(BYTES), truth());
    let module = NewModule {
        bytes: BYTES.to_vec(),
        uploaded_at: at,
        engine: CONFIG_VERSION,
        manifest: manifest(),
    };
    let mut publication = Publication::new(WORKFLOW);
    publication.publish("1", digest, at).unwrap();
    let change = PublicationChange { publication, expected: 0 };
    world.memory.publish(Some(module), vec![change]).await.unwrap();
}
