//! From a store in memory to a data directory, to Redis and back: what comes out is what went in.

#![allow(clippy::unwrap_used)]

mod interrupted;

use super::{Copied, CopyError, compare, copy};
use crate::contract::{first, next, run_id};
use crate::redis::tests::server::Server;
use crate::{
    Embedded, EmbeddedOptions, Memory, NewModule, PublicationChange, Redis, RedisOptions, RunQuery,
    Shards, Store, StoreError,
};
use everstep_core::manifest::{FORMAT, Manifest};
use everstep_core::schedule::{ScheduleBody, ScheduledStart, Spec};
use everstep_core::{
    Digest, Failure, InputHash, JournalEvent, ModuleRef, OpId, Parent, Payload, Publication,
    Record, RunId, RunState, Schedule, Timestamp, Token,
};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

fn embedded(path: &Path) -> Embedded {
    Embedded::open(EmbeddedOptions { path: path.to_owned() }).unwrap()
}

fn module(bytes: &[u8]) -> NewModule {
    let manifest =
        Manifest { format: FORMAT, sdk: "by hand".into(), workflows: vec![], tasks: vec![] };
    let uploaded_at = Timestamp::from_millis(1_700_000_000_000);
    NewModule { bytes: bytes.to_vec(), uploaded_at, engine: 1, manifest }
}

fn schedule(n: u64) -> Schedule {
    let spec = Spec::Cron { expression: "0 9 * * *".into(), time_zone: "Europe/Berlin".into() };
    let body = ScheduleBody {
        reference: Some(format!("s{n}")),
        ..ScheduleBody::new(spec, ScheduledStart::new("w"))
    };
    Schedule::new(body, [0; 16], Timestamp::from_millis(1_700_000_000_000 + n)).unwrap()
}

/// Runs that `fill` makes.
pub(crate) const RUNS: u64 = 1_196;

/// One run after the other, each with something of its own.
pub(crate) async fn fill(store: &dyn Store) {
    for bytes in [b"old".as_slice(), &[7; 100_000]] {
        store.publish(Some(module(bytes)), vec![]).await.unwrap();
    }
    let mut publication = Publication::new("onboarding");
    publication.publish("1", Digest::of(b"old"), Timestamp::from_millis(1)).unwrap();
    publication.replace("1", Digest::of(&[7; 100_000]), Timestamp::from_millis(2)).unwrap();
    store.publish(None, vec![PublicationChange { publication, expected: 0 }]).await.unwrap();
    for n in 1..=3 {
        store.put_schedule(schedule(n), None).await.unwrap();
    }

    // A plain one, which is due and needs a host.
    let mut due = first(1);
    due.record.wake_at = Some(Timestamp::from_millis(1_800_000_000_000));
    due.token = Some(Token(7 << 40));
    store.commit(due).await.unwrap();
    // A long one, with more references than fit in a piece.
    store.commit(first(2)).await.unwrap();
    let mut record = first(2).record;
    for n in 0..5 {
        let mut long = next(&record, 500, 300);
        let name = |i: u32| InputHash::of(format!("{n} {i}").as_bytes());
        long.references = (0..500).map(name).collect();
        record = long.record.clone();
        store.commit(long).await.unwrap();
    }
    // One that began anew, far behind its beginning.
    store.commit(first(3)).await.unwrap();
    let mut record = first(3).record;
    for begins in [0, 12_000, 12_001] {
        let mut anew = next(&record, 12_001, 1);
        anew.record.first = begins;
        record = anew.record.clone();
        store.commit(anew).await.unwrap();
    }
    // A child that has ended, and one that has ended and still needs a host.
    for n in [4, 5] {
        let mut child = first(n);
        let origin = Arc::make_mut(&mut child.record.origin);
        origin.parent = Some(Parent { run: run_id(1), op: OpId(1), depth: 1 });
        origin.options.tags.insert("team".into(), "blue".into());
        store.commit(child.clone()).await.unwrap();
        let mut end = next(&child.record, 1, 1);
        end.record.state = RunState::Failed { failure: Failure::new("card.declined", "no") };
        end.record.ready = n == 5;
        store.commit(end).await.unwrap();
    }
    // One that was upgraded.
    store.commit(first(6)).await.unwrap();
    let mut upgraded = next(&first(6).record, 1, 0);
    let to = ModuleRef { digest: Digest::of(b"newer"), version: "2".into(), engine: 1 };
    let was = upgraded.record.origin.module();
    upgraded.record.origin = Arc::new(upgraded.record.origin.with_module(to.clone()));
    upgraded.entries[0].event = JournalEvent::RunUpgraded { to, was };
    store.commit(upgraded).await.unwrap();
    for n in 10..1_200 {
        store.commit(first(n)).await.unwrap();
    }
}

