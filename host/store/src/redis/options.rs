//! Where the Redis is, and how to speak to it: read from one URL, so that every program which takes a
//! store takes this one as well. The password is kept from everything that prints.

use super::password::Password;
use crate::StoreError;
use percent_encoding::percent_decode_str;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// The environment variable with the password, when the URL has none.
pub const PASSWORD_VARIABLE: &str = "EVERSTEP_REDIS_PASSWORD";

/// Shards of a keyspace that is made without saying how many.
pub(super) const DEFAULT_SHARDS: u16 = 64;

const MAX_SHARDS: u16 = 4_096;
const MAX_CONNECTIONS: usize = 64;

/// How to reach a Redis, and what of it is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisOptions {
    /// Host and port; of a cluster some of its nodes, from which the others are learnt.
    pub nodes: Vec<(String, u16)>,
    /// Whether it is a Redis Cluster.
    pub cluster: bool,
    /// Whether to speak TLS.
    pub tls: bool,
    /// A file with the certificates (PEM) that a server's must be signed by; none: the system's.
    pub ca_file: Option<PathBuf>,
    /// The user of Redis' access control lists; none is `default`.
    pub user: Option<String>,
    /// The password, if one is needed.
    pub password: Option<Password>,
    /// The number of the database; 0 in a cluster.
    pub database: i64,
    /// Several installations can share a Redis when each has a namespace of its own.
    pub namespace: String,
    /// Shards of a keyspace that is made now. One that is there must have as many, if given.
    pub shards: Option<u16>,
    /// Connections; each carries many requests at a time.
    pub connections: usize,
    /// How long one attempt of a request may take.
    pub attempt: Duration,
    /// How long to try again while Redis is away or starting, before a request fails.
    pub patience: Duration,
}

impl RedisOptions {
    /// Reads a URL: `redis://[user[:password]@]host[:port][/database]`, `rediss://…` for TLS,
    /// `redis+cluster://host:port,host:port`, `rediss+cluster://…`. Behind a `?`:
    /// `namespace`, `shards`, `connections`, `attempt_ms`, `patience_ms`, `ca_file`, `password_file`.
    /// A password that the URL does not say is taken from the file, else from
    /// `EVERSTEP_REDIS_PASSWORD`.
    ///
    /// # Errors
    /// `BadUrl` says what is wrong; it never repeats a password.
    pub fn from_url(url: &str) -> Result<Self, StoreError> {
        Self::read(url, std::env::var(PASSWORD_VARIABLE).ok())
    }

