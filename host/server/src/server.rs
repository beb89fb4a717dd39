//! Putting a server together, and taking it down without losing anything.
//!
//! Two runtimes share the work: the caller's serves HTTP and timers, the host's own activates
//! guests, so that a guest which computes for long keeps no client waiting.

use crate::api;
use crate::assembly::Assembly;
use crate::dispatch::{Dispatch, Introduction, Timing};
use crate::hearing::Hearing;
use crate::host::{self, HostOptions};
use crate::hub::Hub;
use crate::link::{HostLink, LinkParts, LocalLink};
use crate::retention::RetentionOptions;
use crate::service::{SelfCheckOptions, Service, ServiceOptions};
use crate::shards::Claims;
use everstep_engine::{Engine, EngineError, EngineOptions, Secrets};
use everstep_store::{Embedded, EmbeddedOptions, Redis, RedisOptions, Store, StoreError};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

/// How a server is set up.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Where to listen for HTTP; port 0 takes any free one.
    pub listen: SocketAddr,
    /// A folder of the server's own: with everything in it, or with compiled modules when the store is
    /// elsewhere.
    pub data: PathBuf,
    /// The store, when it is not the folder.
    pub redis: Option<RedisOptions>,
    /// Where other servers on the store reach this one, when that is not where it listens.
    pub advertise: Option<String>,
    /// The host in this process; none to leave the work to others.
    pub host: Option<HostOptions>,
    /// The bounds of requests and runs.
    pub service: ServiceOptions,
    /// How long leases last and how often they are renewed.
    pub timing: Timing,
    /// How long runs are kept after their end.
    pub retention: RetentionOptions,
    /// What tasks may ask for by name, if their module's grants say so.
    pub secrets: Secrets,
    /// How often a finished run is executed again and compared.
    pub self_check: SelfCheckOptions,
    /// Threads of the host; none for one per processor.
    pub host_threads: Option<usize>,
}

impl ServerOptions {
    /// The defaults, with everything in this directory.
    #[must_use]
    pub fn new(listen: SocketAddr, data: PathBuf) -> Self {
        Self {
            listen,
            data,
            redis: None,
            advertise: None,
            host: Some(HostOptions::default()),
            service: ServiceOptions::default(),
            timing: Timing::default(),
            retention: RetentionOptions::default(),
            secrets: Secrets::default(),
            self_check: SelfCheckOptions::default(),
            host_threads: None,
        }
    }
}

/// Why a server did not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The data cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sandbox cannot be set up.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// Threads cannot be started.
    #[error("cannot start the host's threads: {0}")]
    Threads(std::io::Error),
}

impl ServerError {
    /// A stable dotted word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Engine(_) => "engine.setup",
            Self::Listen { .. } => "server.listen",
            Self::Threads(_) => "server.threads",
        }
    }
}

