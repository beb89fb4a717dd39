//! The registry of modules.

use crate::{NewModule, Store, StoreError};
use everstep_core::manifest::{FORMAT, Manifest, WorkflowDefinition};
use everstep_core::{Digest, Timestamp};
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

/// The same bytes again are answered with what is there.
pub async fn modules_are_kept_once(store: Arc<dyn Store>) {
    let new = module(&[7; 100_000], &[("a", "1"), ("b", "1")]);
    let digest = Digest::of(&new.bytes);
    assert_eq!(store.module(digest).await.unwrap(), None);
    assert_eq!(store.module_bytes(digest).await.unwrap(), None);
    let answer = store.put_module(new.clone()).await.unwrap();
    assert!(answer.created);
    assert_eq!(answer.module.digest, digest);
    assert_eq!(answer.module.size, 100_000);
    assert_eq!(answer.module.manifest, new.manifest);

    let later = NewModule { uploaded_at: Timestamp::from_millis(9), engine: 2, ..new.clone() };
    let again = store.put_module(later).await.unwrap();
    assert!(!again.created);
    assert_eq!(again.module, answer.module);

    assert_eq!(store.module(digest).await.unwrap(), Some(answer.module.clone()));
    assert_eq!(store.module_bytes(digest).await.unwrap(), Some(new.bytes));
    let other = store.put_module(module(b"other", &[("a", "2")])).await.unwrap();
    assert_eq!(store.modules().await.unwrap(), [answer.module, other.module]);
}

/// A module that wants a version of another one is refused, and leaves nothing behind.
pub async fn a_version_belongs_to_one_module(store: Arc<dyn Store>) {
    let first = module(b"first", &[("a", "1"), ("a", "2")]);
    let digest = store.put_module(first).await.unwrap().module.digest;
    let second = module(b"second", &[("b", "1"), ("a", "2")]);
    let taken = StoreError::VersionTaken { workflow: "a".into(), version: "2".into(), digest };
    assert_eq!(store.put_module(second).await, Err(taken));
    assert_eq!(store.module(Digest::of(b"second")).await.unwrap(), None);
    assert_eq!(store.modules().await.unwrap().len(), 1);
    assert!(store.put_module(module(b"third", &[("b", "1")])).await.unwrap().created);
}
