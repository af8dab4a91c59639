//! The time limits of a run: they are absolute times in the database, and here
//! what is left of them.

use std::time::Duration;

use bytes::Bytes;
use millrace_store::{EventRecord, Limits, Outcome};
use millrace_types::Timestamp;
use tokio::time::Instant;

pub(super) const TOTAL: &str = "it did not end within its deployment's timeout";
pub(super) const START: &str = "it could not be started within its deployment's start timeout";
const IDLE: &str = "it made no progress within its deployment's idle timeout";

/// Tells when a run is over.
#[derive(Debug)]
pub(super) struct Clock {
    deadline: Option<Instant>,
    idle: Option<Duration>,
    /// When it counts as idle, unless it gets on before.
    idle_at: Option<Instant>,
}

impl Clock {
    /// From the moment that the execution is owned. `Err` says why it is over
    /// already.
    pub fn start(limits: &Limits) -> Result<Self, &'static str> {
        if limits.total == Some(Duration::ZERO) {
            return Err(TOTAL);
        }
        if limits.start == Some(Duration::ZERO) {
            return Err(START);
        }
        let now = Instant::now();
        Ok(Self {
            deadline: limits.total.and_then(|left| now.checked_add(left)),
            idle: limits.idle,
            idle_at: limits.idle.and_then(|idle| now.checked_add(idle)),
        })
    }

    /// It got on: being idle begins anew.
    pub fn progressed(&mut self) {
        self.idle_at = self.idle.and_then(|idle| Instant::now().checked_add(idle));
    }

    /// Returns once the run is over, with the reason.
    pub async fn over(&self) -> &'static str {
        let sleep = async |until: Option<Instant>| match until {
            Some(until) => tokio::time::sleep_until(until).await,
            None => std::future::pending().await,
        };
        tokio::select! {
            biased;
            () = sleep(self.deadline) => TOTAL,
            () = sleep(self.idle_at) => IDLE,
        }
    }
}

/// The end of an execution that ran out of time.
pub(super) fn outcome(seq: u64, why: &str) -> (Outcome, Vec<EventRecord>) {
    let error = serde_json::json!({
        "type": "https://open-workflow-specification.org/spec/1.0.0/errors/timeout",
        "status": 408,
        "title": "Timeout",
        "detail": why,
        "instance": "",
    })
    .to_string();
    let event = EventRecord {
        seq,
        at: Timestamp::now(),
        kind: "executionTimedOut".into(),
        task: String::new(),
        attempt: 0,
        detail: serde_json::json!({"reason": why}).to_string(),
    };
    (Outcome::TimedOut(Bytes::from(error)), vec![event])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_not_begun() {
        let late = |total, start| {
            let limits = Limits {
                total,
                start,
                ..Limits::default()
            };
            Clock::start(&limits).err()
        };
        let left = Some(Duration::from_secs(1));
        assert_eq!(late(Some(Duration::ZERO), left), Some(TOTAL));
        assert_eq!(late(left, Some(Duration::ZERO)), Some(START));
        assert_eq!(late(left, left), None);
    }

    #[tokio::test(start_paused = true)]
    async fn progress_puts_off_the_idle_timeout_and_not_the_deadline() {
        let limits = Limits {
            total: Some(Duration::from_secs(10)),
            idle: Some(Duration::from_secs(4)),
            ..Limits::default()
        };
        let mut clock = Clock::start(&limits).unwrap();
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(3)).await;
            clock.progressed();
        }
        assert_eq!(clock.over().await, TOTAL);
        let clock = Clock::start(&limits).unwrap();
        assert_eq!(clock.over().await, IDLE);
    }
}
