//! How long to wait between attempts to reach a server that went away, and when to give up. Used by
//! waits and by streams, which outlive a restart of the server.

use std::time::{Duration, Instant};

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(2);

/// The attempts of one outage.
#[derive(Debug)]
pub(crate) struct Backoff {
    until: Instant,
    next: Duration,
}

impl Backoff {
    /// Attempts for at most this long from now on.
    pub(crate) fn within(limit: Duration) -> Self {
        Self { until: Instant::now() + limit, next: FIRST }
    }

    /// How long to wait before the next attempt; none when the time is up.
    pub(crate) fn next_delay(&mut self) -> Option<Duration> {
        let delay = self.next;
        self.next = (delay * 2).min(LONGEST);
        (Instant::now() + delay <= self.until).then_some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_bound_and_end() {
        let mut backoff = Backoff::within(Duration::from_secs(60));
        let delays: Vec<_> = std::iter::from_fn(|| backoff.next_delay()).take(7).collect();
        let millis: Vec<_> = delays.iter().map(Duration::as_millis).collect();
        assert_eq!(millis, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert_eq!(Backoff::within(Duration::ZERO).next_delay(), None);
    }
}
