//! The namespace: made once, known by its format, refused untouched when it is something else.

use super::server::Server;
use crate::contract::{first, run_id};
use crate::{Redis, RedisOptions, Shards, Store, StoreError};
use redis::Value;

async fn refused_untouched(server: &Server, options: &RedisOptions) -> StoreError {
    let size = server.ask(&["DBSIZE"]).await;
    let dump = server.ask(&["DUMP", "es:default:{meta}"]).await;
    let refused = Redis::open(options).await.unwrap_err();
    assert_eq!(server.ask(&["DBSIZE"]).await, size);
    assert_eq!(server.ask(&["DUMP", "es:default:{meta}"]).await, dump);
    refused
}

#[tokio::test]
async fn what_was_written_is_there_after_opening_again() {
    let server = Server::start(&[]).await;
    let before = Redis::open(&server.options()).await.unwrap();
    before.commit(first(1)).await.unwrap();
    let after = Redis::open(&server.options()).await.unwrap();
    assert!(after.epoch() > before.epoch());
    assert!(after.epoch() < 1 << 24, "tokens have 24 bits for it");
    assert_eq!(after.record(run_id(1)).await.unwrap(), Some(first(1).record));
    assert_eq!(after.commit(first(1)).await, Err(StoreError::AlreadyExists));
}

#[tokio::test]
async fn an_epoch_grows_when_the_last_one_is_forgotten() {
    let server = Server::start(&[]).await;
    let epoch = Redis::open(&server.options()).await.unwrap().epoch();
    server.ask(&["DEL", "es1:default:{meta}:epoch"]).await;
    assert!(Redis::open(&server.options()).await.unwrap().epoch() >= epoch);
    server.ask(&["SET", "es1:default:{meta}:epoch", "16000000"]).await;
    assert_eq!(Redis::open(&server.options()).await.unwrap().epoch(), 16_000_001);
}

#[tokio::test]
async fn shards_are_fixed_when_a_namespace_is_made() {
    let server = Server::start(&[]).await;
    let small = RedisOptions { shards: Some(2), ..server.options() };
    Redis::open(&small).await.unwrap().commit(first(1)).await.unwrap();
    let found = Redis::open(&server.options()).await.unwrap();
    assert_eq!(found.record(run_id(1)).await.unwrap(), Some(first(1).record));
    let other = RedisOptions { shards: Some(3), ..server.options() };
    let refused = refused_untouched(&server, &other).await;
    assert_eq!(refused.code(), "store.foreign");
    assert!(refused.to_string().contains("2 shards, not 3"), "{refused}");
}

#[tokio::test]
async fn namespaces_do_not_see_each_other() {
    let server = Server::start(&[]).await;
    let other = RedisOptions { namespace: "other".into(), ..server.options() };
    let (one, other) =
        (Redis::open(&server.options()).await.unwrap(), Redis::open(&other).await.unwrap());
    one.commit(first(1)).await.unwrap();
    assert_eq!(other.record(run_id(1)).await.unwrap(), None);
    other.commit(first(1)).await.unwrap();
    assert_eq!(one.ready(&Shards::all(), None, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn another_format_is_refused_untouched() {
    let server = Server::start(&[]).await;
    Redis::open(&server.options()).await.unwrap();
    server.ask(&["HSET", "es:default:{meta}", "format", "2", "written_by", "9.9.9"]).await;
    let refused = refused_untouched(&server, &server.options()).await;
    assert_eq!(refused, StoreError::Format { found: 2, known: 1, written_by: "9.9.9".into() });
}

#[tokio::test]
async fn what_is_something_else_is_refused_untouched() {
    let server = Server::start(&[]).await;
    Redis::open(&server.options()).await.unwrap().commit(first(1)).await.unwrap();
    // The key that says what there is has vanished, and the runs have not.
    server.ask(&["RENAME", "es:default:{meta}", "elsewhere"]).await;
    let refused = refused_untouched(&server, &server.options()).await;
    assert!(refused.to_string().contains("there are runs"), "{refused}");
    for words in [
        &["SET", "es:default:{meta}", "theirs"][..],
        &["HSET", "es:default:{meta}", "their", "field"],
        &["HSET", "es:default:{meta}", "format", "1"],
    ] {
        server.ask(&["DEL", "es:default:{meta}"]).await;
        server.ask(words).await;
        let refused = refused_untouched(&server, &server.options()).await;
        assert_eq!(refused.code(), "store.foreign", "{refused}");
    }
}

/// All keys are declared and on the slot of their shard, so the same scripts work on a cluster; and
/// nothing else is written.
#[tokio::test]
async fn keys_have_the_prefix_of_their_namespace() {
    let server = Server::start(&[]).await;
    let store = Redis::open(&server.options()).await.unwrap();
    for n in 0..20 {
        store.commit(first(n)).await.unwrap();
    }
    let Value::Array(keys) = server.ask(&["KEYS", "*"]).await else { panic!() };
    for key in keys {
        let Value::BulkString(key) = key else { panic!() };
        let key = String::from_utf8(key).unwrap();
        let known = key == "es:default:{meta}" || key.starts_with("es1:default:{");
        assert!(known, "{key}");
    }
}
