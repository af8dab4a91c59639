//! The parts that the answers of monitoring share. Times are RFC 3339 in UTC,
//! lengths of time are milliseconds and named so.

use millrace_types::Timestamp;
use serde::Serialize;

/// `{value, atLeast}`: how many; `atLeast` when counting was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Count {
    pub value: u64,
    pub at_least: bool,
}

impl From<millrace_store::Count> for Count {
    fn from(count: millrace_store::Count) -> Self {
        Self {
            value: count.value,
            at_least: count.at_least,
        }
    }
}

/// `{from, to, complete}`: what an answer is about. Not `complete`: it goes
/// back to `from` only, as there was more than it reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Window {
    pub from: Timestamp,
    pub to: Timestamp,
    pub complete: bool,
}

/// `{count, p50Ms, p95Ms, p99Ms, maxMs}`
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Summary {
    pub count: u64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl Summary {
    /// Of lengths in microseconds; `None` of none.
    pub fn of(mut micros: Vec<i64>) -> Option<Self> {
        micros.sort_unstable();
        let last = micros.len().checked_sub(1)?;
        // Nearest rank: always a length that occurred.
        let rank = |percent: usize| {
            let at = (micros.len() * percent).div_ceil(100).saturating_sub(1);
            millis(micros[at.min(last)])
        };
        Some(Self {
            count: micros.len() as u64,
            p50_ms: rank(50),
            p95_ms: rank(95),
            p99_ms: rank(99),
            max_ms: millis(micros[last]),
        })
    }
}

/// Never negative: where two clocks meet, an end may seem to precede its start.
#[expect(clippy::cast_precision_loss, reason = "2^53 µs are three centuries")]
pub(crate) fn millis(micros: i64) -> f64 {
    micros.max(0) as f64 / 1000.0
}

/// Time from one moment to another in microseconds.
pub(crate) fn between(from: Timestamp, to: Timestamp) -> i64 {
    to.as_micros().saturating_sub(from.as_micros())
}

/// A moment that much earlier.
pub(crate) fn before(at: Timestamp, by: std::time::Duration) -> Timestamp {
    let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(at.as_micros().saturating_sub(by))
}

/// Serialises an answer; of our own shapes that cannot fail.
pub(crate) fn json(answer: &impl Serialize) -> String {
    serde_json::to_string(answer).expect("texts, numbers and times become JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_lengths_that_occurred() {
        let summary = Summary::of((1..=100).map(|n| n * 1000).collect()).unwrap();
        assert_eq!(
            (
                summary.p50_ms,
                summary.p95_ms,
                summary.p99_ms,
                summary.max_ms
            ),
            (50.0, 95.0, 99.0, 100.0)
        );
        let one = Summary::of(vec![-5]).unwrap();
        assert_eq!((one.count, one.p50_ms, one.max_ms), (1, 0.0, 0.0));
        assert_eq!(Summary::of(Vec::new()), None);
    }
}
