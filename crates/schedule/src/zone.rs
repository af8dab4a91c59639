//! Time zones by their IANA names, out of the tz database in the binary.

use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};

static DATABASE: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// What people write for a zone that no spelling leads to.
const HABITS: [(&str, &str); 9] = [
    ("z", "UTC"),
    ("pst", "America/Los_Angeles"),
    ("pdt", "America/Los_Angeles"),
    ("cst", "America/Chicago"),
    ("edt", "America/New_York"),
    ("cest", "Europe/Berlin"),
    ("bst", "Europe/London"),
    ("ist", "Asia/Kolkata"),
    ("jst", "Asia/Tokyo"),
];

/// A zone of the IANA tz database.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    name: String,
    tz: TimeZone,
}

/// A name that the tz database does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct UnknownZone {
    pub name: String,
    /// The zone that was probably meant.
    pub suggestion: Option<String>,
}

impl fmt::Display for UnknownZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not an IANA time zone", self.name)?;
        match &self.suggestion {
            Some(zone) => write!(f, "; did you mean `{zone}`?"),
            None => write!(f, " such as Europe/Berlin or UTC"),
        }
    }
}

impl Zone {
    pub fn utc() -> Self {
        Self {
            name: "UTC".to_owned(),
            tz: TimeZone::UTC,
        }
    }

    /// The IANA name, in the database's own spelling.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Seconds east of UTC at a second since the epoch.
    pub(crate) fn offset_at(&self, second: i64) -> i64 {
        i64::from(self.tz.to_offset(instant(second)).seconds())
    }

    /// The stretch of constant offset around `second`, cut to `floor..ceil`.
    pub(crate) fn stretch(&self, second: i64, floor: i64, ceil: i64) -> Stretch {
        let offset = self.offset_at(second);
        let mut stretch = Stretch {
            start: floor,
            end: ceil,
            offset,
            before: offset,
            after: offset,
        };
        for change in self.tz.preceding(instant(second + 1)) {
            let at = change.timestamp().as_second();
            if at <= floor {
                break;
            }
            let before = self.offset_at(at - 1);
            // Some changes are of the abbreviation alone.
            if at <= second && before != offset {
                (stretch.start, stretch.before) = (at, before);
                break;
            }
        }
        for change in self.tz.following(instant(second)) {
            let at = change.timestamp().as_second();
            if at >= ceil {
                break;
            }
            let after = seconds(change.offset());
            if at > second && after != offset {
                (stretch.end, stretch.after) = (at, after);
                break;
            }
        }
        stretch
    }
}

/// A time during which a zone keeps its offset, `start..end` in seconds since
/// the epoch, and the offsets on either side of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub start: i64,
    pub end: i64,
    pub offset: i64,
    pub before: i64,
    pub after: i64,
}

fn seconds(offset: Offset) -> i64 {
    i64::from(offset.seconds())
}

/// Callers keep within the years 1 to 9998, which jiff covers.
fn instant(second: i64) -> jiff::Timestamp {
    jiff::Timestamp::from_second(second).unwrap_or(jiff::Timestamp::MAX)
}

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(name: &str) -> Result<Self, UnknownZone> {
        if name.eq_ignore_ascii_case("UTC") {
            return Ok(Self::utc());
        }
        match DATABASE.get(name) {
            Ok(tz) if !tz.is_unknown() => Ok(Self {
                name: tz.iana_name().unwrap_or(name).to_owned(),
                tz,
            }),
            _ => Err(UnknownZone {
                name: name.chars().take(80).collect(),
                suggestion: suggest(name),
            }),
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zone({})", self.name)
    }
}

/// The zone nearest to what was written: its city alone, a slip of the pen, a
/// habit.
fn suggest(written: &str) -> Option<String> {
    let wanted = written.trim().to_ascii_lowercase().replace([' ', '-'], "_");
    if wanted.is_empty() || wanted.len() > 60 {
        return None;
    }
    if let Some((_, zone)) = HABITS.iter().find(|(habit, _)| *habit == wanted) {
        return Some((*zone).to_owned());
    }
    let allowed = 1 + wanted.len() / 6;
    DATABASE
        .available()
        .filter_map(|zone| {
            let lower = zone.as_str().to_ascii_lowercase();
            let city = lower.rsplit('/').next().unwrap_or(&lower);
            let wanted_city = wanted.rsplit('/').next().unwrap_or(&wanted);
            let distance = if city == wanted_city {
                0
            } else {
                edits(&lower, &wanted).min(edits(city, &wanted))
            };
            (distance <= allowed).then(|| (distance, zone.as_str().to_owned()))
        })
        // Names with a region before old ones without: Europe/Lisbon, not Portugal.
        .min_by_key(|(distance, zone)| (*distance, !zone.contains('/'), zone.clone()))
        .map(|(_, zone)| zone)
}

/// How many letters to change, add or take away (Levenshtein's distance).
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_zone_is_answered_with_the_one_that_was_meant() {
        for (written, meant) in [
            ("Europe/Berln", "Europe/Berlin"),
            ("Berlin", "Europe/Berlin"),
            ("new york", "America/New_York"),
            ("America/New-York", "America/New_York"),
            ("Asia/Calcuta", "Asia/Calcutta"),
            ("Europe/Kathmandu", "Asia/Kathmandu"),
            ("PST", "America/Los_Angeles"),
        ] {
            let error = written.parse::<Zone>().unwrap_err();
            assert_eq!(error.suggestion.as_deref(), Some(meant), "{written}");
            assert!(error.to_string().contains("did you mean"));
        }
        assert_eq!("xyzzy!".parse::<Zone>().unwrap_err().suggestion, None);
        assert_eq!("".parse::<Zone>().unwrap_err().suggestion, None);
    }

    #[test]
    fn a_name_is_kept_in_the_spelling_of_the_database() {
        assert_eq!(
            "europe/berlin".parse::<Zone>().unwrap().name(),
            "Europe/Berlin"
        );
        assert_eq!("utc".parse::<Zone>().unwrap().name(), "UTC");
        assert!("Etc/UTC".parse::<Zone>().is_ok());
        assert!("../etc/passwd".parse::<Zone>().is_err());
    }

    #[test]
    fn a_stretch_lies_between_two_changes_of_the_offset() {
        let berlin: Zone = "Europe/Berlin".parse().unwrap();
        let july = 1_783_728_000; // 2026-07-11T00:00:00Z
        let stretch = berlin.stretch(july, 0, 4_000_000_000);
        assert_eq!(
            stretch,
            Stretch {
                start: 1_774_746_000, // 2026-03-29T01:00:00Z
                end: 1_792_890_000,   // 2026-10-25T01:00:00Z
                offset: 7200,
                before: 3600,
                after: 3600,
            }
        );
        let first = berlin.stretch(stretch.start, 0, 4_000_000_000);
        let last = berlin.stretch(stretch.end - 1, 0, 4_000_000_000);
        assert_eq!((first, last), (stretch, stretch));
    }
}
