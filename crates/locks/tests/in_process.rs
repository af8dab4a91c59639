//! The suite over the in-process locks, whose time the test drives.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use millrace_locks::conformance::Subject;
use millrace_locks::{Clock, DistributedLockManager, InProcessLocks, Lease, ManualClock};

#[derive(Debug)]
struct InProcess {
    clock: Arc<ManualClock>,
    locks: Arc<InProcessLocks>,
}

impl InProcess {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::new());
        Self {
            locks: Arc::new(InProcessLocks::with_clock(clock.clone())),
            clock,
        }
    }
}

#[async_trait]
impl Subject for InProcess {
    fn locks(&self) -> Arc<dyn DistributedLockManager> {
        self.locks.clone()
    }

    /// There is only this process; its tasks are all there is.
    fn elsewhere(&self) -> Arc<dyn DistributedLockManager> {
        self.locks.clone()
    }

    async fn until_expired(&self, lease: &Lease) {
        self.clock.advance(lease.remaining(self.clock.now()));
    }

    fn now(&self) -> Instant {
        self.clock.now()
    }
}

millrace_locks::conformance_suite!(InProcess::new());
