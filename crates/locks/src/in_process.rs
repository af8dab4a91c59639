//! Locks among the tasks of one process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::{
    AcquireError, Clock, DistributedLockManager, ExtendError, FencingToken, Lease, LeaseTtl,
    LockKey, LockUnavailable, ReleaseError, SystemClock,
};

/// Fewer entries than this are not worth a look for expired ones.
const SWEEP_FROM: usize = 64;

/// Locks that live in this process's memory. Nothing is left of them when it
/// ends, except that the next process's tokens are higher.
#[derive(Debug)]
pub struct InProcessLocks {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    held: HashMap<LockKey, Held>,
    last_token: u64,
    /// How many entries trigger the next sweep, so that its cost is spread
    /// over as many acquires.
    sweep_at: usize,
}

/// Within one process a token is never given twice, so it identifies the holder.
#[derive(Debug)]
struct Held {
    token: FencingToken,
    expires_at: Instant,
}

impl InProcessLocks {
    pub fn new() -> Self {
        Self::with_clock(Arc::new(SystemClock))
    }

    pub fn with_clock(clock: Arc<dyn Clock>) -> Self {
        let state = State {
            held: HashMap::new(),
            last_token: 0,
            sweep_at: SWEEP_FROM,
        };
        Self {
            clock,
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it is held")
    }
}

impl Default for InProcessLocks {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    /// The entry of a lease that is still good.
    fn of(&mut self, lease: &Lease, now: Instant) -> Option<&mut Held> {
        self.held
            .get_mut(&lease.key)
            .filter(|held| held.token == lease.token && held.expires_at > now)
    }

    fn sweep(&mut self, now: Instant) {
        if self.held.len() >= self.sweep_at {
            self.held.retain(|_, held| held.expires_at > now);
            self.sweep_at = SWEEP_FROM.max(self.held.len() * 2);
        }
    }
}

#[async_trait]
impl DistributedLockManager for InProcessLocks {
    async fn acquire(&self, key: &LockKey, ttl: LeaseTtl) -> Result<Lease, AcquireError> {
        let now = self.clock.now();
        let micros = u64::try_from(self.clock.today().as_micros()).unwrap_or(0);
        let mut state = self.state();
        if let Some(held) = state.held.get(key) {
            let remaining = held.expires_at.saturating_duration_since(now);
            if !remaining.is_zero() {
                return Err(AcquireError::Held {
                    key: key.clone(),
                    remaining,
                });
            }
        }
        state.sweep(now);
        state.last_token = micros.max(state.last_token + 1);
        let token = FencingToken::new(state.last_token);
        let expires_at = now + ttl.get();
        state.held.insert(key.clone(), Held { token, expires_at });
        Ok(Lease {
            key: key.clone(),
            token,
            holder: Box::from(""),
            expires_at,
        })
    }

    async fn extend(&self, lease: &mut Lease, ttl: LeaseTtl) -> Result<(), ExtendError> {
        let now = self.clock.now();
        let mut state = self.state();
        let Some(held) = state.of(lease, now) else {
            return Err(ExtendError::Lost {
                key: lease.key.clone(),
                token: lease.token,
            });
        };
        held.expires_at = now + ttl.get();
        lease.expires_at = held.expires_at;
        Ok(())
    }

    async fn release(&self, lease: Lease) -> Result<(), ReleaseError> {
        let now = self.clock.now();
        let mut state = self.state();
        if state.of(&lease, now).is_none() {
            return Err(ReleaseError::Lost {
                key: lease.key,
                token: lease.token,
            });
        }
        state.held.remove(&lease.key);
        Ok(())
    }

    async fn health(&self) -> Result<Duration, LockUnavailable> {
        Ok(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use millrace_types::Timestamp;

    use super::*;
    use crate::ManualClock;

    fn ttl(millis: u64) -> LeaseTtl {
        Duration::from_millis(millis).try_into().unwrap()
    }

    #[tokio::test]
    async fn expired_entries_do_not_pile_up() {
        let clock = Arc::new(ManualClock::new());
        let locks = InProcessLocks::with_clock(clock.clone());
        for n in 0..10_000 {
            locks
                .acquire(&LockKey::new(&format!("k{n}")).unwrap(), ttl(10))
                .await
                .unwrap();
            clock.advance(Duration::from_millis(1));
        }
        assert!(
            locks.state().held.len() <= SWEEP_FROM,
            "{}",
            locks.state().held.len()
        );
    }

    #[tokio::test]
    async fn tokens_grow_when_the_calendar_is_set_back() {
        let clock = Arc::new(ManualClock::new());
        let locks = InProcessLocks::with_clock(clock.clone());
        let key = LockKey::new("k").unwrap();
        let first = locks.acquire(&key, ttl(10)).await.unwrap().token();
        clock.set_calendar(Timestamp::from_micros(-5));
        clock.advance(Duration::from_millis(10));
        let second = locks.acquire(&key, ttl(10)).await.unwrap().token();
        assert!(second > first);
    }

    #[tokio::test]
    async fn the_next_process_has_higher_tokens() {
        let clock = Arc::new(ManualClock::new());
        let key = LockKey::new("k").unwrap();
        let before = InProcessLocks::with_clock(clock.clone());
        let first = before.acquire(&key, ttl(10)).await.unwrap().token();
        drop(before);
        clock.advance(Duration::from_millis(1));
        let after = InProcessLocks::with_clock(clock);
        assert!(after.acquire(&key, ttl(10)).await.unwrap().token() > first);
    }
}