/// How long clients may take to finish their requests when the server goes down.
const GOODBYE: Duration = Duration::from_secs(3);
/// Instances beside those of runs: for modules that are asked what they contain.
const SPARE_INSTANCES: usize = 8;
/// A running server.
pub struct Server {
    address: SocketAddr,
    store: Arc<dyn Store>,
    service: Arc<Service>,
    dispatch: Arc<Dispatch>,
    hub: Arc<Hub>,
    draining: watch::Sender<bool>,
    http: JoinHandle<()>,
    background: Vec<JoinHandle<()>>,
    host: Option<(Runtime, JoinHandle<()>)>,
    /// Keeps this server's part of a shared store, and how to give it up.
    claims: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

/// Opens the store, and a dispatcher that owns nothing yet if others may have the store open as well.
async fn open(options: &ServerOptions) -> Result<(Arc<dyn Store>, Dispatch), StoreError> {
    let Some(redis) = &options.redis else {
        let store = Arc::new(Embedded::open(EmbeddedOptions { path: options.data.clone() })?);
        let dispatch = Dispatch::alone(options.timing, store.epoch());
        return Ok((store, dispatch));
    };
    let store = Arc::new(Redis::open(redis).await?);
    for warning in store.warnings() {
        tracing::warn!(code = warning.code, "{}", warning.message);
    }
    let of = Arc::clone(&store);
    Ok((store, Dispatch::new(options.timing, move |run| of.shard_of(run))))
}

/// Where other servers reach this one.
fn advertised(options: &ServerOptions, address: SocketAddr) -> String {
    let anywhere = || {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = if name.trim().is_empty() { "localhost" } else { name.trim() };
        format!("http://{name}:{}", address.port())
    };
    match &options.advertise {
        Some(url) => url.clone(),
        None if address.ip().is_unspecified() => anywhere(),
        None => format!("http://{address}"),
    }
}

async fn keep_claims(mut claims: Claims, released: oneshot::Receiver<()>) {
    tokio::select! {
        () = claims.keep() => {}
        _ = released => {}
    }
    claims.release().await;
}

impl Server {
    /// Opens the store, goes on with every open run, and listens.
    ///
    /// # Errors
    /// When the data directory is in use or unreadable, or the address is taken.
    pub async fn start(options: ServerOptions) -> Result<Self, ServerError> {
        let listen = options.listen;
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|error| ServerError::Listen { address: listen, error })?;
        let address = listener
            .local_addr()
            .map_err(|error| ServerError::Listen { address: listen, error })?;
        let url = advertised(&options, address);
        let (store, dispatch) = open(&options).await?;
        let most = usize::try_from(options.service.module_bytes_max).unwrap_or(usize::MAX);
        let engine = Arc::new(Engine::new(EngineOptions {
            cache_dir: Some(options.data.join("modules")),
            limits: options.service.limits,
            module_bytes_max: most,
            ..engine_options(&options.host.clone().unwrap_or_default(), options.secrets.clone())
        })?);
        let (service, dispatch) = (options.service.clone(), Arc::new(dispatch));
        let assembly =
            Assembly::new(Arc::clone(&store), dispatch, Arc::clone(&engine), service).await?;
        let (links, hub) = (assembly.links().clone(), Arc::clone(assembly.hub()));
        let (draining, drained) = watch::channel(false);
        let host = match options.host {
            Some(bounds) => {
                let link: Vec<Arc<dyn HostLink>> = vec![Arc::new(here(&links, bounds.concurrency))];
                let threads = host_runtime(options.host_threads).map_err(ServerError::Threads)?;
                let control = tokio::runtime::Handle::current();
                let serving =
                    threads.spawn(host::serve(link, engine, bounds, drained.clone(), control));
                Some((threads, serving))
            }
            None => None,
        };
        let mut background = assembly.serve(options.retention, options.self_check);
        let LinkParts { service, dispatch, timers, .. } = links.clone();
        let mut claims = None;
        if store.ownership().is_shared() {
            let bell = Arc::new(Notify::new());
            let hearing = Hearing {
                store: Arc::clone(&store),
                committer: Arc::clone(&links.committer),
                dispatch: Arc::clone(&dispatch),
                hub: Arc::clone(&hub),
                service: Arc::clone(&service),
                bell: Arc::clone(&bell),
            };
            background.push(tokio::spawn(hearing.serve()));
            let (store, dispatch) = (Arc::clone(&store), Arc::clone(&dispatch));
            let joined = Claims::join(store, dispatch, timers, url, bell).await?;
            let (release, released) = oneshot::channel();
            claims = Some((release, tokio::spawn(keep_claims(joined, released))));
        }
        let http = tokio::spawn(serve_http(listener, links, drained));
        Ok(Self {
            address,
            store,
            service,
            dispatch,
            hub,
            draining,
            http,
            background,
            host,
            claims,
        })
    }

    /// Where the server listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What users can ask for, for callers in the same process.
    #[must_use]
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Tells when something was committed, for callers in the same process.
    #[must_use]
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }

    /// The store, for callers in the same process that measure it.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Stops: no new work is begun, what is under way ends or is handed back, waiting clients get
    /// an answer, the store is closed.
    pub async fn shutdown(self) {
        self.draining.send_replace(true);
        self.dispatch.drain();
        let abort = self.http.abort_handle();
        if tokio::time::timeout(GOODBYE, self.http).await.is_err() {
            abort.abort();
        }
        for task in self.background {
            task.abort();
        }
        if let Some((threads, serving)) = self.host {
            if let Err(error) = serving.await {
                tracing::error!(%error, "the host broke off");
            }
            threads.shutdown_background();
        }
        if let Some((release, keeping)) = self.claims
            && release.send(()).is_ok()
            && keeping.await.is_err()
        {
            tracing::warn!("the claims on the store were not given up; they run out");
        }
        self.store.close().await;
    }
}

/// The link of the host in this process.
fn here(links: &LinkParts, concurrency: usize) -> LocalLink {
    let introduction =
        Introduction { name: "server".into(), concurrency, ..Introduction::default() };
    let joined = links.dispatch.join(introduction, &[]);
    LocalLink::new(links.clone(), joined.seat)
}

/// The engine of a host with these bounds.
pub(crate) fn engine_options(host: &HostOptions, secrets: Secrets) -> EngineOptions {
    let count = |instances: usize| u32::try_from(instances).unwrap_or(u32::MAX);
    EngineOptions {
        max_instances: count(host.concurrency + host.warm_instances + SPARE_INSTANCES),
        max_tasks: count(host.task_concurrency),
        secrets,
        ..EngineOptions::default()
    }
}

pub(crate) fn host_runtime(threads: Option<usize>) -> std::io::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        builder.worker_threads(threads.max(1));
    }
    // Guests compute between two looks at timers and sockets: look more often than usual.
    builder.thread_name("everstep-host").event_interval(8).enable_all().build()
}

async fn serve_http(listener: TcpListener, links: LinkParts, drained: watch::Receiver<bool>) {
    let router = api::router(links, drained.clone());
    let router = router.into_make_service_with_connect_info::<SocketAddr>();
    let mut until = drained;
    let stop = async move {
        // An error means that the server is gone, which ends the wait just as well.
        let _ = until.wait_for(|draining| *draining).await;
    };
    if let Err(error) = axum::serve(listener, router).with_graceful_shutdown(stop).await {
        tracing::error!(%error, "HTTP is no longer served");
    }
}
