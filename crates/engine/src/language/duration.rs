//! Durations as documents write them: ISO 8601 text, an object of whole
//! numbers, or an expression that gives either.

use std::time::Duration;

use serde_json::Value;

use crate::expression::Expression;

/// A duration of a document.
#[derive(Debug, Clone)]
pub enum DurationSource {
    Fixed(Duration),
    /// What it gives is read with [`duration_from_value`].
    Expression(Expression),
}

/// Why something is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("`{0}` is not an ISO 8601 duration such as `PT8S`, `PT1M30S` or `P2DT12H`")]
    Malformed(String),
    #[error("`{0}` counts in years or months, which have no fixed length; count in days")]
    Calendar(String),
    #[error("`{0}` is longer than ten thousand days")]
    TooLong(String),
    #[error(
        "a duration is ISO 8601 text or an object of days, hours, minutes, seconds and milliseconds"
    )]
    WrongType,
    #[error(
        "`{0}` is no unit of a duration: it has days, hours, minutes, seconds and milliseconds"
    )]
    UnknownUnit(String),
    #[error("`{0}` must be a whole number that is not negative")]
    WrongCount(String),
    #[error(
        "a duration object needs at least one of days, hours, minutes, seconds and milliseconds"
    )]
    Empty,
}

/// Far beyond any sensible wait, and small enough that sums never overflow.
const MAX: Duration = Duration::from_hours(10_000 * 24);

/// The units of a duration object, with their length in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("days", 86_400_000),
    ("hours", 3_600_000),
    ("minutes", 60_000),
    ("seconds", 1_000),
    ("milliseconds", 1),
];

/// Reads what a document or an expression gives for a duration.
pub fn duration_from_value(value: &Value) -> Result<Duration, DurationError> {
    match value {
        Value::String(text) => duration_from_text(text),
        Value::Object(units) => duration_from_units(units),
        _ => Err(DurationError::WrongType),
    }
}

fn duration_from_units(units: &serde_json::Map<String, Value>) -> Result<Duration, DurationError> {
    if units.is_empty() {
        return Err(DurationError::Empty);
    }
    let mut total = Duration::ZERO;
    for (unit, count) in units {
        let (_, millis) = UNITS
            .iter()
            .find(|(name, _)| name == unit)
            .ok_or_else(|| DurationError::UnknownUnit(unit.clone()))?;
        let count = count
            .as_u64()
            .ok_or_else(|| DurationError::WrongCount(unit.clone()))?;
        let part = count
            .checked_mul(*millis)
            .map(Duration::from_millis)
            .filter(|part| *part <= MAX)
            .ok_or_else(|| DurationError::TooLong(unit.clone()))?;
        total += part;
    }
    if total > MAX {
        return Err(DurationError::TooLong("the sum".to_owned()));
    }
    Ok(total)
}

/// Reads an ISO 8601 duration: weeks, days, hours, minutes and seconds, each
/// with or without a fraction.
pub fn duration_from_text(text: &str) -> Result<Duration, DurationError> {
    let malformed = || DurationError::Malformed(text.to_owned());
    let mut rest = text.trim().strip_prefix('P').ok_or_else(malformed)?;
    let mut micros: u128 = 0;
    let mut in_time = false;
    // Each unit may come once and only after the larger ones.
    let mut last_rank = 0;
    let mut parts = 0;
    while !rest.is_empty() {
        if let Some(time) = rest.strip_prefix('T') {
            if in_time || time.is_empty() {
                return Err(malformed());
            }
            in_time = true;
            rest = time;
        }
        let end = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(malformed)?;
        let (number, after) = rest.split_at(end);
        let unit = after.chars().next().ok_or_else(malformed)?;
        rest = &after[unit.len_utf8()..];
        let (rank, unit_micros): (u8, u128) = match (in_time, unit) {
            (false, 'Y' | 'M') => return Err(DurationError::Calendar(text.to_owned())),
            (false, 'W') => (1, 604_800_000_000),
            (false, 'D') => (2, 86_400_000_000),
            (true, 'H') => (3, 3_600_000_000),
            (true, 'M') => (4, 60_000_000),
            (true, 'S') => (5, 1_000_000),
            _ => return Err(malformed()),
        };
        if rank <= last_rank {
            return Err(malformed());
        }
        last_rank = rank;
        parts += 1;
        let part = scaled(number, unit_micros).ok_or_else(malformed)?;
        micros = micros
            .checked_add(part)
            .filter(|sum| *sum <= MAX.as_micros())
            .ok_or_else(|| DurationError::TooLong(text.to_owned()))?;
    }
    if parts == 0 {
        return Err(malformed());
    }
    let micros = u64::try_from(micros).map_err(|_| DurationError::TooLong(text.to_owned()))?;
    Ok(Duration::from_micros(micros))
}

