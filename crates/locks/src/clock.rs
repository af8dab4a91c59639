//! Where in-process locks take the time from, so that tests can drive it.

use std::fmt::Debug;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use millrace_types::Timestamp;

/// A monotonic clock for how long a lease lasts, and a calendar for tokens.
pub trait Clock: Debug + Send + Sync {
    fn now(&self) -> Instant;
    fn today(&self) -> Timestamp;
}

/// The host's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn today(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock {
    time: Mutex<(Instant, Timestamp)>,
}

impl ManualClock {
    /// One that shows the present.
    pub fn new() -> Self {
        Self {
            time: Mutex::new((Instant::now(), Timestamp::now())),
        }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let mut time = self.time.lock().expect("nothing panics while it is held");
        *time = (time.0 + by, time.1.saturating_add(by));
    }

    /// Sets the calendar alone, as an administrator may, back too.
    pub fn set_calendar(&self, to: Timestamp) {
        self.time.lock().expect("nothing panics while it is held").1 = to;
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Instant {
        self.time.lock().expect("nothing panics while it is held").0
    }

    fn today(&self) -> Timestamp {
        self.time.lock().expect("nothing panics while it is held").1
    }
}
