//! The clock of a server as its hosts know it: what the server said last, and the time since then by a
//! clock that nobody sets. Fed by the connection, read for every decision about a run.
//!
//! Invariant: it is never ahead of the server's, because what was said is as old as its way was long. So
//! no timer fires before its server says that it is due, however wrong the clock of the host's machine is.

use crate::clock;
use everstep_core::Timestamp;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// How many of the last words of the server count: the one of them with the shortest way is believed, and
/// a server whose clock was set back is followed after so many heartbeats.
const WORDS: usize = 8;

/// See the module.
#[derive(Debug)]
pub(super) struct ServerClock {
    begun: Instant,
    /// What the server's clock said when `begun` was, as far as each of its last words tells.
    words: Mutex<VecDeque<u64>>,
}

impl ServerClock {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), words: Mutex::default() }
    }

    fn elapsed(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// The server says what its clock shows; 0 when it does not tell.
    pub(super) fn hear(&self, server: u64) {
        if server > 0 {
            let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
            words.push_back(server.saturating_sub(self.elapsed()));
            let old = words.len().saturating_sub(WORDS);
            words.drain(..old);
        }
    }

    /// The time; that of this machine until the server has told its own.
    pub(super) fn now(&self) -> Timestamp {
        let words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
        match words.iter().max() {
            Some(begun) => Timestamp::from_millis(begun.saturating_add(self.elapsed())),
            None => clock::now(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 60 * 60 * 1_000;

    #[test]
    fn the_clock_of_the_machine_counts_only_until_the_server_has_spoken() {
        let followed = ServerClock::new();
        assert!(followed.now().since(clock::now()) < DAY);
        followed.hear(0);
        assert!(clock::now().since(followed.now()) < DAY, "a server that does not tell");
        followed.hear(10 * DAY);
        assert_eq!(followed.now().as_millis() / DAY, 10);
    }

    #[test]
    fn a_word_that_was_long_on_its_way_changes_nothing() {
        let followed = ServerClock::new();
        followed.hear(10 * DAY);
        followed.hear(10 * DAY - 5_000);
        assert_eq!(followed.now().as_millis() / DAY, 10);
        for _ in 0..WORDS {
            followed.hear(5 * DAY);
        }
        assert_eq!(followed.now().as_millis() / DAY, 5, "the server's clock was set back");
    }
}
