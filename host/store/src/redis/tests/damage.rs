//! Values that are not what was written are noticed, named, and never built upon.

use super::server::Server;
use crate::contract::{first, next, run_id};
use crate::redis::keys::{Keys, Part};
use crate::{Redis, RunQuery, Store, StoreError};

async fn with_two_runs() -> (Server, Redis, Keys) {
    let server = Server::start(&[]).await;
    let store = Redis::open(&server.options()).await.unwrap();
    for n in [1, 2] {
        store.commit(first(n)).await.unwrap();
        store.commit(next(&first(n).record, 4, 2)).await.unwrap();
    }
    (server, store, Keys::new("default", 64))
}

fn corrupt<T: std::fmt::Debug>(answer: Result<T, StoreError>, words: &[&str]) {
    let error = answer.unwrap_err();
    assert_eq!(error.code(), "store.corrupt", "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{error}");
    }
}

#[tokio::test]
async fn a_damaged_record_is_named_and_hides_no_other() {
    let (server, store, keys) = with_two_runs().await;
    let record = keys.run(run_id(1), Part::Record);
    server.ask(&["SETRANGE", &record, "60", "#"]).await;
    corrupt(store.record(run_id(1)).await, &[&run_id(1).to_string(), "checksum"]);
    let page = store.runs(&RunQuery::default()).await.unwrap();
    assert_eq!((page.damaged, page.runs.len()), (vec![run_id(1)], 1));
    corrupt(store.remove(run_id(1)).await, &[]);
    server.ask(&["DEL", &record]).await;
    let page = store.runs(&RunQuery::default()).await.unwrap();
    assert_eq!((page.damaged, page.runs.len()), (vec![run_id(1)], 1));
}

/// The checksum covers the place.
#[tokio::test]
async fn a_value_of_another_run_is_noticed() {
    let (server, store, keys) = with_two_runs().await;
    for part in [Part::Record, Part::Journal, Part::Logs] {
        let (from, to) = (keys.run(run_id(2), part), keys.run(run_id(1), part));
        server.ask(&["DEL", &to]).await;
        let answer = server.ask(&["COPY", &from, &to]).await;
        assert_eq!(answer, redis::Value::Int(1));
    }
    corrupt(store.record(run_id(1)).await, &["checksum"]);
    corrupt(store.journal(run_id(1), 0, 10).await, &["position 0", "checksum"]);
    corrupt(store.logs(run_id(1), 0, 10).await, &["position 0", "checksum"]);
}

#[tokio::test]
async fn a_damaged_entry_is_named_by_its_position() {
    let (server, store, keys) = with_two_runs().await;
    let journal = keys.run(run_id(1), Part::Journal);
    server.ask(&["LSET", &journal, "3", "nonsense"]).await;
    assert_eq!(store.journal(run_id(1), 0, 1).await.unwrap().len(), 1, "what is in front of it");
    corrupt(
        store.journal(run_id(1), 0, 10).await,
        &[&run_id(1).to_string(), "journal", "position 3"],
    );
    assert_eq!(store.journal(run_id(1), 4, 10).await.unwrap().len(), 1);
}

/// Also a journal of the wrong length, which no checksum of an entry would tell.
#[tokio::test]
async fn nothing_is_committed_on_top_of_a_gap() {
    let (server, store, keys) = with_two_runs().await;
    let commit = |n| next(&next(&first(n).record, 4, 2).record, 1, 1);
    server.ask(&["RPOP", &keys.run(run_id(1), Part::Journal)]).await;
    corrupt(store.commit(commit(1)).await, &[&run_id(1).to_string(), "journal"]);
    corrupt(store.journal(run_id(1), 4, 10).await, &["position 4", "missing"]);
    server.ask(&["DEL", &keys.run(run_id(2), Part::Logs)]).await;
    corrupt(store.commit(commit(2)).await, &[&run_id(2).to_string(), "log lines"]);
    let record = store.record(run_id(2)).await.unwrap().unwrap();
    assert_eq!(record.length, 5, "a refused commit writes nothing");
}

#[tokio::test]
async fn a_key_of_another_type_is_damage() {
    let (server, store, keys) = with_two_runs().await;
    let journal = keys.run(run_id(1), Part::Journal);
    server.ask(&["DEL", &journal]).await;
    server.ask(&["SET", &journal, "theirs"]).await;
    corrupt(store.journal(run_id(1), 0, 10).await, &[]);
}
