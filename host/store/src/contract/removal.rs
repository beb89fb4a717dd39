//! Removing runs: only what has ended vanishes, and of that everything.

use super::fixture::{first, next, run_id};
use crate::{Ended, RunQuery, Store, StoreError};
use everstep_core::{Commit, Payload, Record, RunState, Timestamp, Token};
use std::sync::Arc;

/// Behind `record`: the run has ended at this time.
fn end(record: &Record, at: u64) -> Commit {
    let mut end = next(record, 1, 2);
    end.record.state = RunState::Completed { output: Payload::null() };
    end.record.ready = false;
    end.record.wake_at = None;
    end.record.updated_at = Timestamp::from_millis(at);
    end
}

/// A run of this workflow with a tag, that ended at this time.
async fn ended_run(store: &Arc<dyn Store>, n: u64, workflow: &str, at: u64) -> Record {
    let mut start = first(n);
    let origin = Arc::make_mut(&mut start.record.origin);
    origin.workflow = workflow.into();
    origin.options.tags.insert("team".into(), "blue".into());
    store.commit(start.clone()).await.unwrap();
    let end = end(&start.record, at);
    store.commit(end.clone()).await.unwrap();
    end.record
}

async fn listed(store: &Arc<dyn Store>, query: &RunQuery) -> usize {
    let page = store.runs(query).await.unwrap();
    assert_eq!((page.damaged, page.cursor), (Vec::new(), None));
    page.runs.len()
}

/// Record, journal, logs, tags and every list forget the run; the others stay as they are.
pub async fn a_removed_run_leaves_nothing(store: Arc<dyn Store>) {
    let gone = ended_run(&store, 1, "a", 50).await;
    let kept = ended_run(&store, 2, "a", 60).await;
    assert_eq!(store.remove(gone.id()).await, Ok(true));
    assert_eq!(store.remove(gone.id()).await, Ok(false), "there is no such run any more");
    assert_eq!(store.record(gone.id()).await.unwrap(), None);
    assert_eq!(store.journal(gone.id(), 0, 10).await.unwrap(), []);
    assert_eq!(store.logs(gone.id(), 0, 10).await.unwrap(), []);
    assert_eq!(store.record(kept.id()).await.unwrap(), Some(kept.clone()));
    assert_eq!(store.journal(kept.id(), 0, 10).await.unwrap().len(), 2);
    assert_eq!(store.logs(kept.id(), 0, 10).await.unwrap().len(), 2);
    let tagged =
        RunQuery { tags: [("team".to_owned(), "blue".to_owned())].into(), ..RunQuery::default() };
    assert_eq!(listed(&store, &tagged).await, 1);
    assert_eq!(listed(&store, &RunQuery::default()).await, 1);
    assert_eq!(store.ended(None, 10).await.unwrap().len(), 1);
    // A commit that comes late finds no run.
    let late = store.commit(next(&gone, 1, 0)).await;
    assert_eq!(late, Err(StoreError::Conflict { length: 0 }));
}

/// The same id may be used again, as with an idempotency key, and is a new run: its length begins
/// anew, and a token of the old one counts for nothing.
pub async fn a_removed_run_may_start_again(store: Arc<dyn Store>) {
    let mut start = first(1);
    start.token = Some(Token(9));
    store.commit(start.clone()).await.unwrap();
    store.commit(end(&start.record, 50)).await.unwrap();
    assert_eq!(store.remove(run_id(1)).await, Ok(true));
    for n in 2..=4 {
        store.commit(first(n)).await.unwrap();
    }
    start.token = Some(Token(3));
    store.commit(start.clone()).await.unwrap();
    assert_eq!(store.record(run_id(1)).await.unwrap(), Some(start.record.clone()));
    assert_eq!(store.journal(run_id(1), 0, 10).await.unwrap(), start.entries);
    assert_eq!(store.logs(run_id(1), 0, 10).await.unwrap(), []);
    store.commit(next(&start.record, 2, 1)).await.unwrap();
    assert_eq!(listed(&store, &RunQuery::default()).await, 4);
}

/// An open run stays, and so does one that has ended but still needs a host.
pub async fn what_has_not_ended_is_not_removed(store: Arc<dyn Store>) {
    store.commit(first(1)).await.unwrap();
    assert_eq!(store.remove(run_id(1)).await, Err(StoreError::NotEnded));
    let mut busy = end(&first(1).record, 50);
    busy.record.ready = true;
    store.commit(busy.clone()).await.unwrap();
    assert_eq!(store.remove(run_id(1)).await, Err(StoreError::NotEnded));
    assert_eq!(store.ended(None, 10).await.unwrap(), []);
    assert_eq!(store.record(run_id(1)).await.unwrap(), Some(busy.record.clone()));
    store.commit(end(&busy.record, 51)).await.unwrap();
    assert_eq!(store.remove(run_id(1)).await, Ok(true));
}

/// By workflow, then by the time of the end, page by page.
pub async fn ended_runs_are_found_in_order(store: Arc<dyn Store>) {
    for (n, workflow, at) in
        [(1, "b", 70), (2, "a", 60), (3, "b", 50), (4, "a", 60), (5, "a", 90), (6, "ab", 10)]
    {
        ended_run(&store, n, workflow, at).await;
    }
    store.commit(first(7)).await.unwrap();
    let mut found = Vec::new();
    let mut after: Option<Ended> = None;
    loop {
        let page = store.ended(after.as_ref(), 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last().cloned() else { break };
        found.extend(page.iter().map(|e| (e.workflow.clone(), e.at.as_millis(), e.run)));
        after = Some(last);
    }
    let expected =
        [("a", 60, 2), ("a", 60, 4), ("a", 90, 5), ("ab", 10, 6), ("b", 50, 3), ("b", 70, 1)];
    assert_eq!(found, expected.map(|(workflow, at, n)| (workflow.to_owned(), at, run_id(n))));
    let page = store.ended(Some(&Ended::behind("a")), 10).await.unwrap();
    let skipped: Vec<_> = page.iter().map(|ended| ended.run).collect();
    assert_eq!(skipped, [6, 3, 1].map(run_id), "a workflow can be skipped");
}

/// A run with more rows than are deleted at once vanishes as a whole for everybody.
pub async fn a_long_run_is_removed(store: Arc<dyn Store>) {
    store.commit(first(1)).await.unwrap();
    let mut record = first(1).record;
    for _ in 0..1_500 {
        let more = next(&record, 1, 1);
        record = more.record.clone();
        store.commit(more).await.unwrap();
    }
    store.commit(end(&record, 50)).await.unwrap();
    assert_eq!(store.remove(run_id(1)).await, Ok(true));
    assert_eq!(store.record(run_id(1)).await.unwrap(), None);
    store.commit(first(1)).await.unwrap();
    store.commit(next(&first(1).record, 3, 2)).await.unwrap();
    assert_eq!(store.journal(run_id(1), 0, 9_999).await.unwrap().len(), 4);
    assert_eq!(store.logs(run_id(1), 0, 9_999).await.unwrap().len(), 2);
}
