//! Instants. The core never asks for the time; it is handed in. Everything is whole milliseconds
//! since 1970 in UTC, written as RFC 3339 for people and as a number in the store.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A hundred years in milliseconds: nothing may be further away, or take longer.
pub const CENTURY_MS: u64 = 36_525 * 24 * 60 * 60 * 1_000;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

/// The last instant that can be written as RFC 3339: 9999-12-30T22:00:00Z.
const LAST_MILLIS: u64 = 253_402_207_200_000;

impl Timestamp {
    /// The instant this many milliseconds after 1970; later ones than the year 9999 are cut there.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(if millis > LAST_MILLIS { LAST_MILLIS } else { millis })
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// This instant and so many milliseconds later.
    #[must_use]
    pub const fn plus(self, millis: u64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// How many milliseconds this is after `earlier`; 0 when it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = i64::try_from(self.0).unwrap_or(i64::MAX);
        let instant = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{instant:.3}")
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text is not an RFC 3339 instant since 1970.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an instant like 2026-05-01T09:30:00Z")]
pub struct ParseTimestampError(String);

impl FromStr for Timestamp {
    type Err = ParseTimestampError;
    fn from_str(text: &str) -> Result<Self, ParseTimestampError> {
        text.parse::<jiff::Timestamp>()
            .ok()
            .and_then(|instant| u64::try_from(instant.as_millisecond()).ok())
            .map(Self::from_millis)
            .ok_or_else(|| ParseTimestampError(text.chars().take(80).collect()))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_u64(self.0)
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            u64::deserialize(deserializer).map(Self::from_millis)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn text_has_milliseconds_and_reads_back() {
        let instant = Timestamp::from_millis(1_777_627_800_120);
        assert_eq!(instant.to_string(), "2026-05-01T09:30:00.120Z");
        assert_eq!("2026-05-01T11:30:00.12+02:00".parse::<Timestamp>().unwrap(), instant);
        assert_eq!(serde_json::to_string(&instant).unwrap(), "\"2026-05-01T09:30:00.120Z\"");
    }

    #[test]
    fn arithmetic_saturates() {
        let last = Timestamp::from_millis(u64::MAX);
        assert_eq!(last.plus(u64::MAX), last);
        assert_eq!(last.to_string().parse::<Timestamp>().unwrap(), last);
        assert_eq!(Timestamp::from_millis(1).since(last), 0);
        assert!("1969-12-31T23:59:59Z".parse::<Timestamp>().is_err());
    }
}
