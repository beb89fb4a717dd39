//! When a schedule fires: by cron expression or by interval. Everything here is arithmetic on
//! instants that are handed in.

use super::cron::{Cron, find_zone};
use crate::Timestamp;
use serde::{Deserialize, Serialize};

/// The shortest interval, in milliseconds.
pub const SHORTEST_INTERVAL_MS: u64 = 1_000;
/// The longest interval: 100 years, in milliseconds.
pub const LONGEST_INTERVAL_MS: u64 = crate::time::CENTURY_MS;

/// When a schedule fires.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Spec {
    /// At the times of a cron expression.
    Cron {
        /// Five fields, or six with seconds in front.
        expression: String,
        /// A name of the IANA database, such as `Europe/Berlin`.
        #[serde(default = "utc")]
        time_zone: String,
    },
    /// Whenever so many milliseconds since 1970 have passed.
    Every {
        /// Milliseconds from one occurrence to the next.
        interval_ms: u64,
        /// How much later each occurrence is, in milliseconds; less than the interval.
        #[serde(default)]
        offset_ms: u64,
    },
}

fn utc() -> String {
    "UTC".into()
}

/// Why a schedule cannot fire like that. `code` is stable and has a section in the docs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// The expression cannot be read.
    #[error("`{expression}` is not a cron expression: {problem}")]
    Cron {
        /// Its beginning.
        expression: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The expression never matches.
    #[error("`{0}` never matches: there is no such date")]
    Never(String),
    /// There is no such zone.
    #[error("there is no time zone `{0}`")]
    TimeZone(String),
    /// The interval is out of its bounds.
    #[error("{0}")]
    Interval(String),
}

impl SpecError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Cron { .. } => "schedule.cron",
            Self::Never(_) => "schedule.never",
            Self::TimeZone(_) => "schedule.time_zone",
            Self::Interval(_) => "schedule.interval",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Cron { .. } => {
                "write minute, hour, day, month and weekday, such as `0 9 * * MON-FRI`; seconds may \
                 stand in front"
            }
            Self::Never(_) => "correct the day or the month",
            Self::TimeZone(_) => "use a name like `Europe/Berlin` or `UTC`",
            Self::Interval(_) => "give an interval from 1 s to 100 years, and an offset below it",
        }
    }
}

impl Spec {
    /// Says what is wrong with a spec that came from outside.
    ///
    /// # Errors
    /// When it cannot be read, is out of its bounds, or does not fire after `now`.
    pub fn check(&self, now: Timestamp) -> Result<(), SpecError> {
        let next = self.reader()?.next(now);
        match self {
            Self::Every { interval_ms, .. }
                if !(SHORTEST_INTERVAL_MS..=LONGEST_INTERVAL_MS).contains(interval_ms) =>
            {
                let problem = format!("an interval of {interval_ms} ms is not allowed");
                Err(SpecError::Interval(problem))
            }
            Self::Every { interval_ms, offset_ms } if offset_ms >= interval_ms => {
                let problem = format!("an offset of {offset_ms} ms is not below the interval");
                Err(SpecError::Interval(problem))
            }
            Self::Cron { expression, .. } if next.is_none() => {
                Err(SpecError::Never(expression.chars().take(80).collect()))
            }
            _ => Ok(()),
        }
    }

    /// The next occurrences after an instant, at most `count`.
    ///
    /// # Errors
    /// When the spec is none.
    pub fn occurrences(&self, after: Timestamp, count: usize) -> Result<Vec<Timestamp>, SpecError> {
        let reader = self.reader()?;
        let following = std::iter::successors(reader.next(after), |at| reader.next(*at));
        Ok(following.take(count).collect())
    }

    /// The occurrences from one instant to another, both included, at most `most`.
    ///
    /// # Errors
    /// When the spec is none.
    pub fn between(
        &self,
        from: Timestamp,
        to: Timestamp,
        most: usize,
    ) -> Result<Vec<Timestamp>, SpecError> {
        let reader = self.reader()?;
        let before = Timestamp::from_millis(from.as_millis().saturating_sub(1));
        let following = std::iter::successors(reader.next(before), |at| reader.next(*at));
        Ok(following.take_while(|at| *at <= to).take(most).collect())
    }

    /// An instant as the clock on the wall of the schedule's zone shows it; none for intervals,
    /// which have no zone.
    #[must_use]
    pub fn local(&self, at: Timestamp) -> Option<String> {
        let Self::Cron { time_zone, .. } = self else { return None };
        let instant = jiff::Timestamp::from_millisecond(i64::try_from(at.as_millis()).ok()?);
        let local = instant.ok()?.to_zoned(find_zone(time_zone).ok()?);
        let (offset, time) = (local.offset(), local.datetime());
        Some(format!("{} {:.0} {offset}", time.date(), time.time()))
    }

    /// Makes it ready to be asked.
    pub(super) fn reader(&self) -> Result<Reader, SpecError> {
        match self {
            Self::Cron { expression, time_zone } => {
                Cron::parse(expression, time_zone).map(|cron| Reader::Cron(Box::new(cron)))
            }
            Self::Every { interval_ms, offset_ms } => {
                Ok(Reader::Every { interval: (*interval_ms).max(1), offset: *offset_ms })
            }
        }
    }
}

/// A spec that has been read.
pub(super) enum Reader {
    Cron(Box<Cron>),
    Every { interval: u64, offset: u64 },
}

impl Reader {
    /// The first occurrence after an instant.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Cron(cron) => cron.next(after),
            Self::Every { interval, offset } => {
                let passed = match after.as_millis().checked_sub(*offset) {
                    Some(since) => since / interval + 1,
                    None => 0,
                };
                let at = passed.checked_mul(*interval)?.checked_add(*offset)?;
                // Instants are cut at the end of the year 9999, behind which there is nothing.
                Some(Timestamp::from_millis(at)).filter(|at| *at > after)
            }
        }
    }

    /// The last occurrence at or before `until`, given that `first` is one. About forty searches,
    /// however many occurrences lie between.
    pub(super) fn last(&self, first: Timestamp, until: Timestamp) -> Timestamp {
        let (mut last, mut end) = (first, until);
        // Invariant: `last` is an occurrence, and there is none behind `end` up to `until`.
        while last < end {
            let middle = last.plus((end.since(last)) / 2);
            match self.next(middle) {
                Some(at) if at <= until => last = at,
                _ if middle == last => break,
                _ => end = middle,
            }
        }
        last
    }
}
