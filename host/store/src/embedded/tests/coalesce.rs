//! Many commits as one change: what the tables hold afterwards reads the same as if each had been
//! applied on its own, also when the changes come from the log after a crash.

use super::{lazy, open_at, open_with};
use crate::contract::{first, next, run_id};
use crate::{Embedded, RunQuery, Shards, Store};
use everstep_core::{Commit, Failure, InputHash, Payload, Record, RunState, Timestamp, Token};
use proptest::prelude::*;
use rusqlite::Connection;
use rusqlite::types::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

const RUNS: u64 = 4;

/// One commit to one of the runs, and whether a list is asked for behind it.
#[derive(Debug, Clone)]
struct Step {
    run: u64,
    entries: u64,
    lines: u64,
    ready: bool,
    wake_at: Option<u64>,
    state: u8,
    token: bool,
    anew: bool,
    reference: Option<u8>,
    settle: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let counts = (0..RUNS, prop_oneof![4 => 0..4_u64, 1 => 100..200_u64], 0..3_u64);
    let facts = (any::<bool>(), prop::option::of(1..9_u64), 0..4_u8);
    let rest = (
        any::<bool>(),
        prop::bool::weighted(0.1),
        prop::option::weighted(0.2, 0..6_u8),
        prop::bool::weighted(0.15),
    );
    let step = (counts, facts, rest).prop_map(|((run, entries, lines), facts, rest)| {
        let ((ready, wake_at, state), (token, anew, reference, settle)) = (facts, rest);
        Step { run, entries, lines, ready, wake_at, state, token, anew, reference, settle }
    });
    prop::collection::vec(step, 1..60)
}

/// The commit of a step. Entries and lines are those of the fixtures, so that any hole is seen.
fn commit(step: &Step, clock: u64, before: Option<&Record>) -> Commit {
    let mut commit = match before {
        Some(record) => next(record, step.entries, step.lines),
        None => {
            let mut start = first(step.run);
            let tags = &mut Arc::make_mut(&mut start.record.origin).options.tags;
            tags.insert("run".into(), step.run.to_string());
            start
        }
    };
    let at = Timestamp::from_millis(1_700_000_000_000 + clock);
    let record = &mut commit.record;
    record.updated_at = at;
    record.ready = step.ready;
    record.wake_at = step.wake_at.map(Timestamp::from_millis);
    record.state = match step.state {
        0 => RunState::Running,
        1 => RunState::Completed { output: Payload::null() },
        2 => RunState::Failed { failure: Failure::new("card.declined", "no") },
        _ => RunState::Cancelled { reason: "enough".into() },
    };
    if step.anew && before.is_some() && step.entries > 0 {
        record.first = commit.expected_length + step.entries / 2;
    }
    commit.token = step.token.then_some(Token(clock));
    commit.references.extend(step.reference.map(|name| InputHash::of(&[name])));
    commit
}

/// All rows of the tables that do not depend on how commits were put together.
fn rows(dir: &Path) -> Vec<Vec<Value>> {
    let raw = Connection::open(dir.join("data").join("everstep.db")).unwrap();
    let mut rows = Vec::new();
    for table in ["runs", "run_tags", "run_references"] {
        let mut all = raw.prepare(&format!("SELECT * FROM {table} ORDER BY 1, 2")).unwrap();
        let width = all.column_count();
        let found = all.query_map([], |row| (0..width).map(|i| row.get(i)).collect());
        rows.extend(found.unwrap().map(Result::unwrap).collect::<Vec<Vec<Value>>>());
    }
    rows
}

