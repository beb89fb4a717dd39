//! What a workload runs on: a server in this process with a fresh store, and the module with the
//! benchmark workflows. Starts and waits are calls in the process, so that the figures show the
//! cost of durable steps and not that of an HTTP client.

use super::machine::{self, Usage};
use super::report::{Disk, Measured};
use crate::exit::Failure;
use everstep_client::{
    EventBody, Payload, RunId, RunSelection, StartBody, StateKind, UploadOptions, Uploaded,
};
use everstep_core::api::ResumeView;
use everstep_server::service::{ServiceError, WaitFor};
use everstep_server::{Server, ServerOptions};
use hdrhistogram::Histogram;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// `examples/bench`, compiled. It is part of the program so that a measurement needs no compiler,
/// and so that the same guest is measured everywhere.
pub(super) const MODULE: &[u8] = include_bytes!("../../../assets/bench.wasm");

pub(super) struct Rig {
    pub(super) server: Server,
    directory: PathBuf,
    snapshot_share: f64,
}

async fn serve(directory: &Path, snapshot_share: f64) -> Result<Server, Failure> {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut options = ServerOptions::new(listen, directory.join("data"));
    if let Some(host) = &mut options.host {
        host.snapshot_share = snapshot_share;
    }
    let server = Server::start(options).await;
    server.map_err(|error| Failure::new(error.code(), error.to_string()))
}

/// What had been used when a measurement began.
pub(super) struct Begun {
    at: Instant,
    usage: Usage,
    fsyncs: u64,
    bytes: u64,
}

impl Rig {
    pub(super) async fn start(parent: &Path, snapshot_share: f64) -> Result<Self, Failure> {
        let directory = parent.join(format!("bench-{}", std::process::id()));
        std::fs::create_dir_all(&directory).map_err(|error| {
            Failure::new("bench.directory", format!("{}: {error}", directory.display()))
        })?;
        let server = serve(&directory, snapshot_share).await?;
        let rig = Self { server, directory, snapshot_share };
        rig.upload(MODULE.to_vec(), UploadOptions::default()).await?;
        Ok(rig)
    }

    /// Another server on the same data, which has nothing in memory.
    pub(super) async fn restart(self) -> Result<Self, Failure> {
        let Self { server, directory, snapshot_share } = self;
        server.shutdown().await;
        let server = serve(&directory, snapshot_share).await?;
        Ok(Self { server, directory, snapshot_share })
    }

    /// Uploads a module.
    pub(super) async fn upload(
        &self,
        module: Vec<u8>,
        options: UploadOptions,
    ) -> Result<Uploaded, Failure> {
        let permit = self.service().upload_permit().map_err(failed)?;
        self.service().upload(module, permit, options, |_| {}).await.map_err(failed)
    }

    fn service(&self) -> &std::sync::Arc<everstep_server::service::Service> {
        self.server.service()
    }

    pub(super) async fn stop(self) {
        self.server.shutdown().await;
        // What is left behind when this fails is a directory that says what it is.
        let _ = std::fs::remove_dir_all(&self.directory);
    }

    /// Starts a run of `bench-steps`.
    pub(super) async fn start_steps(&self, steps: u64) -> Result<RunId, Failure> {
        self.start_run("bench-steps", steps).await
    }

    /// Starts a run of `bench-waits`, which does not end.
    pub(super) async fn start_waiting(&self, steps: u64) -> Result<RunId, Failure> {
        self.start_run("bench-waits", steps).await
    }