/// All that anybody can see of a store besides what `compare` looks at.
async fn seen(store: &dyn Store) -> impl PartialEq + std::fmt::Debug + use<> {
    let far = Timestamp::from_millis(u64::MAX >> 1);
    let queries = [
        RunQuery { workflow: Some("onboarding".into()), ..RunQuery::default() },
        RunQuery { parent: Some(run_id(1)), ..RunQuery::default() },
        RunQuery { failure_code: Some("card.declined".into()), ..RunQuery::default() },
        RunQuery { open_on: Some(Digest::of(b"newer")), ..RunQuery::default() },
        RunQuery { tags: [("team".into(), "blue".into())].into(), ..RunQuery::default() },
    ];
    let mut lists = Vec::new();
    for query in queries {
        let page = store.runs(&query).await.unwrap();
        lists.push(page.runs.iter().map(Record::id).collect::<Vec<_>>());
    }
    // A run keeps what it needs, not its place in the line.
    let ready = store.ready(&Shards::all(), None, 9_999).await.unwrap();
    let ready: BTreeSet<RunId> = ready.iter().map(|ready| ready.run).collect();
    (
        lists,
        store.due(&Shards::all(), far, None, 9_999).await.unwrap(),
        ready,
        store.ended(None, 9_999).await.unwrap(),
        store.open_runs().await.unwrap(),
        store.module_bytes(Digest::of(&[7; 100_000])).await.unwrap().is_some(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_comes_back_from_a_journey_through_all_stores() {
    let (server, dir) = (Server::start(&[]).await, tempfile::tempdir().unwrap());
    let start = Memory::new();
    fill(&start).await;
    let one = embedded(&dir.path().join("one"));
    let redis = Redis::open(&server.options()).await.unwrap();
    let middle = Memory::new();
    let other = RedisOptions { namespace: "other".into(), ..server.options() };
    let back = Redis::open(&other).await.unwrap();
    let two = embedded(&dir.path().join("two"));
    let stores: [&dyn Store; 6] = [&start, &one, &redis, &middle, &back, &two];
    for pair in stores.windows(2) {
        let mut last = Copied::default();
        let copied = copy(pair[0], pair[1], |now| {
            assert!(now.runs >= last.runs && now.compared >= last.compared);
            last = *now;
        })
        .await
        .unwrap();
        assert_eq!(copied, last);
        assert_eq!((copied.modules, copied.schedules), (2, 3));
        assert_eq!((copied.runs, copied.compared), (RUNS, RUNS));
        assert_eq!(seen(pair[0]).await, seen(pair[1]).await);
    }
    compare(&start, &two, |_| {}).await.unwrap();

    // Work goes on there: nothing of what was promised is forgotten.
    let record = two.record(run_id(2)).await.unwrap().unwrap();
    let mut again = next(&record, 1, 0);
    again.references = vec![InputHash::of(b"3 77")];
    assert_eq!(two.commit(again).await, Err(StoreError::Duplicate));
    let record = two.record(run_id(3)).await.unwrap().unwrap();
    let mut more = next(&record, 1, 1);
    // Tokens of the new place may be smaller than those of the old one.
    more.token = Some(Token(two.epoch() << 40));
    two.commit(more).await.unwrap();
    let plain = two.record(run_id(1)).await.unwrap().unwrap();
    let mut leased = next(&plain, 1, 1);
    leased.token = Some(Token(two.epoch() << 40));
    two.commit(leased).await.unwrap();
}

#[tokio::test]
async fn only_an_empty_store_is_copied_into() {
    let from = Memory::new();
    from.commit(first(1)).await.unwrap();
    let fills: [(&str, Memory); 3] =
        [("runs", Memory::new()), ("modules", Memory::new()), ("schedules", Memory::new())];
    fills[0].1.commit(first(9)).await.unwrap();
    fills[1].1.publish(Some(module(b"x")), vec![]).await.unwrap();
    fills[2].1.put_schedule(schedule(1), None).await.unwrap();
    for (what, to) in fills {
        let refused = copy(&from, &to, |_| panic!("it has begun")).await;
        assert_eq!(refused, Err(CopyError::NotEmpty(what)));
        assert_eq!(to.record(run_id(1)).await.unwrap(), None);
    }
}

type Change = fn(&mut everstep_core::Commit);

/// Every difference is found, in both directions.
#[tokio::test]
async fn a_comparison_finds_what_differs() {
    let from = Memory::new();
    from.commit(first(1)).await.unwrap();
    from.commit(next(&first(1).record, 4, 2)).await.unwrap();
    let entry: Change = |to| {
        to.entries[0].event = JournalEvent::RunCompleted { output: Payload::null() };
    };
    let changes: [(&str, Change); 4] = [
        ("an entry", entry),
        ("a line", |to| to.logs[1].message.push('!')),
        ("a reference", |to| to.references.push(InputHash::of(b"more"))),
        ("the record", |to| to.record.attempt += 1),
    ];
    for (what, change) in changes {
        let to = Memory::new();
        to.commit(first(1)).await.unwrap();
        let mut other = next(&first(1).record, 4, 2);
        change(&mut other);
        to.commit(other).await.unwrap();
        let found = compare(&from, &to, |_| {}).await;
        assert_eq!(found, Err(CopyError::Differs(format!("run {}", run_id(1)))), "{what}");
    }
    let to = Memory::new();
    copy(&from, &to, |_| {}).await.unwrap();
    to.commit(first(2)).await.unwrap();
    let more = Err(CopyError::Differs("the number of runs".into()));
    assert_eq!(compare(&from, &to, |_| {}).await, more);
    let fewer = Err(CopyError::Differs(format!("run {}", run_id(2))));
    assert_eq!(compare(&to, &from, |_| {}).await, fewer);
    to.put_schedule(schedule(1), None).await.unwrap();
    assert_eq!(compare(&from, &to, |_| {}).await, Err(CopyError::Differs("schedules".into())));
}
