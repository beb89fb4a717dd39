//! What a Redis promises, looked at when the store is opened: servers that would lose data by design
//! are refused, and what else may be lost is said in plain words.

use super::link::{Link, words};
use crate::StoreError;
use redis::{ErrorKind, RedisError, Value, cmd, from_redis_value};
use std::collections::HashMap;

/// The oldest version with all that is used.
const OLDEST: (u32, u32) = (7, 0);

const SETTINGS: [&str; 5] =
    ["appendonly", "appendfsync", "maxmemory-policy", "save", "min-replicas-to-write"];

/// Something that whoever runs the server should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreWarning {
    /// A stable dotted word.
    pub code: &'static str,
    /// What may happen, and what to do about it.
    pub message: String,
}

/// What a server says of itself. Empty fields are not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// From `INFO`, or at least from `HELLO`.
    pub(super) info: HashMap<String, String>,
    /// From `CONFIG GET`; none when it is forbidden.
    pub(super) settings: Option<HashMap<String, String>>,
}

/// Looks at every master.
pub(super) async fn check(link: &Link, cluster: bool) -> Result<Vec<StoreWarning>, StoreError> {
    let mut warnings: Vec<StoreWarning> = Vec::new();
    for (node, facts) in facts(link).await? {
        for warning in judge(&facts, cluster)? {
            if warnings.iter().all(|known| known.code != warning.code) {
                if !node.is_empty() {
                    tracing::debug!(node, code = warning.code, "the first node with this warning");
                }
                warnings.push(warning);
            }
        }
    }
    Ok(warnings)
}

async fn facts(link: &Link) -> Result<HashMap<String, Facts>, StoreError> {
    let mut nodes: HashMap<String, Facts> = HashMap::new();
    match link.ask_masters(&cmd("INFO")).await {
        Ok(answers) => {
            for (node, answer) in answers {
                let text: String = read(answer)?;
                nodes.entry(node).or_default().info = info(&text);
            }
        }
        Err(error) => {
            forbidden(&error)?;
            for (node, answer) in link.ask_masters(&cmd("HELLO")).await.map_err(unreadable)? {
                nodes.entry(node).or_default().info = hello(answer);
            }
        }
    }
    let mut get = cmd("CONFIG");
    get.arg("GET").arg(&SETTINGS);
    match link.ask_masters(&get).await {
        Ok(answers) => {
            for (node, answer) in answers {
                nodes.entry(node).or_default().settings = Some(read(answer)?);
            }
        }
        Err(error) => forbidden(&error)?,
    }
    Ok(nodes)
}

/// Refuses what cannot be used; says what may be lost.
pub(super) fn judge(facts: &Facts, cluster: bool) -> Result<Vec<StoreWarning>, StoreError> {
    let info = |name: &str| facts.info.get(name).map(String::as_str);
    let setting = |name: &str| facts.settings.as_ref()?.get(name).map(String::as_str);
    refuse_unfit(facts, cluster)?;
    let mut warnings = Vec::new();
    let mut warn = |code, message: &str| {
        warnings.push(StoreWarning { code, message: message.to_owned() });
    };
    let aof = setting("appendonly").or(match info("aof_enabled") {
        Some("1") => Some("yes"),
        Some(_) => Some("no"),
        None => None,
    });
    match (aof, setting("appendfsync"), setting("save")) {
        (Some("no"), _, Some("")) => warn(
            "redis.keeps_nothing",
            "Redis writes nothing to disk (appendonly no, no snapshots): everything is lost when it \
             stops; set `appendonly yes` and `appendfsync always`",
        ),
        (Some("no"), ..) => warn(
            "redis.no_append_log",
            "Redis has no append-only file (appendonly no): all that was answered since its last \
             snapshot is lost when it stops; set `appendonly yes` and `appendfsync always`",
        ),
        (Some("yes"), Some("everysec"), _) => warn(
            "redis.every_second",
            "Redis brings data to disk once per second (appendfsync everysec): about the last two \
             seconds of what was answered are lost in a crash; set `appendfsync always` to lose none",
        ),
        (Some("yes"), Some("no"), _) => warn(
            "redis.never_synced",
            "Redis leaves it to the system when data reaches the disk (appendfsync no): half a \
             minute of what was answered may be lost in a crash; set `appendfsync always`",
        ),
        _ => {}
    }
    if facts.settings.is_none() {
        let unknown = match (aof, info("maxmemory_policy")) {
            (Some(_), Some(_)) => {
                "when data reaches the disk (appendfsync), and whether there are \
                                   snapshots (save)"
            }
            (Some(_), None) => {
                "when data reaches the disk (appendfsync), and whether Redis throws \
                                data away when memory is full (maxmemory-policy)"
            }
            (None, _) => {
                "whether anything reaches the disk (appendonly, appendfsync, save), and \
                          whether Redis throws data away when memory is full (maxmemory-policy)"
            }
        };
        let message = format!(
            "the user may not read the configuration of Redis, so it is not known {unknown}; allow \
             `+info +config|get`, or look yourself"
        );
        warn("redis.hidden_settings", &message);
    }
    let replicas = info("connected_slaves").and_then(|it| it.parse::<u32>().ok()).unwrap_or(0);
    if replicas > 0 && setting("min-replicas-to-write").is_none_or(|it| it == "0") {
        warn(
            "redis.unguarded_failover",
            "Redis answers before its replicas have the data: what was answered last is lost when a \
             replica takes over; set `min-replicas-to-write 1` and a small `min-replicas-max-lag` to \
             bound that",
        );
    }
    Ok(warnings)
}