    /// Waits until so many runs wait for an event.
    pub(super) async fn all_wait(&self, runs: u64) -> Result<(), Failure> {
        let waiting =
            RunSelection { states: vec![StateKind::AwaitingEvent], ..RunSelection::default() };
        loop {
            let (mut count, mut cursor) = (0, None);
            loop {
                let page = self.service().list(waiting.clone(), cursor, Some(1_000)).await;
                let page = page.map_err(failed)?;
                count += page.runs.len() as u64;
                cursor = page.cursor;
                if cursor.is_none() {
                    break;
                }
            }
            if count >= runs {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Ends the wait of a run of `bench-waits`, and tells what it took to bring it into memory.
    pub(super) async fn wake(&self, run: RunId) -> Result<Option<ResumeView>, Failure> {
        let event = EventBody { name: "never".into(), data: None, reference: None };
        self.service().send_event(run, event).await.map_err(failed)?;
        self.completed(run).await?;
        Ok(self.service().show(run).await.map_err(failed)?.resumed)
    }

    pub(super) async fn journal_length(&self, run: RunId) -> Result<u64, Failure> {
        Ok(self.service().show(run).await.map_err(failed)?.journal_length)
    }

    async fn start_run(&self, workflow: &str, steps: u64) -> Result<RunId, Failure> {
        let input = Payload::from_value(&serde_json::json!({ "steps": steps }))
            .map_err(|error| Failure::new("bench.input", error.to_string()))?;
        let body = StartBody { input: Some(input), ..StartBody::new(workflow) };
        Ok(self.service().start(body).await.map_err(failed)?.id)
    }

    /// Waits until a run has completed.
    pub(super) async fn completed(&self, run: RunId) -> Result<(), Failure> {
        loop {
            let waited = self.service().wait(run, &WaitFor::default()).await.map_err(failed)?;
            match waited.run.state {
                StateKind::Completed => return Ok(()),
                StateKind::Failed | StateKind::Cancelled | StateKind::Stuck => {
                    let text = format!("run {run} ended as {}", waited.run.state.as_str());
                    return Err(Failure::new("bench.run", text));
                }
                _ => {}
            }
        }
    }

    pub(super) async fn begin(&self) -> Result<Begun, Failure> {
        let stats = self.stats().await?;
        let (at, usage) = (Instant::now(), machine::usage());
        Ok(Begun { at, usage, fsyncs: stats.fsyncs, bytes: stats.bytes_written })
    }

    pub(super) async fn end(
        &self,
        begun: Begun,
        workload: String,
        steps: u64,
        latency: (&'static str, Histogram<u64>),
    ) -> Result<Measured, Failure> {
        let seconds = begun.at.elapsed().as_secs_f64();
        let (usage, stats) = (machine::usage(), self.stats().await?);
        let per_step = |amount: u64| amount as f64 / steps as f64;
        Ok(Measured {
            workload,
            steps,
            seconds,
            steps_per_second: steps as f64 / seconds,
            latency_of: latency.0,
            p50_us: latency.1.value_at_quantile(0.5),
            p99_us: latency.1.value_at_quantile(0.99),
            cpu_us_per_step: (usage.cpu - begun.usage.cpu).as_secs_f64() * 1e6 / steps as f64,
            fsyncs_per_step: per_step(stats.fsyncs - begun.fsyncs),
            bytes_per_step: per_step(stats.bytes_written - begun.bytes),
            rss_bytes: usage.rss_bytes,
            rss_peak_bytes: usage.rss_peak_bytes,
        })
    }

    async fn stats(&self) -> Result<everstep_store::StoreStats, Failure> {
        let stats = self.server.store().stats().await;
        stats.map_err(|error| Failure::new(error.code(), error.to_string()))
    }

    /// The raw limit of the disk: appends of the size of a commit, each made durable by itself.
    pub(super) fn raw_appends(&self) -> Result<Disk, Failure> {
        use std::io::Write;
        const APPENDS: u64 = 500;
        const BYTES: usize = 700;
        let failed = |error: std::io::Error| Failure::new("bench.disk", error.to_string());
        let mut file = std::fs::File::create(self.directory.join("raw")).map_err(failed)?;
        let mut latency = histogram();
        for _ in 0..APPENDS {
            let begun = Instant::now();
            file.write_all(&[b'x'; BYTES]).map_err(failed)?;
            file.sync_data().map_err(failed)?;
            record(&mut latency, begun.elapsed());
        }
        let (p50_us, p99_us) = (latency.value_at_quantile(0.5), latency.value_at_quantile(0.99));
        Ok(Disk { appends: APPENDS, bytes: BYTES, p50_us, p99_us, mean_us: latency.mean() })
    }
}

/// A histogram of up to an hour in microseconds, exact to three digits.
pub(super) fn histogram() -> Histogram<u64> {
    match Histogram::new_with_bounds(1, 3_600_000_000, 3) {
        Ok(histogram) => histogram,
        Err(error) => unreachable!("the bounds are allowed: {error}"),
    }
}

pub(super) fn record(histogram: &mut Histogram<u64>, took: Duration) {
    histogram.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
}

fn failed(error: ServiceError) -> Failure {
    Failure::new(error.code(), error.to_string()).fix(error.fix())
}
