//! Durations as ISO 8601 writes them.

use std::time::Duration;

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    #[error("`{0}` is not an ISO 8601 duration such as `PT30S`, `PT15M`, `PT1H30M` or `P1D`")]
    Malformed(String),
    #[error("`{0}` counts in years or months, which have no fixed length; count in days")]
    Calendar(String),
    #[error("`{0}` is longer than ten thousand days")]
    TooLong(String),
}

/// Far beyond any sensible interval, and small enough that sums never overflow.
const MAX: Duration = Duration::from_hours(10_000 * 24);

/// Reads weeks, days, hours, minutes and seconds, each at most once and in
/// this order; seconds may have a fraction of up to six digits. A day is 24
/// hours.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let malformed = || DurationError::Malformed(text.to_owned());
    let body = text.strip_prefix('P').ok_or_else(malformed)?;
    let (date, time) = match body.split_once('T') {
        Some((_, "")) => return Err(malformed()),
        Some((date, time)) => (date, time),
        None => (body, ""),
    };
    if date.contains('Y') || date.contains('M') {
        return Err(DurationError::Calendar(text.to_owned()));
    }
    if date.is_empty() && time.is_empty() {
        return Err(malformed());
    }
    let days = sum(date, &[('W', 604_800), ('D', 86_400)]).ok_or_else(malformed)?;
    let rest = sum(time, &[('H', 3_600), ('M', 60), ('S', 1)]).ok_or_else(malformed)?;
    let micros = days.saturating_add(rest);
    if u128::from(micros) > MAX.as_micros() {
        return Err(DurationError::TooLong(text.to_owned()));
    }
    Ok(Duration::from_micros(micros))
}

/// Microseconds in `text`, whose units come in the order given.
fn sum(mut text: &str, units: &[(char, u64)]) -> Option<u64> {
    let mut units = units.iter();
    let mut micros = 0_u64;
    while !text.is_empty() {
        let end = text.find(|c: char| c.is_ascii_alphabetic())?;
        let (number, unit) = text.split_at(end);
        let unit = unit.chars().next()?;
        let (_, seconds) = units.find(|(letter, _)| *letter == unit)?;
        micros = micros.saturating_add(scaled(number, unit == 'S')?.saturating_mul(*seconds));
        text = &text[end + 1..];
    }
    Some(micros)
}

/// A decimal number in millionths.
fn scaled(number: &str, fraction_allowed: bool) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 6 {
        return None;
    }
    if number.contains('.') && !fraction_allowed {
        return None;
    }
    // More digits than fit are longer than any duration that is allowed.
    let whole: u64 = whole.parse().unwrap_or(u64::MAX);
    let fraction: u64 = format!("{fraction:0<6}").parse().ok()?;
    Some(whole.saturating_mul(1_000_000).saturating_add(fraction))
}

/// The ISO 8601 text of a duration, in seconds: what [`parse_duration`] reads.
pub fn format_duration(duration: Duration) -> String {
    match duration.subsec_micros() {
        0 => format!("PT{}S", duration.as_secs()),
        micros => {
            let fraction = format!("{micros:06}");
            format!(
                "PT{}.{}S",
                duration.as_secs(),
                fraction.trim_end_matches('0')
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up_and_keep_their_order() {
        for (text, millis) in [
            ("PT15M", 900_000),
            ("P1DT2H", 93_600_000),
            ("P2W", 1_209_600_000),
            ("PT1.5S", 1_500),
            ("PT0S", 0),
        ] {
            let read = parse_duration(text).unwrap();
            assert_eq!(read, Duration::from_millis(millis), "{text}");
            assert_eq!(parse_duration(&format_duration(read)).unwrap(), read);
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "P",
            "PT",
            "15M",
            "PT15",
            "PT1M1H",
            "PT1M1M",
            "P1H",
            "PT-1S",
            "PT1.5M",
            "PT.5S",
            "P1DT",
            "pt15m",
            "PT1S ",
            "PTé",
            "PT1.1234567S",
        ] {
            assert!(
                matches!(parse_duration(text), Err(DurationError::Malformed(_))),
                "{text}"
            );
        }
        assert!(matches!(
            parse_duration("P1M"),
            Err(DurationError::Calendar(_))
        ));
        assert!(matches!(
            parse_duration("PT99999999999999999999999S"),
            Err(DurationError::TooLong(_))
        ));
    }
}
