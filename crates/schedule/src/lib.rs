//! When things are due: the pure computation of schedules.
//!
//! Given a schedule and a moment, this crate says which occurrence comes next,
//! which came before, how many lie between two moments, how far jitter moves
//! one, and what is made up for after an outage. It reads no clock, does no
//! I/O, keeps no state and knows no database; the tz database it uses is part
//! of the binary, so that all instances of one version agree.
//!
//! ```text
//!  trigger JSON ──► TriggerSchedule ──► Schedule ──► nominal times ──► Jitter ──► effective times
//!                                          │                                          │
//!                                          └────────────► plan_catch_up ◄─────────────┘
//! ```
//!
//! # Words
//! - **nominal time**: when an occurrence is due by the schedule alone. It is
//!   the identity of the occurrence: two never share one.
//! - **effective time**: the nominal time plus the jitter of its workflow.
//! - **reading**: what a wall clock in the schedule's zone shows.
//! - **missed**: not started within the start deadline after its effective time.
//!
//! # When clocks are put forward or back
//! An expression whose hour field selects every hour (`*/15 * * * *`,
//! `0 * * * *`) is *interval-like*: it is due at each real moment whose reading
//! it selects, under every policy. So `*/15 * * * *` is due every 15 real
//! minutes right through both changes.
//!
//! Every other expression is *fixed-time*, and [`DstPolicy`] decides about the
//! readings that do not exist (the gap: 02:30 when 02:00 becomes 03:00) and
//! those that come twice (the fold: 01:30 when 02:00 becomes 01:00):
//!
//! | policy | is due | in a gap | in a fold |
//! |---|---|---|---|
//! | `once` (default) | when the clock first shows the reading or a later one | at the end of the gap (03:00) | at the first of the two |
//! | `nextValid` | when the clock last shows the reading, or is past it for good | at the end of the gap (03:00) | at the second of the two |
//! | `skip` | when the clock first shows exactly the reading | not at all | at the first of the two |
//! | `twice` | each time the clock shows the reading, or else as `once` | at the end of the gap (03:00) | at both |
//!
//! Under `once` and `nextValid` a daily schedule is due exactly once each day.
//! Readings that one change moves to the same moment are one occurrence:
//! `*/15 2 * * *` is due once, at 03:00, on the day without 02:00 to 02:59, and
//! `0 2,3 * * *` once, too. The same holds for changes that have nothing to do
//! with summer, such as a zone that moves over the date line.
//!
//! # Cost
//! One step is a handful of binary searches, whatever the expression. Counting
//! takes a step for each month, not for each occurrence. Nothing looks farther
//! than [`HORIZON_YEARS`] years, so that nothing runs for ever.

mod bits;
mod civil;
pub mod cron;
mod dst;
mod duration;
mod interval;
mod jitter;
mod misfire;
mod overlap;
mod schedule;
mod trigger;
mod zone;

pub use cron::{Cron, CronError, CronField};
pub use dst::{CronSchedule, DstPolicy, HORIZON_YEARS};
pub use duration::{DurationError, format_duration, parse_duration};
pub use interval::{Interval, IntervalError};
pub use jitter::{DEFAULT_JITTER_WINDOW, Jitter, JitterWindow, JitterWindowError, workflow_hash};
pub use misfire::{
    CatchUp, DEFAULT_CATCH_UP_MAX, MAX_CATCH_UP, MAX_FIRES_PER_PLAN, MAX_SINGLE_MISSES,
    MisfirePolicy, MissedRange, plan_catch_up,
};
pub use overlap::OverlapPolicy;
pub use schedule::{Bounds, Occurrences, Schedule, Timing};
pub use trigger::{
    DEFAULT_CATCH_UP_RATE, DEFAULT_START_DEADLINE, TriggerFinding, TriggerSchedule, TriggerTiming,
};
pub use zone::{UnknownZone, Zone};

/// A name that is not one of the choices of a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not one of {choices}")]
pub struct UnknownChoice {
    pub name: String,
    pub choices: &'static str,
}
