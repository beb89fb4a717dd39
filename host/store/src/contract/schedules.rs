//! Schedules: kept, changed by one at a time, listed in order, deleted.

use crate::{Store, StoreError};
use everstep_core::schedule::{Cause, Firing, Overlap, ScheduleBody, ScheduledStart, Spec};
use everstep_core::{Payload, Schedule, ScheduleId, Timestamp};
use std::sync::Arc;

fn schedule(n: u64) -> Schedule {
    let start = ScheduledStart {
        input: Payload::from_bytes(b"{\"a\": [1.50]}").ok(),
        tags: [("team".to_owned(), "blue".to_owned())].into(),
        ..ScheduledStart::new("w")
    };
    let spec = Spec::Cron { expression: "0 9 * * *".into(), time_zone: "Europe/Berlin".into() };
    let body = ScheduleBody { reference: Some(format!("s{n}")), ..ScheduleBody::new(spec, start) };
    Schedule::new(body, [0; 16], Timestamp::from_millis(1_700_000_000_000 + n)).unwrap()
}

/// The same schedule after a change.
fn changed(schedule: &Schedule) -> Schedule {
    let mut changed = schedule.clone();
    changed.revision += 1;
    changed.admit(Firing::new(changed.created_at, Cause::Due), Overlap::Allow, false);
    changed
}

/// What is put is read back, and a change must have been decided for what is there.
pub async fn schedules_change_one_step_at_a_time(store: Arc<dyn Store>) {
    let first = schedule(1);
    assert_eq!(store.schedule(first.id).await.unwrap(), None);
    let nothing_there = StoreError::ScheduleChanged { revision: None };
    let early = store.put_schedule(changed(&first), Some(first.revision)).await;
    assert_eq!(early, Err(nothing_there.clone()));
    store.put_schedule(first.clone(), None).await.unwrap();
    assert_eq!(store.schedule(first.id).await.unwrap(), Some(first.clone()));
    let there = StoreError::ScheduleChanged { revision: Some(first.revision) };
    assert_eq!(store.put_schedule(first.clone(), None).await, Err(there));

    let second = changed(&first);
    store.put_schedule(second.clone(), Some(first.revision)).await.unwrap();
    assert_eq!(store.schedule(first.id).await.unwrap(), Some(second.clone()));
    let moved_on = StoreError::ScheduleChanged { revision: Some(second.revision) };
    let late = store.put_schedule(changed(&first), Some(first.revision)).await;
    assert_eq!(late, Err(moved_on));
    assert_eq!(store.schedule(first.id).await.unwrap(), Some(second.clone()));

    assert!(store.delete_schedule(first.id).await.unwrap());
    assert!(!store.delete_schedule(first.id).await.unwrap());
    assert_eq!(store.schedule(first.id).await.unwrap(), None);
    let late = store.put_schedule(changed(&second), Some(second.revision)).await;
    assert_eq!(late, Err(nothing_there));
}

/// Of many changes that were decided for the same revision, one is made.
pub async fn one_change_of_a_schedule_wins(store: Arc<dyn Store>) {
    let first = schedule(1);
    store.put_schedule(first.clone(), None).await.unwrap();
    let tries = (1..=20).map(|n| {
        let store = Arc::clone(&store);
        let mut next = changed(&first);
        next.state.fired = n;
        tokio::spawn(async move {
            let answer = store.put_schedule(next, Some(1_700_000_000_001)).await;
            answer.map(|()| n)
        })
    });
    let mut winners = Vec::new();
    for attempt in tries.collect::<Vec<_>>() {
        winners.extend(attempt.await.unwrap().ok());
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(store.schedule(first.id).await.unwrap().unwrap().state.fired, winners[0]);
}

/// Pages follow each other in the order of creation, whatever is deleted in between.
pub async fn schedules_are_listed_in_order(store: Arc<dyn Store>) {
    let all: Vec<Schedule> = (0..25).map(schedule).collect();
    for schedule in &all {
        store.put_schedule(schedule.clone(), None).await.unwrap();
    }
    let mut found = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.schedules(after.as_deref(), 10).await.unwrap();
        assert!(page.schedules.len() <= 10 && page.damaged.is_empty());
        found.extend(page.schedules);
        after = page.cursor;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, all);
    let first = store.schedules(None, 10).await.unwrap();
    for schedule in &all[5..12] {
        assert!(store.delete_schedule(schedule.id).await.unwrap());
    }
    // A new one comes last, also when the last one was deleted.
    assert!(store.delete_schedule(all[24].id).await.unwrap());
    store.put_schedule(schedule(99), None).await.unwrap();
    let rest = store.schedules(first.cursor.as_deref(), 1_000).await.unwrap();
    let ids: Vec<ScheduleId> = rest.schedules.iter().map(|schedule| schedule.id).collect();
    let expected = all[12..24].iter().map(|schedule| schedule.id).chain([schedule(99).id]);
    assert_eq!(ids, expected.collect::<Vec<_>>());
    assert_eq!(rest.cursor, None);
    let wrong = store.schedules(Some("1-2"), 10).await;
    assert_eq!(wrong, Err(StoreError::BadCursor("1-2".into())));
}
