//! What is admitted and what is refused.

use super::fixture::{first, next, run_id};
use crate::{RunPage, RunQuery, Store, StoreError};
use everstep_core::StuckCause;
use everstep_core::{Commit, InputHash, OpId, Parent, Record, RunState, Token};
use std::sync::Arc;

/// A commit with expected length 0 creates a run, and only that.
pub async fn a_run_is_created_once(store: Arc<dyn Store>) {
    store.commit(first(1)).await.unwrap();
    let mut again = first(1);
    again.record.attempt = 9;
    assert_eq!(store.commit(again).await, Err(StoreError::AlreadyExists));
    assert_eq!(store.record(run_id(1)).await.unwrap(), Some(first(1).record));
    let orphan = next(&first(2).record, 1, 0);
    assert_eq!(store.commit(orphan).await, Err(StoreError::Conflict { length: 0 }));
    assert_eq!(store.record(run_id(2)).await.unwrap(), None);
    assert_eq!(store.stats().await.unwrap().commits, 1);
}

/// Decided for a journal that has moved on, or that never was.
pub async fn a_commit_for_another_length_is_refused(store: Arc<dyn Store>) {
    store.commit(first(1)).await.unwrap();
    let second = next(&first(1).record, 3, 1);
    store.commit(second.clone()).await.unwrap();
    let conflict = Err(StoreError::Conflict { length: 4 });
    assert_eq!(store.commit(second.clone()).await, conflict);
    let mut ahead = second.record.clone();
    ahead.length += 1;
    assert_eq!(store.commit(next(&ahead, 1, 0)).await, conflict);
    assert_eq!(store.record(run_id(1)).await.unwrap(), Some(second.record.clone()));
    assert_eq!(store.journal(run_id(1), 0, 100).await.unwrap().len(), 4);
    store.commit(next(&second.record, 1, 0)).await.unwrap();
}

/// A host that lost its lease hears so, even when there is a conflict as well.
pub async fn an_older_token_writes_nothing(store: Arc<dyn Store>) {
    let with = |mut commit: everstep_core::Commit, token| {
        commit.token = Some(Token(token));
        commit
    };
    store.commit(first(1)).await.unwrap();
    let one = with(next(&first(1).record, 1, 0), 7);
    store.commit(one.clone()).await.unwrap();
    // The same token again, none at all, and one far above what fits into 63 bits.
    let two = with(next(&one.record, 1, 0), 7);
    store.commit(two.clone()).await.unwrap();
    let three = next(&two.record, 1, 0);
    store.commit(three.clone()).await.unwrap();
    let stale = with(next(&three.record, 1, 0), 6);
    assert_eq!(store.commit(stale).await, Err(StoreError::LeaseLost));
    let four = with(next(&three.record, 1, 0), u64::MAX);
    store.commit(four.clone()).await.unwrap();
    let stale = with(next(&three.record, 1, 0), u64::MAX - 1);
    assert_eq!(store.commit(stale).await, Err(StoreError::LeaseLost));
    let stale = with(first(1), 1);
    assert_eq!(store.commit(stale).await, Err(StoreError::LeaseLost));
    assert_eq!(store.record(run_id(1)).await.unwrap(), Some(four.record));
    // The token of the creation counts as well.
    store.commit(with(first(2), 5)).await.unwrap();
    let stale = with(next(&first(2).record, 1, 0), 4);
    assert_eq!(store.commit(stale).await, Err(StoreError::LeaseLost));
}

/// A run becomes stuck without an entry in its journal.
pub async fn a_record_alone_can_change(store: Arc<dyn Store>) {
    store.commit(first(1)).await.unwrap();
    let mut stuck = next(&first(1).record, 0, 0);
    stuck.record.state = RunState::Stuck {
        cause: StuckCause {
            code: "guest.trap".into(),
            message: "unreachable".into(),
            remedy: "mend it".into(),
            divergence: None,
        },
    };
    stuck.record.ready = false;
    stuck.token = Some(Token(3));
    store.commit(stuck.clone()).await.unwrap();
    assert_eq!(store.record(run_id(1)).await.unwrap(), Some(stuck.record.clone()));
    assert_eq!(store.journal(run_id(1), 0, 10).await.unwrap(), first(1).entries);
    let mut stale = next(&stuck.record, 1, 0);
    stale.token = Some(Token(2));
    assert_eq!(store.commit(stale).await, Err(StoreError::LeaseLost));
    store.commit(next(&stuck.record, 1, 2)).await.unwrap();
}

/// Lengths that do not add up are a mistake of the caller; nothing is stored.
pub async fn a_commit_that_contradicts_itself_is_refused(store: Arc<dyn Store>) {
    let mut empty = first(1);
    empty.entries.clear();
    empty.record.length = 0;
    let mut short = first(1);
    short.record.length = 2;
    let mut silent = first(1);
    silent.logs = vec![super::fixture::line(0)];
    let mut gap = first(1);
    gap.record.log_lines = 1;
    for wrong in [empty, short, silent, gap] {
        let answer = store.commit(wrong).await;
        assert!(matches!(answer, Err(StoreError::Inconsistent(_))), "{answer:?}");
    }
    assert_eq!(store.record(run_id(1)).await.unwrap(), None);
}

