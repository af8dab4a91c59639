//! When the operating system asks the process to stop.

use std::io;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals that come within this time of one that was told are the same wish:
/// a Ctrl-C reaches a whole process group, and a parent within it may pass it
/// on. Nobody presses it again that soon.
const TOGETHER: Duration = Duration::from_millis(200);

/// Listens for SIGTERM and SIGINT (Ctrl-C) from the moment it is made.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
    told: Option<Instant>,
}

impl StopSignals {
    /// Takes the two signals over; from now on they no longer kill the process.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            told: None,
        })
    }

    /// Resolves with the name of the next signal. Can be awaited again, so
    /// that a second Ctrl-C may end a drain that takes too long.
    pub async fn next(&mut self) -> &'static str {
        loop {
            let name = tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
            };
            let now = Instant::now();
            if is_another(self.told, now) {
                self.told = Some(now);
                return name;
            }
        }
    }
}

fn is_another(told: Option<Instant>, now: Instant) -> bool {
    told.is_none_or(|told| now.saturating_duration_since(told) >= TOGETHER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_come_together_are_one() {
        let told = Instant::now();
        assert!(is_another(None, told));
        assert!(!is_another(Some(told), told));
        assert!(!is_another(Some(told), told + TOGETHER / 2));
        assert!(is_another(Some(told), told + TOGETHER));
    }
}
