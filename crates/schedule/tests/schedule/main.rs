//! Schedules against oracles that share no code with them.

mod catch_up;
mod cron;
mod dst_tables;
mod jitter;
mod oracle;
mod properties;
mod trigger;

use millrace_schedule::{CronSchedule, DstPolicy, Schedule, Timing};
use millrace_types::Timestamp;

pub const POLICIES: [DstPolicy; 4] = [
    DstPolicy::Once,
    DstPolicy::Skip,
    DstPolicy::NextValid,
    DstPolicy::Twice,
];

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn second(second: i64) -> Timestamp {
    Timestamp::from_micros(second * 1_000_000)
}

pub fn cron(expression: &str, zone: &str, dst: DstPolicy) -> Schedule {
    Schedule::from(Timing::Cron(CronSchedule {
        cron: expression.parse().unwrap(),
        zone: zone.parse().unwrap(),
        dst,
    }))
}

/// The nominal times in `from..to`, in seconds since the epoch.
pub fn between(schedule: &Schedule, from: i64, to: i64) -> Vec<i64> {
    schedule
        .occurrences_after(Timestamp::from_micros(from * 1_000_000 - 1))
        .map(|nominal| nominal.as_micros() / 1_000_000)
        .take_while(|nominal| *nominal < to)
        .collect()
}
