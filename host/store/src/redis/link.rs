//! The connections to Redis: several, each shared by many requests, which come back by themselves.
//!
//! A request is tried again while Redis is away, starting, or electing a new master, until the
//! patience is over. That may repeat a request that was carried out and whose answer was lost:
//! whoever sends one that must not happen twice looks at [`Reply::unsure`].

use super::options::RedisOptions;
use super::scripts::Known;
use crate::StoreError;
use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::cluster::ClusterClient;
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo};
use redis::io::tcp::TcpSettings;
use redis::{
    Client, Cmd, ConnectionAddr, ErrorKind, FromRedisValue, IntoConnectionInfo,
    RedisConnectionInfo, RedisError, RedisResult, ServerErrorKind, TlsCertificates, Value,
    from_redis_value,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout_at};

/// The first and the longest pause between two attempts.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));

/// One connection, of which each request has a clone.
#[derive(Clone)]
enum Line {
    Single(ConnectionManager),
    Cluster(ClusterConnection),
}

impl Line {
    async fn send(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Single(line) => command.query_async(line).await,
            Self::Cluster(line) => command.query_async(line).await,
        }
    }

    async fn send_to_masters(&mut self, command: &Cmd) -> RedisResult<Value> {
        match self {
            Self::Single(line) => command.query_async(line).await,
            Self::Cluster(line) => {
                let masters = MultipleNodeRoutingInfo::AllMasters;
                let routing = RoutingInfo::MultiNode((masters, None));
                line.route_command(command.clone(), routing).await
            }
        }
    }
}

/// What came of a request.
pub(super) struct Reply {
    pub(super) result: RedisResult<Value>,
    /// An earlier attempt may have been carried out, or this one, if it failed.
    pub(super) unsure: bool,
}

pub(super) struct Link {
    lines: Vec<Line>,
    next: AtomicUsize,
    patience: Duration,
    cluster: bool,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("lines", &self.lines.len()).finish_non_exhaustive()
    }
}

impl Link {
    /// Connects. Fails at once when there is no Redis, so that a wrong address is soon seen.
    pub(super) async fn open(options: &RedisOptions) -> Result<Self, StoreError> {
        let unreached = |error: RedisError| {
            StoreError::Unavailable(format!("{options} cannot be reached: {}", words(&error)))
        };
        let mut lines = Vec::with_capacity(options.connections);
        if options.cluster {
            let client = cluster(options, certificates(options)?).map_err(unreached)?;
            for _ in 0..options.connections {
                let line = client.get_async_connection().await.map_err(unreached)?;
                lines.push(Line::Cluster(line));
            }
        } else {
            let client = clients(options)?.swap_remove(0);
            let config = ConnectionManagerConfig::new()
                .set_number_of_retries(0)
                .set_connection_timeout(Some(options.attempt))
                .set_response_timeout(Some(options.attempt));
            for _ in 0..options.connections {
                let line = ConnectionManager::new_with_config(client.clone(), config.clone());
                lines.push(Line::Single(line.await.map_err(unreached)?));
            }
        }
        let (next, patience) = (AtomicUsize::new(0), options.patience);
        Ok(Self { lines, next, patience, cluster: options.cluster })
    }

    fn line(&self) -> Line {
        let next = self.next.fetch_add(1, Ordering::Relaxed) % self.lines.len();
        self.lines[next].clone()
    }

    /// Sends what `command` makes, again when that may help. `command` is told whether the server
    /// needs the text of its script.
    async fn send(&self, command: impl Fn(bool) -> Cmd) -> Reply {
        let deadline = Instant::now() + self.patience;
        let (mut unsure, mut by_text, mut pause) = (false, false, PAUSES.0);
        let mut last: Option<RedisError> = None;
        loop {
            let mut line = self.line();
            let attempt = timeout_at(deadline, line.send(&command(by_text))).await;
            let error = match attempt {
                Ok(Ok(value)) => return Reply { result: Ok(value), unsure },
                Ok(Err(error)) => error,
                // Nobody knows how far the last attempt came.
                Err(_) => {
                    let result = Err(last.unwrap_or_else(timed_out));
                    return Reply { result, unsure: true };
                }
            };
            if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) && !by_text {
                by_text = true;
                continue;
            }
            unsure |= error.is_io_error() && !error.is_connection_refusal();
            if !passes(&error) || Instant::now() + pause >= deadline {
                return Reply { result: Err(error), unsure };
            }
            tracing::debug!(error = words(&error), "a request to Redis is tried again");
            last = Some(error);
            sleep(pause).await;
            pause = (pause * 2).min(PAUSES.1);
        }
    }

    /// Asks for something that does no harm when it is done twice.
    pub(super) async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        typed(self.send(|_| command.clone()).await.result)
    }

    /// Asks once, without patience.
    pub(super) async fn ask_once(&self, command: &Cmd) -> RedisResult<Value> {
        self.line().send(command).await
    }

    /// Asks all masters: their answers by their addresses. A single server has no address here.
    pub(super) async fn ask_masters(&self, command: &Cmd) -> RedisResult<Vec<(String, Value)>> {
        let answer = self.line().send_to_masters(command).await?;
        match answer {
            Value::Map(answers) if self.cluster => answers
                .into_iter()
                .map(|(node, answer)| Ok((from_redis_value(node)?, answer.extract_error()?)))
                .collect(),
            answer => Ok(vec![(String::new(), answer)]),
        }
    }

    /// Runs a script that does no harm when it is run twice.
    pub(super) async fn run<T: FromRedisValue>(
        &self,
        script: &Known,
        keys: &[String],
        args: &[&[u8]],
    ) -> Result<T, StoreError> {
        typed(self.run_once(script, keys, args).await.result)
    }

    /// Runs a script, and says whether it may have been run before.
    pub(super) async fn run_once(&self, script: &Known, keys: &[String], args: &[&[u8]]) -> Reply {
        self.send(|by_text| script.command(by_text, keys, args)).await
    }
}

