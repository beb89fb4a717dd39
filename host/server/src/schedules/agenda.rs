//! When each schedule is to be looked at next. The loop takes what is due and says afterwards when
//! to look again; whoever changes a schedule wakes it.
//!
//! Invariant: a wake is never lost. One that comes while the loop is working on the schedule wins
//! over what the loop says afterwards, because the loop may have seen the schedule as it was before.

use everstep_core::{ScheduleId, Timestamp};
use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// See the module. Its size is bounded by the number of schedules, which the service bounds.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entries: Mutex<Entries>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Entries {
    due: BTreeSet<(Timestamp, ScheduleId)>,
    slots: HashMap<ScheduleId, Slot>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Slot {
    at: Option<Timestamp>,
    wakes: u64,
}

/// When to look at a schedule again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// At this time.
    At(Timestamp),
    /// When it is woken.
    WhenWoken,
    /// Never: it was deleted.
    Gone,
}

/// A schedule that was taken, and what was known of it then.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ticket {
    pub(crate) schedule: ScheduleId,
    wakes: u64,
}

impl Agenda {
    /// Has a schedule looked at as soon as possible.
    pub(crate) fn wake(&self, schedule: ScheduleId) {
        let mut entries = self.entries();
        let slot = entries.slots.entry(schedule).or_default();
        slot.wakes += 1;
        entries.set(schedule, Some(Timestamp::default()));
        drop(entries);
        self.changed.notify_one();
    }

    /// Takes what is due, at most so many.
    pub(crate) fn take_due(&self, now: Timestamp, most: usize) -> Vec<Ticket> {
        let mut entries = self.entries();
        let mut taken = Vec::new();
        while taken.len() < most {
            let Some(&(at, schedule)) = entries.due.first() else { break };
            if at > now {
                break;
            }
            entries.set(schedule, None);
            let wakes = entries.slots.get(&schedule).map_or(0, |slot| slot.wakes);
            taken.push(Ticket { schedule, wakes });
        }
        taken
    }

    /// Says when to look again at a schedule that was taken.
    pub(crate) fn settle(&self, ticket: Ticket, look: Look) {
        let mut entries = self.entries();
        if entries.slots.get(&ticket.schedule).is_none_or(|slot| slot.wakes != ticket.wakes) {
            return;
        }
        match look {
            Look::At(at) => entries.set(ticket.schedule, Some(at)),
            Look::WhenWoken => {}
            Look::Gone => {
                entries.slots.remove(&ticket.schedule);
            }
        }
    }

    /// Has everything that has a time looked at again.
    pub(crate) fn recall(&self) {
        let mut entries = self.entries();
        let timed: Vec<ScheduleId> = entries.due.iter().map(|(_, schedule)| *schedule).collect();
        for schedule in timed {
            entries.set(schedule, Some(Timestamp::default()));
        }
    }

    /// The first time at which something is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.entries().due.first().map(|(at, _)| *at)
    }

    /// Returns when something was woken.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// How many schedules there are.
    pub(crate) fn len(&self) -> usize {
        self.entries().slots.len()
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    fn set(&mut self, schedule: ScheduleId, at: Option<Timestamp>) {
        let Some(slot) = self.slots.get_mut(&schedule) else { return };
        if let Some(old) = std::mem::replace(&mut slot.at, at) {
            self.due.remove(&(old, schedule));
        }
        if let Some(at) = at {
            self.due.insert((at, schedule));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn id(n: u8) -> ScheduleId {
        ScheduleId::from_bytes([n; 16])
    }

    fn ids(tickets: &[Ticket]) -> Vec<ScheduleId> {
        tickets.iter().map(|ticket| ticket.schedule).collect()
    }

    #[test]
    fn what_is_due_is_taken_in_order_and_once() {
        let agenda = Agenda::default();
        for (n, millis) in [(1, 30), (2, 10), (3, 20)] {
            agenda.wake(id(n));
            let ticket = agenda.take_due(at(0), 1)[0];
            agenda.settle(ticket, Look::At(at(millis)));
        }
        assert_eq!(agenda.next(), Some(at(10)));
        assert!(agenda.take_due(at(9), 10).is_empty());
        assert_eq!(ids(&agenda.take_due(at(25), 10)), [id(2), id(3)]);
        assert!(agenda.take_due(at(25), 10).is_empty());
        assert_eq!(agenda.len(), 3);
        agenda.recall();
        assert_eq!(ids(&agenda.take_due(at(0), 10)), [id(1)], "those that were taken stay so");
    }

    #[test]
    fn a_wake_while_it_is_worked_on_is_not_lost() {
        let agenda = Agenda::default();
        agenda.wake(id(1));
        let ticket = agenda.take_due(at(0), 1)[0];
        agenda.wake(id(1));
        agenda.settle(ticket, Look::WhenWoken);
        let ticket = agenda.take_due(at(0), 1)[0];
        agenda.wake(id(1));
        agenda.settle(ticket, Look::Gone);
        assert_eq!(ids(&agenda.take_due(at(0), 1)), [id(1)], "it was made again meanwhile");
    }

    #[test]
    fn what_is_gone_is_forgotten() {
        let agenda = Agenda::default();
        agenda.wake(id(1));
        let ticket = agenda.take_due(at(0), 1)[0];
        agenda.settle(ticket, Look::Gone);
        agenda.settle(ticket, Look::At(at(5)));
        assert_eq!((agenda.next(), agenda.len()), (None, 0));
    }
}
