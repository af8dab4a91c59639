//! From text to [`Cron`].

use super::Cron;
use super::days::Days;
use super::error::{CronError, CronField};
use super::field::{self, Place};
use super::time::TimeOfDay;

/// Longer than any expression a person would write.
const MAX_LEN: usize = 1000;

const NAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

pub(super) fn parse(written: &str) -> Result<Cron, CronError> {
    let refuse = |problem: String| CronError::Expression {
        expression: written.chars().take(80).collect(),
        problem,
    };
    if written.len() > MAX_LEN {
        return Err(refuse(format!("longer than {MAX_LEN} bytes")));
    }
    let text = match written.trim().strip_prefix('@') {
        Some(_) => expand(written.trim()).map_err(refuse)?,
        None => written,
    };
    let places = split(text);
    let places = match places.len() {
        5 | 6 => places,
        0 => {
            return Err(refuse(
                "empty; write five fields such as `0 2 * * *`".into(),
            ));
        }
        7 => {
            return Err(refuse(
                "7 fields; there is no field for years: bound the schedule with startAt and endAt"
                    .into(),
            ));
        }
        n => {
            return Err(refuse(format!(
                "{n} field{}; write 5 (minute hour day-of-month month day-of-week) or 6 (seconds first)",
                if n == 1 { "" } else { "s" }
            )));
        }
    };
    let (seconds, places) = match places.as_slice() {
        [second, rest @ ..] if rest.len() == 5 => {
            (field::numbers(second, CronField::Second)?, rest)
        }
        rest => (1, rest),
    };
    let cron = Cron {
        text: written.trim().to_owned(),
        time: TimeOfDay {
            seconds,
            minutes: field::numbers(&places[0], CronField::Minute)?,
            hours: field::numbers(&places[1], CronField::Hour)?,
        },
        months: field::numbers(&places[3], CronField::Month)?,
        days: Days {
            month_days: field::month_days(&places[2])?,
            week_days: field::week_days(&places[4])?,
        },
    };
    if cron.is_impossible() {
        return Err(places[2].refuse(
            CronField::DayOfMonth,
            "no month that is selected ever has such a day, so that it would never be due; `L` is the last day of a month",
        ));
    }
    Ok(cron)
}

fn expand(name: &str) -> Result<&'static str, String> {
    let lower = name.to_ascii_lowercase();
    if let Some((_, expression)) = NAMES.iter().find(|(known, _)| *known == lower) {
        return Ok(expression);
    }
    Err(match lower.split_whitespace().next() {
        Some("@every") => {
            "for an interval use a trigger {\"type\": \"interval\", \"every\": \"PT15M\"}".into()
        }
        Some("@reboot") => "a schedule has no start-up; deploy and trigger the workflow".into(),
        _ => {
            let known: Vec<&str> = NAMES.iter().map(|(known, _)| *known).collect();
            format!("unknown name; known: {}", known.join(", "))
        }
    })
}

/// The fields with the position of each, counted in characters from 1.
fn split(text: &str) -> Vec<Place<'_>> {
    let mut places = Vec::new();
    let mut start = None;
    for (position, (at, c)) in text.char_indices().enumerate() {
        match (c.is_whitespace(), start) {
            (false, None) => start = Some((at, position + 1)),
            (true, Some((from, position))) => {
                places.push(Place {
                    text: &text[from..at],
                    position,
                });
                start = None;
            }
            _ => {}
        }
    }
    if let Some((from, position)) = start {
        places.push(Place {
            text: &text[from..],
            position,
        });
    }
    places
}
