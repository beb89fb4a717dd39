//! A host in a process of its own: an engine, a link to each server, and the loop that serves them.
//! It has no store; what it keeps on disk is a cache of compiled modules.

use crate::host::{self, HostOptions};
use crate::link::HostLink;
use crate::remote::{Happening, RemoteLink, RemoteOptions, ServerAddress};
use crate::server::{ServerError, engine_options, host_runtime};
use everstep_engine::{Engine, EngineOptions, Secrets};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How a host is set up.
pub struct StandaloneOptions {
    /// The servers whose runs it drives: those of one installation.
    pub servers: Vec<ServerAddress>,
    /// Its name, for people.
    pub name: String,
    /// The pool that it serves; none for runs without one.
    pub pool: Option<String>,
    /// The workflows that it serves; empty for all.
    pub workflows: Vec<String>,
    /// Its bounds, shared among the servers.
    pub host: HostOptions,
    /// Where compiled modules are kept.
    pub cache: PathBuf,
    /// What tasks may ask for by name, if their module's grants say so.
    pub secrets: Secrets,
    /// Is told what happens to the connections.
    pub observer: Arc<dyn Fn(Happening<'_>) + Send + Sync>,
}

/// A running host.
pub struct Standalone {
    draining: watch::Sender<bool>,
    threads: Runtime,
    serving: JoinHandle<()>,
}

impl Standalone {
    /// Starts a host. It connects as soon as its servers let it.
    ///
    /// # Errors
    /// When the sandbox or the cache cannot be set up.
    pub fn start(options: StandaloneOptions) -> Result<Self, ServerError> {
        let engine = EngineOptions {
            cache_dir: Some(options.cache),
            ..engine_options(&options.host, options.secrets)
        };
        let engine = Arc::new(Engine::new(engine)?);
        let control = Handle::current();
        let links = options.servers.into_iter().map(|server| {
            let remote = RemoteOptions {
                server,
                name: options.name.clone(),
                concurrency: options.host.concurrency,
                pool: options.pool.clone(),
                workflows: options.workflows.clone(),
                observer: Arc::clone(&options.observer),
            };
            Arc::new(RemoteLink::start(remote, &control)) as Arc<dyn HostLink>
        });
        let links = links.collect();
        let threads = host_runtime(None).map_err(ServerError::Threads)?;
        let (draining, drained) = watch::channel(false);
        let serving = host::serve(links, engine, options.host, drained, control);
        let serving = threads.spawn(serving);
        Ok(Self { draining, threads, serving })
    }

    /// Stops: no new work is taken, task attempts that are under way may end within the time for
    /// that, everything is handed back.
    pub async fn shutdown(self) {
        self.draining.send_replace(true);
        if let Err(error) = self.serving.await {
            tracing::error!(%error, "the host broke off");
        }
        self.threads.shutdown_background();
    }
}
