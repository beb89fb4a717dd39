//! The cursor of a list of runs: the start and the number of the last run shown. Runs keep both for
//! ever, which is why a cursor stays valid whatever happens to the list.

use crate::StoreError;

/// Orders runs from old to new: by start, then by number (the order in which the store met them).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) started_at: u64,
    pub(crate) no: u64,
}

impl Place {
    pub(crate) fn to_cursor(self) -> String {
        format!("{:x}-{:x}", self.started_at, self.no)
    }

    pub(crate) fn from_cursor(cursor: &str) -> Result<Self, StoreError> {
        let number = |digits: &str| {
            u64::from_str_radix(digits, 16).ok().filter(|number| i64::try_from(*number).is_ok())
        };
        cursor
            .split_once('-')
            .and_then(|(at, no)| Some(Self { started_at: number(at)?, no: number(no)? }))
            .ok_or_else(|| StoreError::BadCursor(cursor.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_anything_else_is_refused() {
        let place = Place { started_at: 1_700_000_000_000, no: 42 };
        assert_eq!(Place::from_cursor(&place.to_cursor()).unwrap(), place);
        for wrong in ["", "-", "1", "x-1", "1-ffffffffffffffff", "1-2-3"] {
            assert!(Place::from_cursor(wrong).is_err(), "{wrong}");
        }
    }
}
