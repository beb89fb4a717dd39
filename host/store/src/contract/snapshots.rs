//! Snapshots: a cache that goes with its run.

use super::fixture::{first, run_id};
use crate::Store;
use everstep_core::{Commit, RunState};
use std::sync::Arc;

/// The newest one counts, and there is none for a run that has none.
pub async fn snapshots_take_the_place_of_older_ones(store: Arc<dyn Store>) {
    let (run, other) = (run_id(1), run_id(2));
    store.commit(first(1)).await.unwrap();
    assert_eq!(store.snapshot(run).await.unwrap(), None);
    store.put_snapshot(run, Some(vec![1; 100_000])).await.unwrap();
    store.put_snapshot(run, Some(vec![2; 10])).await.unwrap();
    assert_eq!(store.snapshot(run).await.unwrap(), Some(vec![2; 10]));
    assert_eq!(store.snapshot(other).await.unwrap(), None);
    store.put_snapshot(run, None).await.unwrap();
    store.put_snapshot(run, None).await.unwrap();
    assert_eq!(store.snapshot(run).await.unwrap(), None);
}

/// Nothing is left of a run that was removed.
pub async fn a_snapshot_goes_with_its_run(store: Arc<dyn Store>) {
    let run = run_id(1);
    let mut commit: Commit = first(1);
    commit.record.state = RunState::Cancelled { reason: "enough".into() };
    commit.record.ready = false;
    commit.record.wake_at = None;
    store.commit(commit).await.unwrap();
    store.put_snapshot(run, Some(vec![7; 1_000])).await.unwrap();
    assert!(store.remove(run).await.unwrap());
    assert_eq!(store.snapshot(run).await.unwrap(), None);
}
