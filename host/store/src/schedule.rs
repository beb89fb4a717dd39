//! Schedules as stores hand them out. The server makes them, and reads them all when it starts.

use everstep_core::{Schedule, ScheduleId};

/// A part of the list of schedules.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SchedulePage {
    /// In the order in which they were made.
    pub schedules: Vec<Schedule>,
    /// Where to go on; none at the end.
    pub cursor: Option<String>,
    /// Schedules of this page whose data is damaged. They are not in `schedules`: one of them must
    /// not hide the others, and must not vanish without a word either.
    pub damaged: Vec<ScheduleId>,
}

/// The place behind which a list goes on: the number of the last schedule shown.
pub(crate) fn place(cursor: Option<&str>) -> Result<u64, crate::StoreError> {
    let Some(cursor) = cursor else { return Ok(0) };
    let place = cursor.strip_prefix('s').and_then(|digits| u64::from_str_radix(digits, 16).ok());
    let wrong = || crate::StoreError::BadCursor(cursor.chars().take(80).collect());
    place.filter(|place| i64::try_from(*place).is_ok()).ok_or_else(wrong)
}

/// The cursor of a place.
pub(crate) fn cursor(place: u64) -> String {
    format!("s{place:x}")
}