/// `number` (digits, perhaps with a fraction) times `unit`, rounded down;
/// values beyond any limit saturate.
fn scaled(number: &str, unit: u128) -> Option<u128> {
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return None,
        None => (number, ""),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !(fraction.is_empty() || digits(fraction)) {
        return None;
    }
    let whole = whole
        .parse::<u64>()
        .map_or(u128::from(u64::MAX), u128::from);
    // Twelve digits are finer than a microsecond of a week.
    let fraction = &fraction[..fraction.len().min(12)];
    let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or(0));
    let part = fraction.parse::<u128>().unwrap_or(0) * unit / scale;
    Some(whole * unit + part)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn iso_texts_are_read_to_the_microsecond() {
        for (text, micros) in [
            ("PT8S", 8_000_000),
            ("PT0S", 0),
            ("PT0.25S", 250_000),
            ("PT1M30S", 90_000_000),
            ("P1D", 86_400_000_000),
            ("P1DT12H", 129_600_000_000),
            ("P2W", 1_209_600_000_000),
            ("PT1.5H", 5_400_000_000),
            ("PT0.0000019S", 1),
        ] {
            let read = duration_from_text(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!(read, Duration::from_micros(micros), "{text}");
        }
    }

    #[test]
    fn texts_that_are_no_duration_are_refused() {
        for text in [
            "",
            "P",
            "PT",
            "8S",
            "PT8",
            "T8S",
            "P8S",
            "PT8s",
            "PT-8S",
            "-PT8S",
            "PT1S1M",
            "PT1.S",
            "PT.5S",
            "P1DT",
            "PT1..2S",
            "8 seconds",
            "PT8S ago",
            "PTé",
        ] {
            assert_eq!(
                duration_from_text(text),
                Err(DurationError::Malformed(text.to_owned())),
                "{text}"
            );
        }
        assert!(matches!(
            duration_from_text("P1M"),
            Err(DurationError::Calendar(_))
        ));
        assert!(matches!(
            duration_from_text("P1Y"),
            Err(DurationError::Calendar(_))
        ));
        for text in ["P10001D", "PT99999999999999999999999999S"] {
            assert!(
                matches!(duration_from_text(text), Err(DurationError::TooLong(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn duration_objects_add_up_their_units() {
        let read = duration_from_value(&json!({"minutes": 1, "seconds": 30, "milliseconds": 5}));
        assert_eq!(read, Ok(Duration::from_millis(90_005)));
        for (value, error) in [
            (json!({}), DurationError::Empty),
            (json!(8), DurationError::WrongType),
            (
                json!({"second": 1}),
                DurationError::UnknownUnit("second".into()),
            ),
            (
                json!({"seconds": -1}),
                DurationError::WrongCount("seconds".into()),
            ),
            (
                json!({"seconds": 1.5}),
                DurationError::WrongCount("seconds".into()),
            ),
            (
                json!({"days": 99999}),
                DurationError::TooLong("days".into()),
            ),
        ] {
            assert_eq!(duration_from_value(&value), Err(error), "{value}");
        }
    }
}
