//! The client itself: one address, one pool of connections, and the way from an HTTP answer to a
//! value or a [`ClientError`]. `modules.rs`, `runs.rs`, `wait.rs` and `follow.rs` add the calls.

use crate::backoff::Backoff;
use crate::error::{ClientError, root_cause};
use everstep_core::api::Problem;
use reqwest::{Method, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long an ordinary call waits for its answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Finds peers that vanished without closing the connection, under a stream that has no time limit.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// What happens to the connection while a call waits.
#[derive(Debug, Clone, Copy)]
pub enum Notice<'a> {
    /// The server went away; it is tried again for so long.
    Lost(&'a ClientError, Duration),
    /// It is there again.
    Back,
}

type Observer = Arc<dyn Fn(Notice<'_>) + Send + Sync>;

/// A client of one server. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Arc<str>,
    /// Whether a connection to the server has ever come about.
    reached: Arc<AtomicBool>,
    reconnect_within: Duration,
    observer: Observer,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("base", &self.base).finish_non_exhaustive()
    }
}

impl Client {
    /// A client of the server at this address, such as `http://127.0.0.1:9090`. Connects nowhere
    /// yet.
    ///
    /// # Errors
    /// [`ClientError::Address`] when it is not an `http` address.
    pub fn new(address: &str) -> Result<Self, ClientError> {
        let wrong = |reason: &str| ClientError::Address {
            address: address.to_owned(),
            reason: reason.to_owned(),
        };
        let base = address.trim_end_matches('/');
        let url = reqwest::Url::parse(base).map_err(|e| wrong(&e.to_string()))?;
        match url.scheme() {
            "http" if url.host_str().is_some() && url.query().is_none() => {}
            "http" => return Err(wrong("it has no host, or has a query")),
            "https" => return Err(wrong("this client speaks plain http only")),
            _ => return Err(wrong("it does not begin with http://")),
        }
        let http = reqwest::Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(KEEPALIVE)
            .no_proxy()
            .user_agent(concat!("everstep-client/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| wrong(&root_cause(&e)))?;
        Ok(Self {
            http,
            base: base.into(),
            reached: Arc::default(),
            reconnect_within: Duration::from_secs(30),
            observer: Arc::new(|_| {}),
        })
    }

    /// How long waits and streams try to reach a server that went away (30 s unless said
    /// otherwise), and who is told about it. A server that was never there is taken for a wrong
    /// address and not waited for.
    #[must_use]
    pub fn reconnecting_within(
        mut self,
        limit: Duration,
        observer: impl Fn(Notice<'_>) + Send + Sync + 'static,
    ) -> Self {
        self.reconnect_within = limit;
        self.observer = Arc::new(observer);
        self
    }

    /// The server's address, without a slash at its end.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.base
    }

    /// Asks whether the server's process is alive.
    ///
    /// # Errors
    /// When it is not.
    pub async fn healthy(&self) -> Result<(), ClientError> {
        self.send(self.get("/healthz"), CALL_TIMEOUT).await.map(drop)
    }

    /// Asks whether the server takes requests.
    ///
    /// # Errors
    /// When it does not, or not yet.
    pub async fn ready(&self) -> Result<(), ClientError> {
        self.send(self.get("/readyz"), CALL_TIMEOUT).await.map(drop)
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.request(Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.request(Method::POST, path)
    }

    pub(crate) fn delete(&self, path: &str) -> RequestBuilder {
        self.request(Method::DELETE, path)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Sends a request and reads its JSON answer.
    pub(crate) async fn json<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
    ) -> Result<T, ClientError> {
        self.json_within(request, CALL_TIMEOUT).await
    }

    pub(crate) async fn json_within<T: DeserializeOwned>(
        &self,
        request: RequestBuilder,
        limit: Duration,
    ) -> Result<T, ClientError> {
        let bytes = self.bytes_within(request, limit).await?;
        serde_json::from_slice(&bytes).map_err(|e| self.protocol(&e))
    }

    pub(crate) async fn bytes_within(
        &self,
        request: RequestBuilder,
        limit: Duration,
    ) -> Result<Vec<u8>, ClientError> {
        let response = self.send(request, limit).await?;
        let bytes = response.bytes().await.map_err(|e| self.broken(&e, limit))?;
        Ok(bytes.into())
    }

    /// Sends a request that has to be answered completely within `limit`.
    pub(crate) async fn send(
        &self,
        request: RequestBuilder,
        limit: Duration,
    ) -> Result<Response, ClientError> {
        let sent = request.timeout(limit).send().await;
        self.accept(sent.map_err(|e| self.broken(&e, limit))?, limit).await
    }

    /// Sends a request whose answer is a stream without an end.
    pub(crate) async fn open(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let sent = request.send().await;
        self.accept(sent.map_err(|e| self.broken(&e, CONNECT_TIMEOUT))?, CALL_TIMEOUT).await
    }

    async fn accept(&self, response: Response, limit: Duration) -> Result<Response, ClientError> {
        self.reached.store(true, Ordering::Relaxed);
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let body = response.bytes().await.map_err(|e| self.broken(&e, limit))?;
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) => Err(ClientError::Problem(Box::new(problem))),
            // A proxy or a server that is just going down; the same as one that is not there.
            Err(_) if matches!(status.as_u16(), 502..=504) => Err(ClientError::Unreachable {
                url: self.base.to_string(),
                reason: status.to_string(),
            }),
            Err(_) => Err(self.protocol(&format!("status {status} without a description"))),
        }
    }

    fn broken(&self, error: &reqwest::Error, limit: Duration) -> ClientError {
        let url = self.base.to_string();
        if error.is_request() && !error.is_connect() {
            // It broke on the way, so there was somebody to talk to.
            self.reached.store(true, Ordering::Relaxed);
        }
        if error.is_timeout() && !error.is_connect() {
            ClientError::Timeout { url, after: limit }
        } else if error.is_builder() || error.is_redirect() {
            ClientError::Protocol { url, reason: root_cause(error) }
        } else {
            ClientError::Unreachable { url, reason: root_cause(error) }
        }
    }

    /// The error of a stream that broke off.
    pub(crate) fn broken_off(&self, error: &reqwest::Error) -> ClientError {
        self.broken(error, CALL_TIMEOUT)
    }

    pub(crate) fn protocol(&self, reason: &impl fmt::Display) -> ClientError {
        ClientError::Protocol { url: self.base.to_string(), reason: reason.to_string() }
    }
}

/// The outage that a waiting call is in, if it is in one.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    backoff: Option<Backoff>,
}

impl Client {
    /// Takes an error of a call that may be repeated, and waits until it is time to do so.
    ///
    /// # Errors
    /// The error itself when repeating is pointless, or has been tried for long enough.
    pub(crate) async fn ride_out(
        &self,
        outage: &mut Outage,
        error: ClientError,
    ) -> Result<(), ClientError> {
        if !error.is_transient() || !self.reached.load(Ordering::Relaxed) {
            return Err(error);
        }
        let backoff = outage.backoff.get_or_insert_with(|| {
            (self.observer)(Notice::Lost(&error, self.reconnect_within));
            Backoff::within(self.reconnect_within)
        });
        let delay = backoff.next_delay().ok_or(error)?;
        tokio::time::sleep(delay).await;
        Ok(())
    }

    /// Notes that the server answers.
    pub(crate) fn recovered(&self, outage: &mut Outage) {
        if outage.backoff.take().is_some() {
            (self.observer)(Notice::Back);
        }
    }
}
