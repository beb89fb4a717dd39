//! Durations and instants as people type and read them: `5s`, `1h30m`, `2d`.

use everstep_client::Timestamp;
use jiff::{Span, SpanRelativeTo};
use std::time::{Duration, SystemTime};

/// Reads `5s`, `10m`, `1h30m` or `2d`. A day is 24 hours.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration like 500ms, 5s, 10m, 1h30m or 2d");
    let span: Span = text.trim().parse().map_err(|_| wrong())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| format!("`{text}` is negative"))
}

/// Reads an instant (RFC 3339), or a duration that means so long ago.
pub(crate) fn parse_past(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = parse(text) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        return Ok(Timestamp::from_millis(millis(now.saturating_sub(ago))));
    }
    text.parse().map_err(|_| {
        format!("`{text}` is neither an instant like 2026-05-01T09:30:00Z nor an age like 2h")
    })
}

/// A duration in the unit of the API.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A duration in two units at most: `45ms`, `1.234s`, `2m 5s`, `3h 20m`, `1d 2h`.
pub(crate) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let two = |big: u64, unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{big}{unit}"),
        _ => format!("{big}{unit} {small}{small_unit}"),
    };
    match seconds {
        0 => format!("{}ms", duration.as_millis()),
        1..60 => match duration.subsec_millis() {
            0 => format!("{seconds}s"),
            millis => format!("{seconds}.{millis:03}s"),
        },
        60..3_600 => two(seconds / 60, "m", seconds % 60, "s"),
        3_600..86_400 => two(seconds / 3_600, "h", seconds % 3_600 / 60, "m"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// The time from one instant to another, in the form of [`short`].
pub(crate) fn between(earlier: Timestamp, later: Timestamp) -> String {
    short(Duration::from_millis(later.since(earlier)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        let cases = [
            ("0s", 0),
            ("500ms", 500),
            ("5s", 5_000),
            ("1.5s", 1_500),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("2d", 172_800_000),
            ("1w", 604_800_000),
            ("PT20M", 1_200_000),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).map(millis), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "5", "soon", "5 parsecs", "1y", "2mo"] {
            assert!(parse(text).unwrap_err().contains("is not a duration like"), "{text}");
        }
        assert_eq!(parse("-5s").unwrap_err(), "`-5s` is negative");
    }

    #[test]
    fn the_past_is_an_instant_or_an_age() {
        let instant = parse_past("2026-05-01T09:30:00Z").unwrap();
        assert_eq!(instant.to_string(), "2026-05-01T09:30:00.000Z");
        assert!(parse_past("1h").unwrap() < parse_past("1m").unwrap());
        assert!(parse_past("yesterday").unwrap_err().contains("neither an instant"));
    }

    #[test]
    fn durations_are_shown_in_two_units() {
        let cases = [
            (0, "0ms"),
            (45, "45ms"),
            (1_000, "1s"),
            (1_234, "1.234s"),
            (59_999, "59.999s"),
            (125_000, "2m 5s"),
            (3_600_000, "1h"),
            (12_000_000, "3h 20m"),
            (93_600_000, "1d 2h"),
        ];
        for (millis, expected) in cases {
            assert_eq!(short(Duration::from_millis(millis)), expected);
        }
    }
}
