//! The registry of modules.

use super::fixture::{first, next, run_id};
use crate::{NewModule, PublicationChange, RunQuery, Store, StoreError};
use everstep_core::manifest::{FORMAT, Manifest, WorkflowDefinition};
use everstep_core::{
    Digest, JournalEvent, ModuleRef, Payload, Publication, Record, RunState, Timestamp,
};
use std::collections::BTreeMap;
use std::sync::Arc;

fn module(bytes: &[u8], versions: &[(&str, &str)]) -> NewModule {
    let workflow = |(name, version): &(&str, &str)| WorkflowDefinition {
        name: (*name).into(),
        version: (*version).into(),
        description: Some("what it does".into()),
        input: serde_json::from_str(r#"{"type":"object","maximum":1.5}"#).ok(),
        output: None,
        events: None,
        retry: Some(everstep_core::RetryPolicy::TASK_DEFAULT),
        timeout_ms: Some(5),
        key: Some("${id}".into()),
    };
    NewModule {
        bytes: bytes.to_vec(),
        uploaded_at: Timestamp::from_millis(1_700_000_000_000),
        engine: 1,
        manifest: Manifest {
            format: FORMAT,
            sdk: "by hand".into(),
            workflows: versions.iter().map(workflow).collect(),
            tasks: Vec::new(),
        },
    }
}

fn published(workflow: &str, version: &str, digest: Digest) -> Publication {
    let mut publication = Publication::new(workflow);
    publication.publish(version, digest, Timestamp::from_millis(1)).unwrap();
    publication
}

/// The same bytes again change nothing.
pub async fn modules_are_kept_once(store: Arc<dyn Store>) {
    let new = module(&[7; 100_000], &[("a", "1"), ("b", "1")]);
    let digest = Digest::of(&new.bytes);
    assert_eq!(store.module(digest).await.unwrap(), None);
    assert_eq!(store.module_bytes(digest).await.unwrap(), None);
    assert!(store.publish(Some(new.clone()), vec![]).await.unwrap());
    let kept = store.module(digest).await.unwrap().unwrap();
    assert_eq!((kept.digest, kept.size), (digest, 100_000));
    assert_eq!(kept.manifest, new.manifest);

    let later = NewModule { uploaded_at: Timestamp::from_millis(9), engine: 2, ..new.clone() };
    assert!(!store.publish(Some(later), vec![]).await.unwrap());
    assert_eq!(store.module(digest).await.unwrap(), Some(kept.clone()));
    assert_eq!(store.module_bytes(digest).await.unwrap(), Some(new.bytes));
    assert!(store.publish(Some(module(b"other", &[("a", "2")])), vec![]).await.unwrap());
    let other = store.module(Digest::of(b"other")).await.unwrap().unwrap();
    assert_eq!(store.modules().await.unwrap(), [kept, other]);
}

/// What is published is written over the revision that it was decided on and no other, together
/// with the module or not at all.
pub async fn publications_are_written_over_what_was_read(store: Arc<dyn Store>) {
    assert_eq!(store.publications().await.unwrap(), []);
    let new = |bytes: &[u8]| Some(module(bytes, &[("a", "1")]));
    let change = |publication: &Publication, expected| PublicationChange {
        publication: publication.clone(),
        expected,
    };
    let (a, b) = (published("a", "1", Digest::of(b"x")), published("b", "1", Digest::of(b"x")));
    assert!(store.publish(new(b"x"), vec![change(&a, 0), change(&b, 0)]).await.unwrap());
    assert_eq!(store.publications().await.unwrap(), [a.clone(), b.clone()]);

    let mut later = a.clone();
    later.replace("1", Digest::of(b"y"), Timestamp::from_millis(2)).unwrap();
    let refused = Err(StoreError::PublicationChanged { workflow: "a".into() });
    // The first change alone would be fine.
    let c = published("c", "1", Digest::of(b"y"));
    let changes = vec![change(&c, 0), change(&later, 0)];
    assert_eq!(store.publish(new(b"y"), changes).await, refused);
    assert_eq!(store.publications().await.unwrap(), [a, b.clone()]);
    assert_eq!(store.module(Digest::of(b"y")).await.unwrap(), None);

    assert!(!store.publish(None, vec![change(&later, 1)]).await.unwrap());
    assert_eq!(store.publications().await.unwrap(), [later.clone(), b]);
    assert_eq!(store.publish(None, vec![change(&later, 1)]).await, refused);
}

/// Runs are counted and found by the module that they execute, until they end; an upgrade takes
/// them from one to the other.
pub async fn open_runs_are_found_by_their_module(store: Arc<dyn Store>) {
    let (old, new) = (Digest::of(b"module"), Digest::of(b"newer"));
    for n in 1..=4 {
        store.commit(first(n)).await.unwrap();
    }
    assert_eq!(store.open_runs().await.unwrap(), BTreeMap::from([(old, 4)]));

    let mut upgraded = next(&first(2).record, 1, 0);
    let to = ModuleRef { digest: new, version: "2".into(), engine: 1 };
    let was = upgraded.record.origin.module();
    upgraded.record.origin = Arc::new(upgraded.record.origin.with_module(to.clone()));
    upgraded.entries[0].event = JournalEvent::RunUpgraded { to, was };
    store.commit(upgraded.clone()).await.unwrap();
    store.commit(next(&upgraded.record, 1, 0)).await.unwrap();
    let mut ended = next(&first(3).record, 1, 0);
    ended.record.state = RunState::Completed { output: Payload::null() };
    ended.record.ready = false;
    store.commit(ended).await.unwrap();
    assert_eq!(store.open_runs().await.unwrap(), BTreeMap::from([(old, 2), (new, 1)]));

    let found = async |query: RunQuery| {
        let page = store.runs(&query).await.unwrap();
        page.runs.iter().map(Record::id).collect::<Vec<_>>()
    };
    let on = |module| RunQuery { open_on: Some(module), ..RunQuery::default() };
    assert_eq!(found(on(old)).await, [run_id(4), run_id(1)]);
    assert_eq!(found(on(new)).await, [run_id(2)]);
    let version = Some("2".to_owned());
    assert_eq!(found(RunQuery { version, ..RunQuery::default() }).await, [run_id(2)]);
    let workflow = Some("another".to_owned());
    assert_eq!(found(RunQuery { workflow, ..on(old) }).await, []);
}
