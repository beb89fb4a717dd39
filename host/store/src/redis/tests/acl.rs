//! Users and their rights.

use super::server::Server;
use crate::contract::{first, next, run_id};
use crate::redis::Password;
use crate::{Redis, RedisOptions, Shards, Store};

/// The rights that docs/redis.md says are enough.
const ENOUGH: [&str; 10] = [
    "resetchannels",
    "&es1:*",
    "~es:*",
    "~es1:*",
    "-@all",
    "+@read",
    "+@write",
    "+@scripting",
    "+@connection",
    "+time",
];

async fn server(further: &[&str]) -> Server {
    let user = ["--user", "app", "on", ">hidden"];
    let rights = [&user[..], &ENOUGH, &["+@pubsub", "-@dangerous"], further].concat();
    Server::start(&rights).await
}

fn as_app(server: &Server, password: &str) -> RedisOptions {
    let password = Some(Password(password.to_owned()));
    RedisOptions { user: Some("app".into()), password, ..server.options() }
}

#[tokio::test]
async fn a_user_with_enough_rights_can_do_everything() {
    let server = server(&["+info", "+config|get"]).await;
    let store = Redis::open(&as_app(&server, "hidden")).await.unwrap();
    assert_eq!(store.warnings(), []);
    store.commit(first(1)).await.unwrap();
    store.commit(next(&first(1).record, 1, 1)).await.unwrap();
    assert_eq!(store.ready(&Shards::all(), None, 10).await.unwrap().len(), 1);
    assert_eq!(store.journal(run_id(1), 0, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn what_may_not_be_read_is_said_to_be_unknown() {
    for (further, word) in [(&["+info"][..], "appendfsync"), (&[], "appendonly")] {
        let server = server(further).await;
        let store = Redis::open(&as_app(&server, "hidden")).await.unwrap();
        let [warning] = store.warnings() else { panic!("{:?}", store.warnings()) };
        assert_eq!(warning.code, "redis.hidden_settings");
        assert!(warning.message.contains(word), "{warning:?}");
        store.commit(first(1)).await.unwrap();
    }
}

#[tokio::test]
async fn a_wrong_password_is_said_and_not_shown() {
    let server = server(&[]).await;
    let error = Redis::open(&as_app(&server, "another-hidden")).await.unwrap_err();
    let text = format!("{error} {error:?}");
    assert!(text.contains("cannot be reached") && !text.contains("another-hidden"), "{text}");
    let store = Redis::open(&as_app(&server, "hidden")).await.unwrap();
    assert!(!format!("{store:?}").contains("hidden\""));
}
