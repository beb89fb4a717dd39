//! What users do: they start runs under keys of their own, send them events in order, now and then pause
//! or cancel one, and ask again until they are answered. What they were told must be true for ever.

use crate::script::{self, Author, Program, WORKFLOW};
use crate::stage::Stage;
use crate::world::World;
use everstep_core::api::{CancelBody, EventBody, ReasonBody, StartBody};
use everstep_core::{Payload, RetryPolicy, RunId};
use everstep_server::service::{Service, ServiceError};
use everstep_store::Store;
use futures::FutureExt;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A run that somebody wants.
#[derive(Clone)]
pub(crate) struct Wanted {
    key: String,
    pub(crate) program: Program,
    retry: Option<RetryPolicy>,
    /// All its attempts are to fail.
    pub(crate) fails: bool,
    /// Somebody will cancel it.
    pub(crate) cancelled: bool,
    paused: bool,
}

/// A run that somebody was told of, and the events that it was said to have received.
pub(crate) struct Known {
    pub(crate) run: RunId,
    pub(crate) wanted: Wanted,
    pub(crate) received: Vec<String>,
}

pub(crate) fn wanted(world: &World) -> Vec<Wanted> {
    let dice = &world.work;
    let mut author = Author::new(dice);
    let mut wanted = Vec::new();
    for number in 0..world.plan.runs {
        let most = *dice.one_of(&[1, 1, 1, 3]);
        let mut program = author.program(most);
        let fails = most > 1 && dice.happens(2_000);
        if fails {
            program.steps.push(script::Step::FailBefore(most + 1));
        }
        let delay_ms = dice.between(0, 9_000);
        wanted.push(Wanted {
            key: format!("run {number}"),
            program,
            retry: (most > 1).then_some(RetryPolicy::Fixed { max_attempts: most, delay_ms }),
            fails,
            cancelled: dice.happens(1_000),
            paused: dice.happens(1_500),
        });
    }
    wanted
}

/// A client that lives until all that it wants is done.
pub(crate) async fn client(world: Arc<World>, stage: Arc<Stage>, wanted: Wanted) -> Known {
    let patience = u64::try_from(world.plan.lasts.as_millis()).unwrap();
    tokio::time::sleep(Duration::from_millis(world.work.between(0, patience * 2 / 3))).await;
    let client = Client { world, stage };
    let run = client.start(&wanted).await;
    let events = client.send_all(run, &wanted);
    let troubles = client.trouble(run, &wanted);
    let (received, ()) = tokio::join!(events, troubles);
    Known { run, wanted, received }
}

struct Client {
    world: Arc<World>,
    stage: Arc<Stage>,
}

impl Client {
    /// Asks until there is an answer that says something about what was asked.
    async fn ask<T: Send + 'static, A>(
        &self,
        asked: impl Fn(Arc<Service>) -> A,
    ) -> Result<T, ServiceError>
    where
        A: Future<Output = Result<T, ServiceError>> + Send + 'static,
    {
        let plan = &self.world.plan;
        loop {
            self.world.moment().await;
            let lost = self.world.fault("a client's request is lost", plan.request_dropped);
            if let Some(service) = self.stage.service().filter(|_| !lost) {
                let doing = tokio::spawn(asked(service));
                let answer = tokio::time::timeout(Duration::from_secs(20), doing).await;
                let lost = self.world.fault("a client's answer is lost", plan.answer_dropped);
                match answer {
                    Ok(Ok(Ok(answer))) if !lost => return Ok(answer),
                    Ok(Ok(Err(error))) if !lost && !may_pass(&error) => return Err(error),
                    _ => {}
                }
            }
            self.world.pause(20, 2_000).await;
        }
    }

    async fn start(&self, wanted: &Wanted) -> RunId {
        let mut body = StartBody::new(WORKFLOW);
        body.idempotency_key = Some(wanted.key.clone());
        body.input = Some(Payload::from_value(&wanted.program).unwrap());
        body.retry = wanted.retry;
        body.delay_ms = self.world.work.happens(1_500).then(|| self.world.work.between(0, 30_000));
        let started = self
            .ask(move |service| {
                let body = body.clone();
                async move { service.start(body).await }
            })
            .await;
        let run = match started {
            Ok(started) => started.id,
            Err(error) => {
                self.world.witness.violated(format!("a start of {} fails: {error}", wanted.key));
                return RunId::from_key(WORKFLOW, &wanted.key);
            }
        };
        self.world.witness.note(format_args!("{run} is acknowledged, {}", wanted.key));
        if !matches!(self.world.memory.record(run).now_or_never(), Some(Ok(Some(_)))) {
            self.world.witness.violated(format!("{run}: acknowledged, and not there"));
        }
        run
    }

    /// Sends what the program waits for, one after the other. Returns those that were acknowledged.
    async fn send_all(&self, run: RunId, wanted: &Wanted) -> Vec<String> {
        let (mut sent, mut received) = (BTreeMap::<String, u64>::new(), Vec::new());
        for name in script::events(&wanted.program) {
            let nth = sent.entry(name.clone()).or_default();
            let reference = format!("{name} {nth}");
            let data = Some(Payload::from_value(&script::heard(&name, *nth)).unwrap());
            *nth += 1;
            self.world.pause(0, 4_000).await;
            let body = EventBody { name, data, reference: Some(reference.clone()) };
            let times = 1 + u32::from(self.world.fault("an event is sent again", 1_000));
            for _ in 0..times {
                let body = body.clone();
                let send = move |service: Arc<Service>| {
                    let body = body.clone();
                    async move { service.send_event(run, body).await }
                };
                match self.ask(send).await {
                    Ok(_) => received.push(reference.clone()),
                    // It has ended; that is looked at in the end.
                    Err(_) => return received,
                }
            }
        }
        received
    }

    async fn trouble(&self, run: RunId, wanted: &Wanted) {
        if wanted.paused {
            self.world.pause(0, 30_000).await;
            let pause = move |service: Arc<Service>| async move {
                service.pause(run, ReasonBody::default()).await
            };
            let _ = self.ask(pause).await;
            self.world.pause(0, 20_000).await;
            let _ = self.ask(move |service| async move { service.resume(run).await }).await;
        }
        if wanted.cancelled {
            self.world.pause(0, 60_000).await;
            let cancel = move |service: Arc<Service>| async move {
                service.cancel(run, CancelBody::default()).await
            };
            let _ = self.ask(cancel).await;
        }
    }
}

/// Errors of the moment.
fn may_pass(error: &ServiceError) -> bool {
    matches!(
        error,
        ServiceError::Store(_)
            | ServiceError::Busy(_)
            | ServiceError::Draining
            | ServiceError::Internal(_)
    )
}