/// Whether the cause of this error may go by itself.
fn passes(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, BusyLoading, ClusterDown, MasterDown, Moved, ReadOnly, TryAgain};
    match error.kind() {
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => true,
        ErrorKind::Server(kind) => matches!(
            kind,
            Ask | BusyLoading | ClusterDown | MasterDown | Moved | ReadOnly | TryAgain
        ),
        // Another script runs for long, or the master lacks replicas that may be back soon.
        _ => matches!(error.code(), Some("BUSY" | "NOREPLICAS")),
    }
}

/// An answer as what is expected of it.
pub(super) fn typed<T: FromRedisValue>(result: RedisResult<Value>) -> Result<T, StoreError> {
    let value = result.map_err(|error| unavailable(&error))?;
    from_redis_value(value)
        .map_err(|error| StoreError::corrupt(format!("Redis answered something else: {error}")))
}

pub(super) fn unavailable(error: &RedisError) -> StoreError {
    match error.code() {
        // There is a value of another type where ours should be.
        Some("WRONGTYPE") => StoreError::corrupt(format!("Redis says: {}", words(error))),
        _ => StoreError::Unavailable(format!("Redis: {}", words(error))),
    }
}

/// What Redis said, in one line.
pub(super) fn words(error: &RedisError) -> String {
    error.to_string().lines().collect::<Vec<_>>().join(" ")
}

fn timed_out() -> RedisError {
    std::io::Error::from(std::io::ErrorKind::TimedOut).into()
}

fn certificates(options: &RedisOptions) -> Result<TlsCertificates, StoreError> {
    if options.tls {
        // Fails when the process has chosen one already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).map_err(|error| {
            StoreError::BadUrl(format!("`ca_file` {} cannot be read: {error}", path.display()))
        })
    };
    let root_cert = options.ca_file.as_ref().map(read).transpose()?;
    Ok(TlsCertificates { client_tls: None, root_cert })
}

/// A client of each node.
pub(super) fn clients(options: &RedisOptions) -> Result<Vec<Client>, StoreError> {
    let certificates = certificates(options)?;
    let client = |info| match options.tls {
        true => Client::build_with_tls(info, certificates.clone()),
        false => Client::open(info),
    };
    let clients: RedisResult<Vec<_>> =
        nodes(options).and_then(|nodes| nodes.into_iter().map(client).collect());
    clients.map_err(|error| StoreError::BadUrl(words(&error)))
}

fn cluster(options: &RedisOptions, certificates: TlsCertificates) -> RedisResult<ClusterClient> {
    // No attempts of its own: those would repeat a commit without a word.
    let builder = ClusterClient::builder(nodes(options)?)
        .retries(0)
        .connection_timeout(options.attempt)
        .response_timeout(options.attempt)
        .overall_response_timeout(None);
    let builder = if options.tls {
        builder.tls(redis::cluster::TlsMode::Secure).certs(certificates)
    } else {
        builder
    };
    builder.build()
}

fn nodes(options: &RedisOptions) -> RedisResult<Vec<redis::ConnectionInfo>> {
    let mut settings = RedisConnectionInfo::default().set_db(options.database);
    if let Some(user) = &options.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &options.password {
        settings = settings.set_password(&password.0);
    }
    let node = |(host, port): &(String, u16)| {
        let (host, port) = (host.clone(), *port);
        let address = if options.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let tcp = tcp(options.attempt);
        Ok(address
            .into_connection_info()?
            .set_redis_settings(settings.clone())
            .set_tcp_settings(tcp))
    };
    options.nodes.iter().map(node).collect()
}

/// A connection whose other end has gone without a word is given up after a while.
fn tcp(attempt: Duration) -> TcpSettings {
    let settings = TcpSettings::default().set_nodelay(true);
    #[cfg(target_os = "linux")]
    let settings = settings.set_user_timeout(attempt * 2);
    #[cfg(not(target_os = "linux"))]
    let _ = attempt;
    settings
}