fn refuse_unfit(facts: &Facts, cluster: bool) -> Result<(), StoreError> {
    let info = |name: &str| facts.info.get(name).map(String::as_str);
    let unfit = |what: String| Err(StoreError::Unfit(what));
    let version = info("redis_version").unwrap_or("?");
    let mut numbers = version.split('.').map_while(|number| number.parse::<u32>().ok());
    let (major, minor) = (numbers.next(), numbers.next().unwrap_or(0));
    if major.is_none_or(|major| (major, minor) < OLDEST) {
        let (major, minor) = OLDEST;
        return unfit(format!(
            "it is of version {version}, and Everstep needs {major}.{minor} or newer"
        ));
    }
    if !cluster && info("redis_mode") == Some("cluster") {
        return unfit("it is a node of a cluster: use `redis+cluster://`".into());
    }
    if matches!(info("role"), Some("slave" | "replica")) {
        return unfit(
            "it is a replica, which can only be read: use the address of its master".into(),
        );
    }
    let policy = facts.settings.as_ref().and_then(|it| it.get("maxmemory-policy"));
    let policy = policy.or_else(|| facts.info.get("maxmemory_policy"));
    // What is called volatile takes only keys with an expiry, of which a store has none.
    if let Some(policy) = policy.filter(|it| it.starts_with("allkeys")) {
        return unfit(format!(
            "it throws runs away when its memory is full (maxmemory-policy {policy}): set \
             `maxmemory-policy noeviction`"
        ));
    }
    Ok(())
}

fn info(text: &str) -> HashMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.trim_end().split_once(':'));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The same names as in `INFO`, as far as `HELLO` knows them.
fn hello(answer: Value) -> HashMap<String, String> {
    let pairs: HashMap<String, Value> = from_redis_value(answer).unwrap_or_default();
    let names = [("version", "redis_version"), ("mode", "redis_mode"), ("role", "role")];
    let known = |(from, to): (&str, &str)| {
        let value: String = from_redis_value(pairs.get(from)?.clone()).ok()?;
        Some((to.to_owned(), value))
    };
    names.into_iter().filter_map(known).collect()
}

fn read<T: redis::FromRedisValue>(answer: Value) -> Result<T, StoreError> {
    from_redis_value(answer).map_err(|error| StoreError::Unavailable(error.to_string()))
}

/// An answer of the server is not to be had; anything else is an error.
fn forbidden(error: &RedisError) -> Result<(), StoreError> {
    match error.kind() {
        ErrorKind::Server(_) | ErrorKind::Extension => Ok(()),
        _ => Err(super::link::unavailable(error)),
    }
}

fn unreadable(error: RedisError) -> StoreError {
    StoreError::Unavailable(format!("Redis does not say what it is: {}", words(&error)))
}