/// Everything that can be read of the runs.
async fn reads(store: &Embedded) -> String {
    let mut all = String::new();
    for n in 0..RUNS {
        let id = run_id(n);
        let record = store.record(id).await.unwrap();
        let length = record.as_ref().map_or(0, |record| record.length);
        let first = record.as_ref().map_or(0, |record| record.first);
        all += &format!("{record:?}");
        for from in (0..=length).filter(|from| from % 29 == 0 || *from == first) {
            let entries = store.journal(id, from, usize::MAX).await.unwrap();
            let expected = if from < first { 0 } else { length - from };
            assert_eq!(entries.len() as u64, expected, "{from} of {length}, first {first}");
            all += &format!("{entries:?}");
        }
        all += &format!("{:?}", store.logs(id, 0, usize::MAX).await.unwrap());
        for name in 0..6 {
            let reference = InputHash::of(&[name]);
            all += &format!("{}", store.has_reference(id, reference).await.unwrap());
        }
    }
    all
}

/// The lists, which bring the database up to date.
async fn lists(store: &Embedded) -> String {
    let far = Timestamp::from_millis(u64::MAX);
    format!(
        "{:?}{:?}{:?}{:?}",
        store.due(&Shards::all(), far, None, 99).await.unwrap(),
        store.ready(&Shards::all(), None, 99).await.unwrap(),
        store.ended(None, 99).await.unwrap(),
        store.runs(&RunQuery::default()).await.unwrap(),
    )
}

async fn compare(steps: Vec<Step>) {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let single = open_at(dirs[0].path()).unwrap();
    let merged = open_with(dirs[1].path(), &lazy()).unwrap();
    // This one never settles: all comes from its log.
    let crashed = open_with(dirs[2].path(), &lazy()).unwrap();
    let data = dirs[2].path().join("data");
    let read = |name: &str| std::fs::read(data.join(name)).unwrap();
    let before = (read("everstep.db"), read("everstep.db-wal"));
    let mut records: BTreeMap<u64, Record> = BTreeMap::new();
    for (clock, step) in (0..).zip(&steps) {
        let commit = commit(step, clock, records.get(&step.run));
        let answer = single.commit(commit.clone()).await;
        single.ready(&Shards::all(), None, 1).await.unwrap();
        assert_eq!(merged.commit(commit.clone()).await, answer);
        assert_eq!(crashed.commit(commit.clone()).await, answer);
        if answer.is_ok() {
            records.insert(step.run, commit.record);
        }
        if step.settle {
            assert_eq!(lists(&merged).await, lists(&single).await);
        }
    }
    let expected = reads(&single).await;
    assert_eq!(reads(&merged).await, expected);
    assert_eq!(lists(&merged).await, lists(&single).await);
    assert_eq!(reads(&merged).await, expected);
    assert_eq!(reads(&crashed).await, expected);
    let log = read("log/0");
    crashed.close().await;
    std::fs::write(data.join("everstep.db"), before.0).unwrap();
    std::fs::write(data.join("everstep.db-wal"), before.1).unwrap();
    std::fs::write(data.join("log/0"), log).unwrap();
    let recovered = open_at(dirs[2].path()).unwrap();
    assert_eq!(reads(&recovered).await, expected);
    for store in [single, merged, recovered] {
        store.close().await;
    }
    let [single, merged, recovered] = dirs.each_ref().map(|dir| rows(dir.path()));
    assert_eq!(merged, single);
    assert_eq!(recovered, single);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 200, ..Default::default() })]
    #[test]
    fn many_commits_as_one_change_read_like_many(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(compare(steps));
    }
}

/// How many rows the journal of the first run has.
fn journal_rows(dir: &Path) -> u32 {
    let raw = Connection::open(dir.join("data").join("everstep.db")).unwrap();
    raw.query_row("SELECT count(*) FROM events WHERE run = 1", [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn the_commits_of_a_run_become_few_rows_of_bounded_size() {
    for (commits, entries, expected) in [(40, 2, 1), (40, 100, 20), (3, 400, 4)] {
        let dir = tempfile::tempdir().unwrap();
        let store = open_with(dir.path(), &lazy()).unwrap();
        let mut commit = first(1);
        for _ in 0..=commits {
            let record = commit.record.clone();
            store.commit(commit).await.unwrap();
            commit = next(&record, entries, 0);
        }
        store.close().await;
        assert_eq!(journal_rows(dir.path()), expected, "{commits} commits of {entries}");
    }
}
