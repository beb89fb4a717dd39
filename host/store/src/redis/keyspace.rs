//! Opening a namespace: it is made once, with a fixed number of shards, and says in which format it is.
//! One that this version does not know is refused, and nothing of it is changed.

use super::keys::{FORMAT, Index, Keys};
use super::link::Link;
use super::options::{DEFAULT_SHARDS, RedisOptions};
use super::scripts::{CREATE, EPOCH};
use crate::StoreError;
use futures::future::try_join_all;
use redis::{RedisResult, cmd, from_redis_value};
use std::collections::HashMap;

/// The keys of the namespace.
pub(super) async fn enter(link: &Link, options: &RedisOptions) -> Result<Keys, StoreError> {
    if let Some(keys) = read(link, options).await? {
        return Ok(keys);
    }
    let keys = Keys::new(&options.namespace, options.shards.unwrap_or(DEFAULT_SHARDS));
    create(link, options, &keys).await?;
    // Somebody else may have made it at the same time.
    let made = read(link, options).await?;
    made.ok_or_else(|| foreign(options, "what was written to it has vanished"))
}

/// Whether the namespace is there at this moment.
pub(super) async fn is_there(link: &Link, namespace: &str) -> RedisResult<bool> {
    let exists = cmd("EXISTS").arg(Keys::keyspace(namespace)).to_owned();
    Ok(from_redis_value(link.ask_once(&exists).await?)?)
}

/// A number that is larger each time, and larger than this one.
pub(super) async fn epoch(link: &Link, keys: &Keys, than: u64) -> Result<u64, StoreError> {
    let than = than.to_string();
    let epoch: String = link.run(&EPOCH, &[keys.meta("epoch")], &[than.as_bytes()]).await?;
    epoch.parse().map_err(|_| StoreError::corrupt(format!("the epoch is `{epoch}`")))
}

/// What is there, if it can be used.
async fn read(link: &Link, options: &RedisOptions) -> Result<Option<Keys>, StoreError> {
    let key = Keys::keyspace(&options.namespace);
    let kind: String = link.ask(cmd("TYPE").arg(&key)).await?;
    match kind.as_str() {
        "none" => return Ok(None),
        "hash" => {}
        other => return Err(foreign(options, &format!("the key {key} is a {other}"))),
    }
    let fields: HashMap<String, String> = link.ask(cmd("HGETALL").arg(&key)).await?;
    let number = |name: &str| fields.get(name).and_then(|text| text.parse::<u32>().ok());
    let Some(found) = number("format") else {
        return Err(foreign(options, &format!("the key {key} does not say its format")));
    };
    if found != FORMAT {
        let written_by = fields.get("written_by").cloned().unwrap_or_else(|| "?".into());
        return Err(StoreError::Format { found, known: FORMAT, written_by });
    }
    let shards = number("shards").and_then(|it| u16::try_from(it).ok()).filter(|it| *it > 0);
    let Some(shards) = shards else {
        return Err(foreign(options, &format!("the key {key} does not say its shards")));
    };
    if let Some(wanted) = options.shards.filter(|wanted| *wanted != shards) {
        return Err(foreign(
            options,
            &format!("it was made with {shards} shards, not {wanted}; they cannot be changed"),
        ));
    }
    let keys = Keys::new(&options.namespace, shards);
    if exists(link, &keys, Index::Made).await?.contains(&false) {
        return Err(foreign(options, "all data of some of its shards has vanished"));
    }
    Ok(Some(keys))
}

/// Which shards have this key.
async fn exists(link: &Link, keys: &Keys, what: Index) -> Result<Vec<bool>, StoreError> {
    let shards = (0..keys.shards)
        .map(async |shard| link.ask(cmd("EXISTS").arg(keys.index(shard, what))).await);
    try_join_all(shards).await
}

async fn create(link: &Link, options: &RedisOptions, keys: &Keys) -> Result<(), StoreError> {
    // Runs without the key that says what they are: half of the data has vanished, or somebody has
    // written here by hand. A store on top of that would be wrong for ever.
    if exists(link, keys, Index::Start).await?.contains(&true) {
        return Err(foreign(options, "there are runs, but not the key that says what they are"));
    }
    // The shards first: the namespace is there when all of them are.
    let made = (0..keys.shards).map(async |shard| {
        link.ask::<()>(cmd("SET").arg(keys.index(shard, Index::Made)).arg("1")).await
    });
    try_join_all(made).await?;
    let shards = keys.shards.to_string();
    let format = FORMAT.to_string();
    let fields = ["format", &format, "shards", &shards, "written_by", env!("CARGO_PKG_VERSION")];
    let fields = fields.map(str::as_bytes);
    let answer: Vec<String> =
        link.run(&CREATE, &[Keys::keyspace(&options.namespace)], &fields).await?;
    tracing::info!(store = %options, shards, ?answer, "made a keyspace");
    Ok(())
}

fn foreign(options: &RedisOptions, why: &str) -> StoreError {
    StoreError::Foreign { path: options.to_string().into(), why: why.to_owned() }
}
