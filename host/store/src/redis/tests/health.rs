//! What is refused and what is said when a Redis is opened, against servers that are set so.

use super::server::Server;
use crate::redis::health::{Facts, judge};
use crate::{Redis, StoreError};

async fn codes(settings: &[&str]) -> Vec<&'static str> {
    let server = Server::start(settings).await;
    let store = Redis::open(&server.options()).await.unwrap();
    store.warnings().iter().map(|warning| warning.code).collect()
}

async fn refusal(settings: &[&str]) -> String {
    let server = Server::start(settings).await;
    let error = Redis::open(&server.options()).await.unwrap_err();
    assert_eq!(error.code(), "store.unfit", "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_server_that_loses_nothing_is_not_warned_of() {
    assert_eq!(codes(&[]).await, [""; 0]);
    assert_eq!(codes(&["--maxmemory-policy", "volatile-lru"]).await, [""; 0]);
}

#[tokio::test]
async fn what_may_be_lost_is_said() {
    assert_eq!(codes(&["--appendonly", "no"]).await, ["redis.keeps_nothing"]);
    let snapshots = ["--appendonly", "no", "--save", "60 1000"];
    assert_eq!(codes(&snapshots).await, ["redis.no_append_log"]);
    assert_eq!(codes(&["--appendfsync", "everysec"]).await, ["redis.every_second"]);
    assert_eq!(codes(&["--appendfsync", "no"]).await, ["redis.never_synced"]);
}

#[tokio::test]
async fn a_server_that_throws_data_away_is_refused() {
    for policy in ["allkeys-lru", "allkeys-lfu", "allkeys-random"] {
        let words = refusal(&["--maxmemory-policy", policy]).await;
        assert!(words.contains(policy) && words.contains("noeviction"), "{words}");
    }
}

#[tokio::test]
async fn a_replica_is_refused_and_its_master_warned_of() {
    let master = Server::start(&[]).await;
    let port = master.port.to_string();
    let replica = Server::start(&["--replicaof", "127.0.0.1", &port]).await;
    replica.until("INFO", "master_link_status:up").await;
    let error = Redis::open(&replica.options()).await.unwrap_err();
    assert!(error.to_string().contains("replica"), "{error}");
    assert_eq!(error.code(), "store.unfit");
    let store = Redis::open(&master.options()).await.unwrap();
    assert_eq!(store.warnings().len(), 1);
    assert_eq!(store.warnings()[0].code, "redis.unguarded_failover");
    master.ask(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    assert_eq!(Redis::open(&master.options()).await.unwrap().warnings(), []);
}

#[tokio::test]
async fn a_node_of_a_cluster_is_not_taken_for_a_server() {
    let words = refusal(&["--cluster-enabled", "yes", "--cluster-port", "0"]).await;
    assert!(words.contains("redis+cluster://"), "{words}");
}

#[test]
fn every_warning_is_in_the_document() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md");
    let page = std::fs::read_to_string(page).unwrap();
    let source = include_str!("../health.rs");
    let codes: Vec<_> =
        source.split('"').filter(|it| it.starts_with("redis.") && !it.contains(' ')).collect();
    assert_eq!(codes.len(), 6);
    for code in codes {
        assert!(page.contains(&format!("| `{code}` |")), "{code}");
    }
}

#[test]
fn an_old_server_is_refused() {
    let facts = |version: &str| Facts {
        info: [("redis_version".to_owned(), version.to_owned())].into(),
        settings: Some([("appendonly".to_owned(), "yes".to_owned())].into()),
    };
    for old in ["6.2.14", "2.8", "", "x"] {
        let refused = judge(&facts(old), false).unwrap_err();
        assert!(matches!(refused, StoreError::Unfit(_)), "{old}");
    }
    for new in ["7.0.0", "7.2.4", "8.0", "10.0.1"] {
        assert_eq!(judge(&facts(new), false), Ok(vec![]), "{new}");
    }
}
