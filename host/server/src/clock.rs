//! The one place where the server reads the time. Everything below it is told.

use everstep_core::Timestamp;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// What stands in for the system's clock, if something does.
static SOURCE: OnceLock<fn() -> Timestamp> = OnceLock::new();
/// A variable that makes the clock of the process wrong by so many milliseconds: for tests of what becomes
/// of that, and for nothing else.
const SKEW: &str = "EVERSTEP_CLOCK_SKEW_MS";

/// The time now. A clock before 1970 counts as 1970.
#[must_use]
pub fn now() -> Timestamp {
    SOURCE.get().map_or_else(system, |source| source())
}

/// Has this process take the time from somewhere else, for good: a simulation makes its own. The first
/// call counts.
pub fn take_from(source: fn() -> Timestamp) {
    SOURCE.get_or_init(|| source);
}

fn system() -> Timestamp {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let elapsed = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
    Timestamp::from_millis(elapsed.saturating_add_signed(skew()))
}

fn skew() -> i64 {
    static READ: OnceLock<i64> = OnceLock::new();
    *READ.get_or_init(|| {
        let said = std::env::var(SKEW).ok();
        said.and_then(|said| said.parse().ok()).unwrap_or_default()
    })
}
