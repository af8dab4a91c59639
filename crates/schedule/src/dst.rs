//! From local readings to moments: a cron expression in a zone.

use std::fmt;
use std::str::FromStr;

use millrace_types::Timestamp;
use serde::{Deserialize, Serialize};

use crate::zone::Stretch;
use crate::{Cron, UnknownChoice, Zone};

/// Nothing looks farther than this from the moment it was asked about.
pub const HORIZON_YEARS: i64 = 100;

const HORIZON: i64 = HORIZON_YEARS * 366 * 86_400;
/// The years 1 to 9998: within what jiff covers, with room for every offset.
const FLOOR: i64 = -62_135_596_800;
const CEIL: i64 = 253_370_764_800;
const MICROS: i64 = 1_000_000;

/// What becomes of readings that a change of the clocks removes or repeats.
/// The crate's page defines each exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DstPolicy {
    /// In a gap at its end; in a fold the first time.
    #[default]
    Once,
    /// In a gap not at all; in a fold the first time.
    Skip,
    /// In a gap at its end; in a fold the second time.
    NextValid,
    /// In a gap at its end; in a fold both times.
    Twice,
}

impl DstPolicy {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Skip => "skip",
            Self::NextValid => "nextValid",
            Self::Twice => "twice",
        }
    }
}

impl fmt::Display for DstPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DstPolicy {
    type Err = UnknownChoice;

    fn from_str(name: &str) -> Result<Self, UnknownChoice> {
        [Self::Once, Self::Skip, Self::NextValid, Self::Twice]
            .into_iter()
            .find(|policy| policy.as_str() == name)
            .ok_or_else(|| UnknownChoice {
                name: name.to_owned(),
                choices: "once, skip, nextValid, twice",
            })
    }
}

/// A cron expression read in a zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronSchedule {
    pub cron: Cron,
    pub zone: Zone,
    pub dst: DstPolicy,
}

/// What of one stretch of constant offset is due: the selected readings in
/// `from..upto`, and perhaps its very start, for what the gap before it held.
struct Due {
    from: i64,
    upto: i64,
    start: Option<i64>,
}

impl CronSchedule {
    /// The first occurrence after `after`, within [`HORIZON_YEARS`].
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        // The first whole second after it.
        let first = after.as_micros().div_euclid(MICROS).saturating_add(1);
        let mut second = first.max(FLOOR);
        let ceil = second.saturating_add(HORIZON).min(CEIL);
        while second < ceil {
            let stretch = self.zone.stretch(second, FLOOR, ceil);
            let due = self.due(&stretch);
            let from = due.from.max(second + stretch.offset);
            let found = self
                .cron
                .next_reading(from, due.upto)
                .map(|reading| reading - stretch.offset);
            let start = due.start.filter(|start| *start >= second);
            // The start of a stretch comes before all else in it.
            if let Some(found) = start.or(found) {
                return Some(timestamp(found));
            }
            second = stretch.end;
        }
        None
    }

    /// The last occurrence at or before `at`, within [`HORIZON_YEARS`].
    pub fn previous_at_or_before(&self, at: Timestamp) -> Option<Timestamp> {
        let mut second = at.as_micros().div_euclid(MICROS).min(CEIL - 1);
        let floor = second.saturating_sub(HORIZON).max(FLOOR);
        while second >= floor {
            let stretch = self.zone.stretch(second, floor, CEIL);
            let due = self.due(&stretch);
            let upto = due.upto.min(second + 1 + stretch.offset);
            let found = self
                .cron
                .prev_reading(due.from, upto)
                .map(|reading| reading - stretch.offset);
            if let Some(found) = found.or(due.start) {
                return Some(timestamp(found));
            }
            second = stretch.start - 1;
        }
        None
    }

    /// How many occurrences lie in `from..to`. It takes a step for each month,
    /// and stops once there are `cap`.
    pub fn count_between(&self, from: Timestamp, to: Timestamp, cap: u64) -> u64 {
        let whole = |at: Timestamp| {
            // The first whole second at or after it.
            let second = at.as_micros().saturating_sub(1).div_euclid(MICROS) + 1;
            second.clamp(FLOOR, CEIL)
        };
        let (mut second, end) = (whole(from), whole(to));
        let mut count = 0_u64;
        while second < end && count < cap {
            let stretch = self.zone.stretch(second, FLOOR, end);
            let due = self.due(&stretch);
            let first = due.from.max(second + stretch.offset);
            count += self.cron.count_readings(first, due.upto);
            if let Some(start) = due.start.filter(|start| *start >= second) {
                let reading = start + stretch.offset;
                let counted = reading >= first
                    && self.cron.next_reading(reading, reading + 1).is_some()
                    && reading < due.upto;
                count += u64::from(!counted);
            }
            second = stretch.end;
        }
        count.min(cap)
    }

    fn due(&self, stretch: &Stretch) -> Due {
        let mut due = Due {
            from: stretch.start + stretch.offset,
            upto: stretch.end + stretch.offset,
            start: None,
        };
        if self.cron.is_interval_like() {
            return due;
        }
        let fold_before = stretch.before > stretch.offset;
        if fold_before && matches!(self.dst, DstPolicy::Once | DstPolicy::Skip) {
            // What was shown before the change is not due again.
            due.from = stretch.start + stretch.before;
        }
        let fold_after = stretch.after < stretch.offset;
        if fold_after && self.dst == DstPolicy::NextValid {
            // What will be shown again is due then.
            due.upto = stretch.end + stretch.after;
        }
        let gap_before = stretch.before < stretch.offset;
        if gap_before && self.dst != DstPolicy::Skip {
            let gap = (stretch.start + stretch.before, due.from);
            due.start = self.cron.next_reading(gap.0, gap.1).map(|_| stretch.start);
        }
        due
    }
}

fn timestamp(second: i64) -> Timestamp {
    Timestamp::from_micros(second.saturating_mul(MICROS))
}