/// After `close`, everything is answered with the same plain word.
pub async fn a_closed_store_says_so(store: Arc<dyn Store>) {
    store.commit(first(1)).await.unwrap();
    store.close().await;
    store.close().await;
    let refused = |error: StoreError| assert_eq!(error.code(), "store.unavailable", "{error}");
    refused(store.commit(first(2)).await.unwrap_err());
    refused(store.record(run_id(1)).await.unwrap_err());
    refused(store.modules().await.unwrap_err());
    refused(store.stats().await.unwrap_err());
}

/// A reference is remembered for ever, and only for its run.
pub async fn what_was_received_is_received_once(store: Arc<dyn Store>) {
    let reference = |name: &str| InputHash::of(name.as_bytes());
    let with = |mut commit: Commit, name| {
        commit.references.push(reference(name));
        commit
    };
    store.commit(first(1)).await.unwrap();
    store.commit(first(2)).await.unwrap();
    let one = with(next(&first(1).record, 1, 0), "a");
    store.commit(one.clone()).await.unwrap();
    let again = with(next(&one.record, 1, 0), "a");
    assert_eq!(store.commit(again).await, Err(StoreError::Duplicate));
    assert_eq!(store.record(run_id(1)).await.unwrap(), Some(one.record.clone()));
    store.commit(with(next(&one.record, 1, 0), "b")).await.unwrap();
    store.commit(with(next(&first(2).record, 1, 0), "a")).await.unwrap();
    assert!(store.has_reference(run_id(1), reference("b")).await.unwrap());
    assert!(!store.has_reference(run_id(2), reference("b")).await.unwrap());
    assert!(!store.has_reference(run_id(3), reference("b")).await.unwrap());
    let mut both = ["a", "b"].map(reference);
    both.sort();
    assert_eq!(store.references(run_id(1), None, 10).await.unwrap(), both);
    assert_eq!(store.references(run_id(1), None, 1).await.unwrap(), both[..1]);
    assert_eq!(store.references(run_id(1), Some(both[0]), 10).await.unwrap(), both[1..]);
    assert_eq!(store.references(run_id(1), Some(both[1]), 10).await.unwrap(), []);
    assert_eq!(store.references(run_id(3), None, 10).await.unwrap(), []);
}

/// Positions go on counting; what is in front of the new beginning is not there any more.
pub async fn a_journal_that_begins_anew_forgets_what_was_before(store: Arc<dyn Store>) {
    store.commit(first(1)).await.unwrap();
    let mut record = first(1).record;
    for _ in 0..3 {
        let commit = next(&record, 3, 1);
        record = commit.record.clone();
        store.commit(commit).await.unwrap();
    }
    let mut anew = next(&record, 3, 0);
    anew.record.first = 11;
    let entries = anew.entries.clone();
    record = anew.record.clone();
    store.commit(anew).await.unwrap();
    assert!(store.journal(run_id(1), 0, 100).await.unwrap().is_empty());
    assert!(store.journal(run_id(1), 10, 100).await.unwrap().is_empty());
    assert_eq!(store.journal(run_id(1), 11, 100).await.unwrap(), entries[1..]);
    assert_eq!(store.logs(run_id(1), 0, 100).await.unwrap().len(), 3);
    let more = next(&record, 2, 0);
    store.commit(more.clone()).await.unwrap();
    assert_eq!(store.journal(run_id(1), 13, 100).await.unwrap(), more.entries);
}

/// By their parent, newest first, together with the other conditions.
pub async fn children_are_listed(store: Arc<dyn Store>) {
    let parent = Parent { run: run_id(1), op: OpId(1), depth: 1 };
    store.commit(first(1)).await.unwrap();
    for n in 2..6 {
        let mut child = first(n);
        let mut origin = (*child.record.origin).clone();
        origin.parent = (n < 5).then_some(parent);
        origin.options.tags.insert("even".into(), (n % 2 == 0).to_string());
        child.record.origin = Arc::new(origin);
        store.commit(child).await.unwrap();
    }
    let mut query = RunQuery { parent: Some(run_id(1)), ..RunQuery::default() };
    let ids = |page: RunPage| page.runs.iter().map(Record::id).collect::<Vec<_>>();
    assert_eq!(ids(store.runs(&query).await.unwrap()), [run_id(4), run_id(3), run_id(2)]);
    query.tags.insert("even".into(), "true".into());
    assert_eq!(ids(store.runs(&query).await.unwrap()), [run_id(4), run_id(2)]);
    query.parent = Some(run_id(2));
    assert!(ids(store.runs(&query).await.unwrap()).is_empty());
}
