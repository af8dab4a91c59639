//! One field: a list of `*`, values and ranges with steps, and what only the
//! fields for days know.

use super::days::{MonthDays, WeekDays};
use super::error::{CronError, CronField};

/// A part of an expression and where it stands, in characters from 1.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub text: &'a str,
    pub position: usize,
}

impl<'a> Place<'a> {
    pub fn refuse(&self, field: CronField, problem: impl Into<String>) -> CronError {
        CronError::Field {
            field,
            text: self.text.to_owned(),
            position: self.position,
            problem: problem.into(),
        }
    }

    fn items(self) -> impl Iterator<Item = Place<'a>> {
        let mut position = self.position;
        self.text.split(',').map(move |text| {
            let place = Place { text, position };
            position += text.chars().count() + 1;
            place
        })
    }
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

fn limits(field: CronField) -> (u32, u32) {
    match field {
        CronField::Second | CronField::Minute => (0, 59),
        CronField::Hour => (0, 23),
        CronField::DayOfMonth => (1, 31),
        CronField::Month => (1, 12),
        CronField::DayOfWeek => (0, 7),
    }
}

/// A field that knows only numbers, names, ranges and steps.
pub(super) fn numbers(place: &Place<'_>, field: CronField) -> Result<u64, CronError> {
    let mut set = 0;
    for item in place.items() {
        if item.text == "?" {
            return Err(item.refuse(field, "`?` is for the fields for days; write `*`"));
        }
        set |= range(&item, field)?;
    }
    Ok(set)
}

pub(super) fn month_days(place: &Place<'_>) -> Result<MonthDays, CronError> {
    let field = CronField::DayOfMonth;
    let mut days = MonthDays {
        restricted: !place.text.starts_with(['*', '?']),
        ..MonthDays::default()
    };
    for item in place.items() {
        let text = item.text.to_ascii_uppercase();
        if text == "?" {
            days.days |= all(field);
        } else if text == "L" {
            days.before_last |= 1;
        } else if text == "LW" || text == "WL" {
            days.last_weekday = true;
        } else if let Some(before) = text.strip_prefix("L-") {
            days.before_last |= 1 << bounded(&item, field, before, 1, 30)?;
        } else if let Some(day) = text.strip_suffix('W') {
            days.nearest |= 1 << bounded(&item, field, day, 1, 31)?;
        } else {
            days.days |= range(&item, field)?;
        }
    }
    Ok(days)
}

pub(super) fn week_days(place: &Place<'_>) -> Result<WeekDays, CronError> {
    let field = CronField::DayOfWeek;
    let mut days = WeekDays {
        restricted: !place.text.starts_with(['*', '?']),
        ..WeekDays::default()
    };
    for item in place.items() {
        let text = item.text.to_ascii_uppercase();
        if text == "?" {
            days.days |= all(field);
        } else if let Some((day, nth)) = text.split_once('#') {
            let day = value(&item, field, day)? % 7;
            let nth = bounded(&item, field, nth, 1, 5)?;
            days.nth |= 1 << ((nth - 1) * 7 + day);
        } else if text == "L" {
            let hint = "`L` needs a weekday here: `5L` or `FRIL` is the last Friday of the month";
            return Err(item.refuse(field, hint));
        } else if let Some(day) = text.strip_suffix('L') {
            days.last |= 1 << (value(&item, field, day)? % 7);
        } else {
            days.days |= range(&item, field)?;
        }
    }
    // 7 is Sunday, too.
    days.days = (days.days | days.days >> 7) & 0x7f;
    Ok(days)
}

fn all(field: CronField) -> u64 {
    let (min, max) = limits(field);
    (min..=max).fold(0, |set, n| set | 1 << n)
}

