//! Cron expressions in a time zone. The expression and the calendar are `croner`'s, the zones are
//! `jiff`'s, from the database that is built in, so that the same schedule fires at the same instants
//! on every machine; what happens when clocks change is decided here:
//!
//! - Hours that are named (`30 2 * * *`) fire once for every time on the wall that matches. A time
//!   that is skipped fires at the first instant behind the gap; of a time that comes twice, the
//!   first fires.
//! - Hours that roll (`*`, `*/2`) fire whenever the clock on the wall shows a match: nothing in a
//!   gap, both times of an hour that comes twice.
//!
//! Invariant: what [`Cron::next`] gives is after what it was asked for, so occurrences increase.

use super::SpecError;
use crate::Timestamp;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};

/// The longest expression, in bytes.
const LONGEST: usize = 256;
/// Times on the wall that one search looks at: more than seconds in the longest gap there ever was
/// (a day, when Samoa crossed the date line).
const MOST_STEPS: u32 = 200_000;

/// An expression and a zone, ready to be asked.
pub(super) struct Cron {
    pattern: croner::Cron,
    zone: TimeZone,
    rolls: bool,
}

impl Cron {
    /// Reads the expression (five fields, or six with seconds in front) and looks up the zone.
    pub(super) fn parse(expression: &str, zone: &str) -> Result<Self, SpecError> {
        let shown = || expression.chars().take(80).collect::<String>();
        if expression.len() > LONGEST {
            let problem = format!("it has more than {LONGEST} bytes");
            return Err(SpecError::Cron { expression: shown(), problem });
        }
        let parser =
            CronParser::builder().seconds(Seconds::Optional).year(Year::Disallowed).build();
        let pattern = parser
            .parse(expression)
            .map_err(|error| SpecError::Cron { expression: shown(), problem: error.to_string() })?;
        Ok(Self { pattern, zone: find_zone(zone)?, rolls: hours_roll(expression) })
    }

    /// The first occurrence after an instant; none when there is none any more.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let start = jiff::Timestamp::from_second(i64::try_from(after.as_millis() / 1_000).ok()?);
        let start = start.ok()?.to_zoned(self.zone.clone());
        if self.rolls {
            let found = self.pattern.find_next_occurrence(&start, false).ok()?;
            return instant(found.timestamp()).filter(|found| *found > after);
        }
        // The walk over the calendar knows no gaps: it goes by a clock that is never changed.
        let mut wall = start.datetime().to_zoned(TimeZone::UTC).ok()?;
        for _ in 0..MOST_STEPS {
            wall = self.pattern.find_next_occurrence(&wall, false).ok()?;
            let found = self.on_the_wall(wall.datetime())?;
            if found > after {
                return Some(found);
            }
        }
        None
    }

    /// The instant at which the clock on the wall shows this time; first the first time, and the
    /// end of the gap when it never does.
    fn on_the_wall(&self, time: jiff::civil::DateTime) -> Option<Timestamp> {
        let found = match self.zone.to_ambiguous_timestamp(time).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time).ok()?,
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(time).ok()?,
            AmbiguousOffset::Gap { after, .. } => {
                // With the later offset a time in the gap lies just before the change.
                let before_change = after.to_timestamp(time).ok()?;
                self.zone.following(before_change).next()?.timestamp()
            }
        };
        instant(found)
    }
}

fn instant(found: jiff::Timestamp) -> Option<Timestamp> {
    u64::try_from(found.as_millisecond()).ok().map(Timestamp::from_millis)
}

/// Whether the hours of an expression are a rhythm and not times of the day.
fn hours_roll(expression: &str) -> bool {
    let fields: Vec<&str> = expression.split_whitespace().collect();
    match fields.as_slice() {
        [nickname] => nickname.eq_ignore_ascii_case("@hourly"),
        [_, hours, _, _, _] | [_, _, hours, _, _, _] => hours.contains(['*', '/']),
        _ => false,
    }
}

/// A zone of the built-in database.
pub(super) fn find_zone(name: &str) -> Result<TimeZone, SpecError> {
    TimeZoneDatabase::bundled()
        .get(name)
        .map_err(|_| SpecError::TimeZone(name.chars().take(80).collect()))
}
