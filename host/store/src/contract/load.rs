//! Many at once, many in all, and large ones.

use super::fixture::{entry, first, next, run_id};
use crate::{RunQuery, Shards, Store, StoreError};
use everstep_core::{JournalEvent, OpId, Payload};
use std::sync::Arc;

/// 64 tasks, a run each, 20 commits each.
pub async fn many_runs_are_committed_at_once(store: Arc<dyn Store>) {
    let tasks: Vec<_> = (0..64)
        .map(|n| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut commit = first(n);
                for _ in 0..20 {
                    let record = commit.record.clone();
                    store.commit(commit).await.unwrap();
                    assert_eq!(store.record(run_id(n)).await.unwrap().as_ref(), Some(&record));
                    commit = next(&record, 1 + n % 3, n % 2);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    for n in 0..64 {
        let journal = store.journal(run_id(n), 0, 1_000).await.unwrap();
        assert_eq!(journal.len() as u64, 1 + 19 * (1 + n % 3));
        for (seq, found) in (0..).zip(journal).skip(1) {
            assert_eq!(found, entry(seq));
        }
    }
    assert_eq!(store.stats().await.unwrap().commits, 64 * 20);
}

/// 64 tasks commit to one run; for each length exactly one of them wins.
pub async fn one_commit_of_many_wins(store: Arc<dyn Store>) {
    store.commit(first(1)).await.unwrap();
    let tasks: Vec<_> = (0..64)
        .map(|who| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut wins = Vec::new();
                while wins.len() < 3 {
                    let record = store.record(run_id(1)).await.unwrap().unwrap();
                    let mut commit = next(&record, 1, 0);
                    commit.entries[0].event = JournalEvent::TimerFired { op: OpId(who) };
                    match store.commit(commit).await {
                        Ok(()) => wins.push(record.length),
                        Err(StoreError::Conflict { length }) => assert!(length > record.length),
                        Err(other) => panic!("{other}"),
                    }
                }
                (who, wins)
            })
        })
        .collect();
    let mut owners = vec![None; 1 + 64 * 3];
    for task in tasks {
        let (who, wins) = task.await.unwrap();
        for seq in wins {
            let seq = usize::try_from(seq).unwrap();
            assert_eq!(owners[seq].replace(who), None, "two won position {seq}");
        }
    }
    let journal = store.journal(run_id(1), 0, 1_000).await.unwrap();
    assert_eq!(journal.len(), owners.len());
    for (found, owner) in journal.iter().zip(owners).skip(1) {
        assert_eq!(found.event, JournalEvent::TimerFired { op: OpId(owner.unwrap()) });
    }
}

/// Commits of many megabytes come back whole; a page of a journal stops before it is too large.
pub async fn large_values_are_kept(store: Arc<dyn Store>) {
    let large = Payload::from_value(&"x".repeat(2 << 20)).unwrap();
    store.commit(first(1)).await.unwrap();
    let mut record = first(1).record;
    for _ in 0..3 {
        let mut commit = next(&record, 5, 0);
        for (n, entry) in (0..).zip(&mut commit.entries) {
            entry.event = JournalEvent::RunCompleted { output: large.clone() };
            entry.at = entry.at.plus(n);
        }
        record = commit.record.clone();
        store.commit(commit).await.unwrap();
    }
    let mut from = 0;
    while from < record.length {
        let page = store.journal(run_id(1), from, 1_000).await.unwrap();
        assert!(!page.is_empty());
        for entry in page.iter().filter(|entry| entry.event.name() == "RunCompleted") {
            assert_eq!(entry.event, JournalEvent::RunCompleted { output: large.clone() });
        }
        from += page.len() as u64;
    }
    assert_eq!(from, 16);
}

/// Started 100 at a time, all found again.
pub async fn ten_thousand_runs(store: Arc<dyn Store>) {
    let tasks: Vec<_> = (0..100)
        .map(|block| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in block * 100..(block + 1) * 100 {
                    store.commit(first(n)).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let mut query = RunQuery { limit: 1_000, ..RunQuery::default() };
    let mut expected = (0..10_000).rev();
    loop {
        let page = store.runs(&query).await.unwrap();
        for record in page.runs {
            assert_eq!(Some(record.id()), expected.next().map(run_id));
        }
        query.cursor = page.cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    assert_eq!(expected.next(), None);
    assert_eq!(store.ready(&Shards::all(), None, 20_000).await.unwrap().len(), 10_000);
    assert_eq!(store.stats().await.unwrap().commits, 10_000);
}
