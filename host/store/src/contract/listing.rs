//! Lists of runs: filters, order, pages.

use super::fixture::{first, next, run_id};
use crate::{RunQuery, Store, StoreError};
use everstep_core::StuckCause;
use everstep_core::{Commit, Failure, Payload, RunId, RunState, StateKind, Timestamp};
use std::sync::Arc;

async fn ids(store: &Arc<dyn Store>, query: &RunQuery) -> Vec<RunId> {
    let page = store.runs(query).await.unwrap();
    assert_eq!(page.damaged, []);
    page.runs.iter().map(everstep_core::Record::id).collect()
}

/// All pages of a list. Fails when it does not end.
async fn all_ids(store: &Arc<dyn Store>, mut query: RunQuery) -> Vec<RunId> {
    let mut found = Vec::new();
    for _ in 0..100_000 {
        let page = store.runs(&query).await.unwrap();
        found.extend(page.runs.iter().map(everstep_core::Record::id));
        query.cursor = page.cursor;
        if query.cursor.is_none() {
            return found;
        }
    }
    panic!("the list does not end");
}

fn numbered(numbers: impl IntoIterator<Item = u64>) -> Vec<RunId> {
    numbers.into_iter().map(run_id).collect()
}

fn tagged(n: u64, tags: &[(&str, &str)]) -> Commit {
    let mut commit = first(n);
    let origin = Arc::make_mut(&mut commit.record.origin);
    for (name, value) in tags {
        origin.options.tags.insert((*name).into(), (*value).into());
    }
    commit
}

fn of(n: u64, workflow: &str, version: &str, state: RunState) -> Commit {
    let mut commit = tagged(n, &[("team", ["red", "blue"][usize::from(n % 2 == 1)]), ("x", "y")]);
    let origin = Arc::make_mut(&mut commit.record.origin);
    origin.workflow = workflow.into();
    origin.version = version.into();
    commit.record.state = state;
    commit
}

/// Each filter alone, and several together.
pub async fn lists_are_filtered(store: Arc<dyn Store>) {
    let done = || RunState::Completed { output: Payload::null() };
    let gone = || RunState::Cancelled { reason: String::new() };
    for commit in [
        of(1, "a", "1", done()),
        of(2, "a", "2", RunState::Running),
        of(3, "b", "1", done()),
        of(4, "a", "1", gone()),
        of(5, "b", "2", RunState::Running),
        of(6, "a", "1", RunState::Running),
    ] {
        store.commit(commit).await.unwrap();
    }
    store.commit(tagged(7, &[("team", "red'; --"), ("x", "z")])).await.unwrap();
    let all = RunQuery::default();
    let some = |text: &str| Some(text.to_owned());
    let tag = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let start = |n: u64| Some(first(n).record.origin.started_at);
    let cases: Vec<(RunQuery, &[u64])> = vec![
        (all.clone(), &[7, 6, 5, 4, 3, 2, 1]),
        (RunQuery { workflow: some("a"), ..all.clone() }, &[6, 4, 2, 1]),
        (RunQuery { version: some("2"), ..all.clone() }, &[5, 2]),
        (RunQuery { workflow: some("a"), version: some("1"), ..all.clone() }, &[6, 4, 1]),
        (RunQuery { workflow: some("c"), ..all.clone() }, &[]),
        (RunQuery { states: [StateKind::Running].into(), ..all.clone() }, &[6, 5, 2]),
        (RunQuery { states: [StateKind::Completed].into(), ..all.clone() }, &[3, 1]),
        (RunQuery { states: [StateKind::Stuck].into(), ..all.clone() }, &[]),
        (
            RunQuery { states: [StateKind::Running, StateKind::Cancelled].into(), ..all.clone() },
            &[6, 5, 4, 2],
        ),
        (
            RunQuery { states: [StateKind::Completed, StateKind::Cancelled].into(), ..all.clone() },
            &[4, 3, 1],
        ),
        (
            RunQuery { workflow: some("b"), states: [StateKind::Running].into(), ..all.clone() },
            &[5],
        ),
        (RunQuery { tags: [tag("team", "red")].into(), ..all.clone() }, &[6, 4, 2]),
        (RunQuery { tags: [tag("team", "red'; --")].into(), ..all.clone() }, &[7]),
        (RunQuery { tags: [tag("team", "blue"), tag("x", "y")].into(), ..all.clone() }, &[5, 3, 1]),
        (RunQuery { tags: [tag("team", "blue"), tag("x", "z")].into(), ..all.clone() }, &[]),
        (
            RunQuery {
                tags: [tag("x", "y")].into(),
                workflow: some("a"),
                states: [StateKind::Running].into(),
                ..all.clone()
            },
            &[6, 2],
        ),
        (RunQuery { started_from: start(5), ..all.clone() }, &[7, 6, 5]),
        (RunQuery { started_before: start(3), ..all.clone() }, &[2, 1]),
        (
            RunQuery {
                started_from: start(2),
                started_before: start(6),
                workflow: some("a"),
                ..all.clone()
            },
            &[4, 2],
        ),
    ];
    for (query, expected) in cases {
        assert_eq!(ids(&store, &query).await, numbered(expected.iter().copied()), "{query:?}");
        let by_one = RunQuery { limit: 1, ..query.clone() };
        assert_eq!(all_ids(&store, by_one).await, numbered(expected.iter().copied()), "{query:?}");
    }
}