/// `*`, `a`, `a-b`, each with an optional `/step`.
fn range(item: &Place<'_>, field: CronField) -> Result<u64, CronError> {
    let (min, max) = limits(field);
    let (span, step) = match item.text.split_once('/') {
        Some((span, step)) => (span, Some(step)),
        None => (item.text, None),
    };
    // 7 is Sunday again: a step must not count it.
    let open_end = if field == CronField::DayOfWeek {
        6
    } else {
        max
    };
    let (low, high) = if span == "*" {
        (min, open_end)
    } else if let Some((low, high)) = span.split_once('-') {
        ordered(item, field, low, high)?
    } else {
        let low = value(item, field, span)?;
        (
            low,
            if step.is_some() {
                open_end.max(low)
            } else {
                low
            },
        )
    };
    let step = match step {
        None => 1,
        Some(step) => stepped(item, field, step, high - low, span)?,
    };
    Ok((low..=high)
        .step_by(step as usize)
        .fold(0, |set, n| set | 1 << n))
}

fn ordered(
    item: &Place<'_>,
    field: CronField,
    low: &str,
    high: &str,
) -> Result<(u32, u32), CronError> {
    let (min, max) = limits(field);
    let (a, b) = (value(item, field, low)?, value(item, field, high)?);
    // A week may end on Sunday.
    let b = if field == CronField::DayOfWeek && b == 0 && a > 0 {
        7
    } else {
        b
    };
    if a > b {
        let hint = format!("runs backwards; write it as two: `{a}-{max},{min}-{b}`");
        return Err(item.refuse(field, hint));
    }
    Ok((a, b))
}

fn stepped(
    item: &Place<'_>,
    field: CronField,
    step: &str,
    width: u32,
    span: &str,
) -> Result<u32, CronError> {
    let Some(step) = number(step).filter(|n| *n > 0) else {
        let hint = format!("`{step}` is no step; write a number from 1 on, as in `*/15`");
        return Err(item.refuse(field, hint));
    };
    if step > width && width > 0 {
        let hint = match (span, field) {
            ("*", CronField::Second | CronField::Minute | CronField::Hour) => {
                let unit = match field {
                    CronField::Second => "S",
                    CronField::Minute => "M",
                    _ => "H",
                };
                format!(
                    "the step leaves the field, so that only its first value would be selected; \
                     write `0`, or for a longer interval use a trigger \
                     {{\"type\": \"interval\", \"every\": \"PT{step}{unit}\"}}"
                )
            }
            _ => "the step leaves the range, so that only its first value would be selected; \
                  write that value alone"
                .to_owned(),
        };
        return Err(item.refuse(field, hint));
    }
    Ok(step)
}

/// A number of at most four digits; signs and blanks are no part of it.
fn number(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.len() <= 4 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

fn bounded(
    item: &Place<'_>,
    field: CronField,
    text: &str,
    min: u32,
    max: u32,
) -> Result<u32, CronError> {
    number(text)
        .filter(|n| (min..=max).contains(n))
        .ok_or_else(|| {
            item.refuse(
                field,
                format!("`{text}` is not a number from {min} to {max}"),
            )
        })
}

/// A number within the field's limits, or a name.
fn value(item: &Place<'_>, field: CronField, text: &str) -> Result<u32, CronError> {
    let (min, max) = limits(field);
    let names: &[&str] = match field {
        CronField::Month => &MONTHS,
        CronField::DayOfWeek => &WEEKDAYS,
        _ => &[],
    };
    if let Some(n) = number(text) {
        return if (min..=max).contains(&n) {
            Ok(n)
        } else {
            Err(item.refuse(field, format!("{n} is outside {min} to {max}")))
        };
    }
    let lower = text.to_ascii_lowercase();
    if let Some(at) = names.iter().position(|name| *name == lower) {
        return Ok(u32::try_from(at).unwrap_or(0) + min);
    }
    let hint = if text.is_empty() {
        "a value is missing".to_owned()
    } else if lower == "h" {
        "`H` is not known; schedules are spread by `jitterWindow`, so write a fixed value"
            .to_owned()
    } else if names.is_empty() {
        format!("`{text}` is not a number from {min} to {max}")
    } else {
        format!(
            "`{text}` is not a number from {min} to {max} or a name from {} to {}",
            names[0].to_uppercase(),
            names[names.len() - 1].to_uppercase()
        )
    };
    Err(item.refuse(field, hint))
}
