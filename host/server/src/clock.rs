//! The one place where the server reads the time. Everything below it is told.

use everstep_core::Timestamp;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

/// What stands in for the system's clock, if something does.
static SOURCE: OnceLock<fn() -> Timestamp> = OnceLock::new();

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
    Timestamp::from_millis(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
}
