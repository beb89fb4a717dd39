//! The limits on single tasks, by name: how many attempts are executed at once, and how many begin
//! in a time. They hold for this host and all runs that it has.

use everstep_core::manifest::{Rate, TaskDefinition};
use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

/// How many gates are remembered; those that nobody uses go first.
const REMEMBERED: usize = 10_000;

#[derive(Default)]
pub(super) struct Gates(Mutex<HashMap<Key, Gate>>);

/// Two versions of a module may have different limits for a task of one name.
type Key = (String, Option<NonZeroU32>, Option<Rate>);

struct Gate {
    places: Option<Arc<Semaphore>>,
    /// When the next attempt may begin.
    next: Arc<tokio::sync::Mutex<Instant>>,
}

impl Gates {
    /// Waits until an attempt of this task may begin. The attempt keeps what it gets.
    pub(super) async fn pass(&self, task: &TaskDefinition) -> Option<OwnedSemaphorePermit> {
        if task.concurrency.is_none() && task.rate.is_none() {
            return None;
        }
        let places = self.gate(task, |gate| gate.places.clone());
        // Nobody closes the semaphore.
        let place = match places {
            Some(places) => places.acquire_owned().await.ok(),
            None => None,
        };
        if let Some(rate) = task.rate {
            // One waits for its turn at a time, the others for it; a turn that nobody takes in the
            // end goes to the next one.
            let next = self.gate(task, |gate| Arc::clone(&gate.next));
            let mut next = next.lock().await;
            tokio::time::sleep_until(*next).await;
            *next = Instant::now().max(*next) + apart(rate);
        }
        place
    }

    fn gate<T>(&self, task: &TaskDefinition, with: impl FnOnce(&mut Gate) -> T) -> T {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if gates.len() >= REMEMBERED {
            let now = Instant::now();
            gates.retain(|_, gate| gate.is_used(now));
        }
        let key = (task.name.clone(), task.concurrency, task.rate);
        with(gates.entry(key).or_insert_with(|| Gate {
            places: task.concurrency.map(|most| Arc::new(Semaphore::new(most.get() as usize))),
            next: Arc::new(tokio::sync::Mutex::new(Instant::now())),
        }))
    }
}

impl Gate {
    fn is_used(&self, now: Instant) -> bool {
        let waits = self.next.try_lock().map_or(true, |next| *next > now);
        waits || self.places.as_ref().is_some_and(|it| Arc::strong_count(it) > 1)
    }
}

/// The time between two beginnings: the turns of a rate are spread evenly.
fn apart(rate: Rate) -> Duration {
    Duration::from_millis(rate.per_ms.get().into()) / rate.tasks.get()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::FutureExt;

    fn task(limits: serde_json::Value) -> TaskDefinition {
        let mut json = serde_json::json!({"name": "t"});
        json.as_object_mut().unwrap().extend(limits.as_object().unwrap().clone());
        serde_json::from_value(json).unwrap()
    }

    #[tokio::test]
    async fn so_many_pass_at_once_and_the_next_one_when_a_place_is_free() {
        let (gates, task) = (Gates::default(), task(serde_json::json!({"concurrency": 2})));
        let first = gates.pass(&task).await.unwrap();
        let _second = gates.pass(&task).await.unwrap();
        assert!(gates.pass(&task).now_or_never().is_none());
        drop(first);
        assert!(gates.pass(&task).now_or_never().is_some());
    }

    #[tokio::test]
    async fn a_rate_spreads_the_beginnings_and_loses_no_turn() {
        let task = task(serde_json::json!({"rate": {"tasks": 10, "per_ms": 1000}}));
        let gates = Gates::default();
        let begun = Instant::now();
        gates.pass(&task).await;
        for _ in 0..100 {
            assert!(gates.pass(&task).now_or_never().is_none(), "not yet, and given up");
        }
        gates.pass(&task).await;
        gates.pass(&task).await;
        let took = begun.elapsed();
        assert!(took >= Duration::from_millis(200), "{took:?}");
        assert!(took < Duration::from_secs(5), "those that gave up took turns: {took:?}");
    }
}
