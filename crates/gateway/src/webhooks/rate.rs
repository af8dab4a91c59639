//! How often a webhook may be called: the generic cell rate algorithm, by
//! trigger. Counted together with other gateways where they share a store,
//! else by this gateway alone. A store that is down blocks nobody.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tokio::time::timeout;

/// Triggers that are counted in this process at most; further ones are let
/// pass.
const MAX_KEYS: usize = 100_000;

/// How long the shared store may take: it is in the way of every delivery.
const PATIENCE: Duration = Duration::from_millis(100);

/// How long a store that failed is not asked again.
const PAUSE: Duration = Duration::from_secs(2);

/// `burst` deliveries at once, then one each `interval`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    pub interval: Duration,
    /// At least 1.
    pub burst: u32,
}

/// Counts for several gateways together.
pub trait SharedRates: fmt::Debug + Send + Sync + 'static {
    /// Takes one delivery of `key` from its rate. `Some`: none is left, and
    /// the next one comes after this time. The error is for the log.
    fn take<'a>(
        &'a self,
        key: &'a str,
        rate: Rate,
    ) -> BoxFuture<'a, Result<Option<Duration>, String>>;
}

/// The counts of one gateway.
#[derive(Debug)]
pub struct Rates {
    shared: Option<Arc<dyn SharedRates>>,
    epoch: Instant,
    /// Microseconds since `epoch` until which the store is not asked.
    shunned_until: AtomicU64,
    /// For each key, when its rate is whole again, in microseconds since
    /// `epoch`.
    whole_at: Mutex<HashMap<String, u64>>,
}

impl Rates {
    pub fn new(shared: Option<Arc<dyn SharedRates>>) -> Self {
        Self {
            shared,
            epoch: Instant::now(),
            shunned_until: AtomicU64::new(0),
            whole_at: Mutex::default(),
        }
    }

    /// As [`SharedRates::take`].
    pub async fn take(&self, key: &str, rate: Rate) -> Option<Duration> {
        if let Some(shared) = &self.shared
            && self.shunned_until.load(Ordering::Relaxed) <= self.now()
        {
            let failed = match timeout(PATIENCE, shared.take(key, rate)).await {
                Ok(Ok(taken)) => return taken,
                Ok(Err(error)) => error,
                Err(_) => format!("no answer within {PATIENCE:?}"),
            };
            tracing::warn!(
                error = failed,
                "rates of webhooks are counted by this gateway alone"
            );
            self.shunned_until
                .store(self.now() + micros(PAUSE), Ordering::Relaxed);
        }
        self.take_alone(key, rate, self.now())
    }

    fn take_alone(&self, key: &str, rate: Rate, now: u64) -> Option<Duration> {
        let mut whole_at = self.whole_at.lock().unwrap_or_else(PoisonError::into_inner);
        if whole_at.len() >= MAX_KEYS && !whole_at.contains_key(key) {
            whole_at.retain(|_, at| *at > now);
            if whole_at.len() >= MAX_KEYS {
                return None;
            }
        }
        let interval = micros(rate.interval).max(1);
        let before = whole_at.get(key).copied().unwrap_or(0).max(now);
        let after = before.saturating_add(interval);
        let room = interval.saturating_mul(u64::from(rate.burst.max(1)));
        let wait = after.saturating_sub(now).saturating_sub(room);
        if wait > 0 {
            return Some(Duration::from_micros(wait));
        }
        match whole_at.get_mut(key) {
            Some(at) => *at = after,
            None => {
                whole_at.insert(key.to_owned(), after);
            }
        }
        None
    }

    fn now(&self) -> u64 {
        micros(self.epoch.elapsed())
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        interval: Duration::from_micros(10),
        burst: 3,
    };

    #[test]
    fn a_burst_passes_and_then_one_each_interval() {
        let rates = Rates::new(None);
        let at = |now| rates.take_alone("a", RATE, now);
        assert_eq!([at(0), at(0), at(0)], [None; 3]);
        assert_eq!(at(0), Some(Duration::from_micros(10)));
        assert_eq!(at(4), Some(Duration::from_micros(6)));
        assert_eq!(at(10), None);
        assert_eq!(at(10), Some(Duration::from_micros(10)));
        assert_eq!([at(100), at(100), at(100)], [None; 3]);
        assert!(at(100).is_some());
        assert_eq!(rates.take_alone("b", RATE, 100), None);
    }

    #[test]
    fn the_number_of_keys_is_bounded_and_blocks_nobody() {
        let rates = Rates::new(None);
        for n in 0..=MAX_KEYS {
            assert_eq!(rates.take_alone(&n.to_string(), RATE, 5), None);
        }
        assert_eq!(rates.whole_at.lock().unwrap().len(), MAX_KEYS);
        assert_eq!(rates.take_alone("later", RATE, 100), None);
        assert_eq!(rates.whole_at.lock().unwrap().len(), 1);
    }

    #[derive(Debug)]
    struct Broken;

    impl SharedRates for Broken {
        fn take<'a>(
            &'a self,
            _: &'a str,
            _: Rate,
        ) -> BoxFuture<'a, Result<Option<Duration>, String>> {
            Box::pin(std::future::pending())
        }
    }

    #[tokio::test]
    async fn a_store_that_hangs_blocks_nobody_and_is_left_alone_for_a_while() {
        let rates = Rates::new(Some(Arc::new(Broken)));
        let rate = Rate {
            interval: Duration::from_hours(1),
            burst: 1,
        };
        assert_eq!(rates.take("a", rate).await, None);
        assert!(rates.shunned_until.load(Ordering::Relaxed) > 0);
        assert!(rates.take("a", rate).await.is_some());
    }
}
