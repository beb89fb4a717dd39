//! A server without a host, and a client that says what it expects.

use crate::wasm;
use everstep_core::activation::Activation;
use everstep_core::api::{Problem, RunView, Started};
use everstep_core::{
    Commit, Input, LogLevel, LogLine, LogSource, Next, Outcome, Payload, Record, Run, RunId,
    StuckCause,
};
use everstep_engine::{Engine, EngineOptions};
use everstep_server::api;
use everstep_server::clock;
use everstep_server::committer::Committer;
use everstep_server::dispatch::{Dispatch, Introduction, Seat, Timing};
use everstep_server::hub::Hub;
use everstep_server::link::LinkParts;
use everstep_server::service::{Service, ServiceOptions, ServiceParts};
use everstep_server::timers::Timers;
use everstep_store::{Memory, RunQuery, Store};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// See the module.
pub(crate) struct Fixture {
    pub(crate) url: String,
    pub(crate) client: reqwest::Client,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) dispatch: Arc<Dispatch>,
    pub(crate) service: Arc<Service>,
    pub(crate) draining: watch::Sender<bool>,
    pub(crate) host: Seat,
    committer: Arc<Committer>,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) media_type: String,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The body of an answer that is good.
    #[track_caller]
    pub(crate) fn good<T: DeserializeOwned>(&self) -> T {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.text());
        serde_json::from_slice(&self.bytes).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// The text that the answer must be.
    #[track_caller]
    pub(crate) fn good_text(&self, expected: &str) {
        assert_eq!((self.status, self.text()), (200, expected));
    }

    /// The problem that the answer must be.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Problem {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.media_type, "application/problem+json");
        let problem: Problem = serde_json::from_slice(&self.bytes).unwrap();
        assert_eq!((problem.code.as_str(), problem.status), (code, status), "{problem:?}");
        assert!(!problem.fix.is_empty() && !problem.detail.is_empty(), "{problem:?}");
        problem
    }
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        Self::with(ServiceOptions::default()).await
    }

    pub(crate) async fn with(options: ServiceOptions) -> Self {
        let store: Arc<dyn Store> = Arc::new(Memory::new());
        let engine = Engine::new(EngineOptions {
            max_instances: 4,
            max_tasks: 4,
            describe_timeout: Duration::from_secs(2),
            ..EngineOptions::default()
        });
        let dispatch = Arc::new(Dispatch::alone(Timing::default(), 1));
        let introduction = Introduction { concurrency: 10, ..Introduction::default() };
        let host = dispatch.join(introduction, &[]).seat;
        let (hub, timers) = (Hub::new(), Arc::new(Timers::default()));
        let committer = Arc::new(Committer::new(
            Arc::clone(&store),
            Arc::clone(&hub),
            Arc::clone(&dispatch),
            Arc::clone(&timers),
        ));
        let parts = ServiceParts {
            store: Arc::clone(&store),
            engine: Arc::new(engine.unwrap()),
            committer: Arc::clone(&committer),
            hub,
            dispatch: Arc::clone(&dispatch),
        };
        let service = Arc::new(Service::new(parts, options));
        let (draining, drained) = watch::channel(false);
        let parts = LinkParts {
            store: Arc::clone(&store),
            committer: Arc::clone(&committer),
            dispatch: Arc::clone(&dispatch),
            timers,
            service: Arc::clone(&service),
        };
        let router = api::router(parts, drained);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let client = reqwest::Client::new();
        Self { url, client, store, dispatch, service, draining, host, committer }
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let response = request.send().await.unwrap();
        let header = response.headers().get("content-type");
        let media_type = header.map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default();
        let status = response.status().as_u16();
        Answer { status, media_type, bytes: response.bytes().await.unwrap().to_vec() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.client.get(format!("{}{path}", self.url))).await
    }

    pub(crate) async fn post(&self, path: &str, media_type: &str, body: Vec<u8>) -> Answer {
        let request = self.client.post(format!("{}{path}", self.url)).body(body);
        let request = match media_type {
            "" => request,
            media_type => request.header("content-type", media_type),
        };
        self.send(request).await
    }

    pub(crate) async fn post_json(&self, path: &str, body: &Value) -> Answer {
        self.post(path, "application/json", body.to_string().into_bytes()).await
    }

    pub(crate) async fn upload(&self, bytes: Vec<u8>) -> Answer {
        self.post("/v1/modules", "application/wasm", bytes).await
    }

    /// Uploads a module with one workflow.
    pub(crate) async fn publish(&self, workflow: &str, version: &str, more: Value) {
        let module = wasm::module(&wasm::manifest(workflow, version, &more));
        let path = "/v1/modules?allow_narrowing=true&allow_grants=true";
        let answer = self.post(path, "application/wasm", module).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }

    pub(crate) async fn start(&self, body: &Value) -> Answer {
        self.post_json("/v1/runs", body).await
    }

    /// Publishes workflow `w` if need be and starts a run of it.
    pub(crate) async fn run(&self) -> RunId {
        if self.store.modules().await.unwrap().is_empty() {
            self.publish("w", "1", json!({})).await;
        }
        self.start(&json!({"workflow": "w"})).await.good::<Started>().id
    }

    /// Leases the run that waits longest, as a host does.
    pub(crate) async fn lease(&self) -> RunId {
        let taken = self.dispatch.next(self.host).await.unwrap();
        let run = taken.run;
        taken.keep();
        run
    }

    pub(crate) async fn show(&self, run: RunId) -> RunView {
        self.get(&format!("/v1/runs/{run}")).await.good()
    }

    pub(crate) async fn assert_no_runs(&self) {
        assert!(self.store.runs(&RunQuery::default()).await.unwrap().runs.is_empty());
    }

    async fn load(&self, run: RunId) -> (Run, Record) {
        let record = self.store.record(run).await.unwrap().unwrap();
        let journal = self.store.journal(run, 0, usize::MAX).await.unwrap();
        let mut folded = Run::fold(&journal, 0).unwrap();
        folded.adopt(&record).unwrap();
        (folded, record)
    }

    pub(crate) async fn commit(&self, commit: Commit) {
        self.committer.commit(commit).await.unwrap();
    }

    /// Does what a host does when it activates the guest, which answers with this.
    pub(crate) async fn activate(&self, run: RunId, activation: Activation) {
        let (mut folded, _) = self.load(run).await;
        let Next::Deliver(delivery) = folded.next(clock::now()) else { panic!("nothing is due") };
        let input = Input::Activated { delivery, activation };
        let commit = folded.handle(input, clock::now()).unwrap();
        self.commit(commit).await;
    }

    /// Lets the run end with this output.
    pub(crate) async fn complete(&self, run: RunId, output: &str) {
        let output = Payload::from_bytes(output.as_bytes()).unwrap();
        let outcome = Some(Outcome::Completed(output));
        self.activate(run, Activation { outcome, ..Activation::default() }).await;
    }

    /// Stops the run as a divergence would.
    pub(crate) async fn stick(&self, run: RunId) {
        let (mut folded, _) = self.load(run).await;
        let cause = StuckCause {
            code: "guest.trap".into(),
            message: "it trapped".into(),
            remedy: "mend it".into(),
            divergence: None,
        };
        let input = Input::Stuck { cause, undelivered: None };
        self.commit(folded.handle(input, clock::now()).unwrap()).await;
    }
}

/// A line of the workflow's logger.
pub(crate) fn line(message: &str) -> LogLine {
    LogLine {
        at: clock::now(),
        level: LogLevel::Info,
        source: LogSource::Workflow,
        message: message.into(),
        fields: Some(Payload::from_bytes(br#"{"n": 1}"#).unwrap()),
        op: None,
        attempt: 1,
    }
}