/// By the code of a failure, or of what stopped a run, as long as that is so; and by the time of
/// the last change.
pub async fn runs_are_found_by_failure_and_by_change(store: Arc<dyn Store>) {
    let failed = |code: &str| RunState::Failed { failure: Failure::new(code, "no") };
    let stuck = |code: &str| {
        let (message, remedy) = ("m".to_owned(), "r".to_owned());
        RunState::Stuck {
            cause: StuckCause { code: code.into(), message, remedy, divergence: None },
        }
    };
    for (n, state) in [
        (1, failed("card.declined")),
        (2, stuck("guest.trap")),
        (3, failed("run.timeout")),
        (4, RunState::Running),
        (5, failed("card.declined")),
        (6, stuck("card.declined")),
    ] {
        store.commit(of(n, ["a", "b"][n as usize % 2], "1", RunState::Running)).await.unwrap();
        let mut changed = next(&first(n).record, 1, 0);
        changed.record.origin =
            of(n, ["a", "b"][n as usize % 2], "1", RunState::Running).record.origin;
        changed.record.state = state;
        changed.record.updated_at = Timestamp::from_millis(1_700_000_100_000 - n);
        store.commit(changed).await.unwrap();
    }
    let with = |code: &str| RunQuery { failure_code: Some(code.into()), ..RunQuery::default() };
    let at = |n: u64| Some(Timestamp::from_millis(1_700_000_100_000 - n));
    let cases: Vec<(RunQuery, &[u64])> = vec![
        (with("card.declined"), &[6, 5, 1]),
        (with("guest.trap"), &[2]),
        (with("guest"), &[]),
        (RunQuery { states: [StateKind::Failed].into(), ..with("card.declined") }, &[5, 1]),
        (RunQuery { workflow: Some("a".into()), ..with("card.declined") }, &[6]),
        (
            RunQuery {
                tags: [("team".to_owned(), "blue".to_owned())].into(),
                ..with("card.declined")
            },
            &[5, 1],
        ),
        (RunQuery { updated_from: at(3), ..RunQuery::default() }, &[3, 2, 1]),
        (RunQuery { updated_before: at(3), ..RunQuery::default() }, &[6, 5, 4]),
        (RunQuery { updated_from: at(5), updated_before: at(1), ..with("card.declined") }, &[5]),
    ];
    for (query, expected) in cases {
        assert_eq!(ids(&store, &query).await, numbered(expected.iter().copied()), "{query:?}");
        let by_one = RunQuery { limit: 1, ..query.clone() };
        assert_eq!(all_ids(&store, by_one).await, numbered(expected.iter().copied()), "{query:?}");
    }
    // A stuck run that goes on is not found by its cause any more; one stuck again by another cause
    // is found by that.
    let record = store.record(run_id(2)).await.unwrap().unwrap();
    let mut again = next(&record, 0, 0);
    again.record.state = stuck("guest.fuel");
    store.commit(again.clone()).await.unwrap();
    assert_eq!(ids(&store, &with("guest.trap")).await, []);
    assert_eq!(ids(&store, &with("guest.fuel")).await, [run_id(2)]);
    store.commit(next(&again.record, 1, 0)).await.unwrap();
    assert_eq!(ids(&store, &with("guest.fuel")).await, []);
}

/// Newest first, whatever the order of the commits; runs of the same instant come all, too.
pub async fn lists_are_cut_into_pages(store: Arc<dyn Store>) {
    for n in [3, 1, 5, 2, 4] {
        store.commit(first(n)).await.unwrap();
    }
    for n in 6..=30 {
        let mut same_time = first(n);
        let origin = Arc::make_mut(&mut same_time.record.origin);
        origin.started_at = Timestamp::from_millis(1_700_000_000_006);
        store.commit(same_time).await.unwrap();
    }
    let mut found = all_ids(&store, RunQuery { limit: 4, ..RunQuery::default() }).await;
    assert_eq!(found[25..], numbered([5, 4, 3, 2, 1]));
    found.sort();
    assert_eq!(found, numbered(1..=30));
    // The last page knows that it is the last, also when it is full.
    let page = store.runs(&RunQuery { limit: 30, ..RunQuery::default() }).await.unwrap();
    assert_eq!((page.runs.len(), page.cursor), (30, None));
    let page = store.runs(&RunQuery { limit: 0, ..RunQuery::default() }).await.unwrap();
    assert_eq!(page.runs.len(), 1);
    let wrong = RunQuery { cursor: Some("tomorrow".into()), ..RunQuery::default() };
    assert_eq!(store.runs(&wrong).await, Err(StoreError::BadCursor("tomorrow".into())));
}

/// Runs that start, change and end between two pages neither hide nor double others.
pub async fn pages_hold_while_runs_come_and_change(store: Arc<dyn Store>) {
    for n in 1..=20 {
        store.commit(first(n)).await.unwrap();
    }
    let mut query = RunQuery { limit: 3, ..RunQuery::default() };
    let mut found = Vec::new();
    let mut fresh = 21;
    loop {
        let page = store.runs(&query).await.unwrap();
        found.extend(page.runs.iter().map(everstep_core::Record::id));
        for record in &page.runs {
            let mut ended = next(record, 1, 0);
            ended.record.state = RunState::Completed { output: Payload::null() };
            ended.record.ready = false;
            store.commit(ended).await.unwrap();
        }
        store.commit(first(fresh)).await.unwrap();
        fresh += 1;
        query.cursor = page.cursor;
        if query.cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, numbered((1..=20).rev()));
}
