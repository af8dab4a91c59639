//! Jitter: where in its window a workflow's occurrences start. It depends on
//! the workflow alone, so that adding a schedule moves no other one.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use md5::{Digest, Md5};
use millrace_types::Timestamp;

use crate::Schedule;
use crate::duration::{DurationError, format_duration, parse_duration};

/// The window of a trigger that names none.
pub const DEFAULT_JITTER_WINDOW: JitterWindow = JitterWindow::Fixed(Duration::from_mins(5));

/// How far jitter may move an occurrence: exclusive, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JitterWindow {
    Fixed(Duration),
    /// Of the gap to the next nominal time; 0 to 100.
    Percent(u8),
}

/// Why a text is no jitter window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JitterWindowError {
    #[error("`{0}` is not a whole percentage from `0%` to `100%`")]
    Percent(String),
    #[error("{0}, and not a percentage such as `10%`")]
    Duration(#[from] DurationError),
}

impl FromStr for JitterWindow {
    type Err = JitterWindowError;

    fn from_str(text: &str) -> Result<Self, JitterWindowError> {
        let Some(percent) = text.strip_suffix('%') else {
            return Ok(Self::Fixed(parse_duration(text)?));
        };
        match percent.parse() {
            Ok(n @ 0..=100) if !percent.starts_with('+') => Ok(Self::Percent(n)),
            _ => Err(JitterWindowError::Percent(text.to_owned())),
        }
    }
}

impl fmt::Display for JitterWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(window) => f.write_str(&format_duration(*window)),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// The first eight hexadecimal digits of the MD5 of a workflow's id, as a
/// number.
pub fn workflow_hash(workflow_id: &str) -> u32 {
    let digest = Md5::digest(workflow_id.as_bytes());
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]])
}

/// The jitter of one workflow's schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Jitter {
    hash: u32,
    window: JitterWindow,
}

impl Jitter {
    pub fn new(workflow_id: &str, window: JitterWindow) -> Self {
        Self {
            hash: workflow_hash(workflow_id),
            window,
        }
    }

    /// Effective times are nominal times.
    pub const fn none() -> Self {
        Self {
            hash: 0,
            window: JitterWindow::Fixed(Duration::ZERO),
        }
    }

    /// hash mod min(window, gap), in whole seconds. `gap` is the time to the
    /// next nominal time; without one, a window in percent has no length.
    pub fn offset(&self, gap: Option<Duration>) -> Duration {
        let window = match (self.window, gap) {
            (JitterWindow::Fixed(window), Some(gap)) => window.min(gap).as_secs(),
            (JitterWindow::Fixed(window), None) => window.as_secs(),
            (JitterWindow::Percent(percent), Some(gap)) => {
                let micros = gap.as_micros() * u128::from(percent) / 100;
                u64::try_from(micros / 1_000_000).unwrap_or(u64::MAX)
            }
            (JitterWindow::Percent(_), None) => 0,
        };
        Duration::from_secs(u64::from(self.hash).checked_rem(window).unwrap_or(0))
    }

    /// When an occurrence starts. It is before the next nominal time, so that
    /// jitter never changes the order of a schedule's occurrences.
    pub fn effective(&self, schedule: &Schedule, nominal: Timestamp) -> Timestamp {
        nominal.saturating_add(self.offset(schedule.gap_after(nominal)))
    }
}