    /// The same, with the password of the environment.
    pub(super) fn read(url: &str, password: Option<String>) -> Result<Self, StoreError> {
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| bad("it does not begin with `redis://`"))?;
        let (tls, cluster) = match scheme {
            "redis" => (false, false),
            "rediss" => (true, false),
            "redis+cluster" => (false, true),
            "rediss+cluster" => (true, true),
            _ => {
                return Err(bad("it begins with none of `redis://`, `rediss://`, \
                                 `redis+cluster://` and `rediss+cluster://`"));
            }
        };
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        // A password may hold a slash that nobody encoded; a host and a database never hold an `@`.
        let (user_info, place) =
            place.rsplit_once('@').map_or((None, place), |(user, place)| (Some(user), place));
        let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
        let nodes: Vec<_> = hosts.split(',').map(node).collect::<Result<_, _>>()?;
        if nodes.len() > 1 && !cluster {
            return Err(bad("it has several hosts, which only `redis+cluster://` takes"));
        }
        let mut options = Self {
            nodes,
            cluster,
            tls,
            ca_file: None,
            user: None,
            password: None,
            database: number(database, "the database behind the `/`", 0)?,
            namespace: "default".into(),
            shards: None,
            connections: 4,
            attempt: Duration::from_secs(5),
            patience: Duration::from_secs(20),
        };
        if cluster && options.database != 0 {
            return Err(bad("a cluster has only database 0"));
        }
        if let Some(user_info) = user_info {
            let (user, password) = user_info.split_once(':').unwrap_or((user_info, ""));
            options.user = Some(decoded(user)?).filter(|user| !user.is_empty());
            options.password = Some(decoded(password)?).filter(|it| !it.is_empty()).map(Password);
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            options.set(pair)?;
        }
        if options.password.is_none() {
            options.password = password.filter(|it| !it.is_empty()).map(Password);
        }
        Ok(options)
    }

    fn set(&mut self, pair: &str) -> Result<(), StoreError> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = decoded(value)?;
        match name {
            "namespace" => self.namespace = namespace(value)?,
            "shards" => self.shards = Some(within(&value, "shards", MAX_SHARDS)?),
            "connections" => self.connections = within(&value, "connections", MAX_CONNECTIONS)?,
            "attempt_ms" => {
                self.attempt = Duration::from_millis(within(&value, "attempt_ms", 600_000)?);
            }
            "patience_ms" => {
                self.patience = Duration::from_millis(within(&value, "patience_ms", 600_000)?);
            }
            "ca_file" if self.tls => self.ca_file = Some(value.into()),
            "ca_file" => return Err(bad("`ca_file` is for `rediss://` and `rediss+cluster://`")),
            "password_file" if self.password.is_some() => {
                return Err(bad("it has a password and a `password_file`"));
            }
            "password_file" => self.password = Some(Password::of_file(&value)?),
            _ => {
                return Err(bad(&format!(
                    "`{name}` is none of namespace, shards, connections, attempt_ms, patience_ms, \
                     ca_file, password_file"
                )));
            }
        }
        Ok(())
    }
}

/// The address without user and password.
impl fmt::Display for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = if self.tls { "s" } else { "" };
        let cluster = if self.cluster { "+cluster" } else { "" };
        let nodes: Vec<_> =
            self.nodes.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        write!(f, "redis{s}{cluster}://{}", nodes.join(","))?;
        if self.database != 0 {
            write!(f, "/{}", self.database)?;
        }
        write!(f, "?namespace={}", self.namespace)
    }
}

fn node(text: &str) -> Result<(String, u16), StoreError> {
    let wrong = |what: &str| bad(&format!("`{text}` {what}"));
    let (host, port) = match text.strip_prefix('[') {
        // An IPv6 address.
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or_else(|| wrong("lacks a `]`"))?;
            (host, port.strip_prefix(':').unwrap_or(port))
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    if host.is_empty() {
        return Err(wrong("is no host"));
    }
    let port = if port.is_empty() { Some(6_379) } else { port.parse().ok().filter(|it| *it > 0) };
    Ok((host.to_owned(), port.ok_or_else(|| wrong("has no port between 1 and 65535"))?))
}

fn namespace(name: String) -> Result<String, StoreError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > 64 || !name.chars().all(allowed) {
        return Err(bad("a namespace is 1 to 64 of the letters a-z, A-Z, 0-9, `.`, `_` and `-`"));
    }
    Ok(name)
}

fn decoded(text: &str) -> Result<String, StoreError> {
    let decoded = percent_decode_str(text).decode_utf8();
    Ok(decoded.map_err(|_| bad("what follows a `%` in it is not UTF-8"))?.into_owned())
}

fn number<T: std::str::FromStr>(text: &str, what: &str, default: T) -> Result<T, StoreError> {
    if text.is_empty() {
        return Ok(default);
    }
    text.parse().map_err(|_| bad(&format!("{what} is not a number")))
}

fn within<T>(text: &str, what: &str, most: T) -> Result<T, StoreError>
where
    T: std::str::FromStr + PartialOrd + From<u8> + fmt::Display,
{
    let number = text.parse().ok().filter(|it| *it >= T::from(1) && *it <= most);
    number.ok_or_else(|| bad(&format!("`{what}` is a number from 1 to {most}")))
}

fn bad(why: &str) -> StoreError {
    StoreError::BadUrl(why.to_owned())
}
