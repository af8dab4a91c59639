//! One holding of a lock.

use std::time::{Duration, Instant};

use crate::{FencingToken, LockKey};

/// The right to act as the only holder of a key, until it expires. There is
/// one value for it; releasing takes it away.
#[derive(Debug)]
pub struct Lease {
    pub(crate) key: LockKey,
    pub(crate) token: FencingToken,
    /// What the lock's owner is compared by. A token alone would not do where
    /// a server may lose its data.
    pub(crate) holder: Box<str>,
    pub(crate) expires_at: Instant,
}

impl Lease {
    pub fn key(&self) -> &LockKey {
        &self.key
    }

    pub fn token(&self) -> FencingToken {
        self.token
    }

    /// Until when its holder may rely on it, by the clock of this process. It
    /// counts from before the request was sent, so the lock itself is free a
    /// little later, never earlier.
    pub fn expires_at(&self) -> Instant {
        self.expires_at
    }

    /// How long its holder may rely on it from `now` on; zero when it is over.
    pub fn remaining(&self, now: Instant) -> Duration {
        self.expires_at.saturating_duration_since(now)
    }
}

/// How long a lease lasts: 1 ms to 24 h. What takes longer extends its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeaseTtl(Duration);

impl LeaseTtl {
    pub const MIN: Self = Self(Duration::from_millis(1));
    pub const MAX: Self = Self(Duration::from_hours(24));

    pub const fn get(self) -> Duration {
        self.0
    }

    /// In whole milliseconds, rounded up, as Redis wants it.
    pub(crate) fn as_millis_up(self) -> u64 {
        u64::try_from(self.0.as_nanos().div_ceil(1_000_000)).expect("24 h in ms fit a u64")
    }
}

impl TryFrom<Duration> for LeaseTtl {
    type Error = InvalidTtl;

    fn try_from(duration: Duration) -> Result<Self, InvalidTtl> {
        if (Self::MIN.0..=Self::MAX.0).contains(&duration) {
            Ok(Self(duration))
        } else {
            Err(InvalidTtl(duration))
        }
    }
}

/// A time that no lease may last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a lease lasts 1 ms to 24 h, not {0:?}")]
pub struct InvalidTtl(Duration);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_is_between_a_millisecond_and_a_day() {
        assert!(LeaseTtl::try_from(Duration::ZERO).is_err());
        assert!(LeaseTtl::try_from(Duration::from_micros(999)).is_err());
        assert!(LeaseTtl::try_from(Duration::from_millis(1)).is_ok());
        assert!(LeaseTtl::try_from(Duration::from_secs(86_401)).is_err());
    }

    #[test]
    fn fractions_of_a_millisecond_are_rounded_up() {
        let ttl = LeaseTtl::try_from(Duration::from_micros(1_001)).unwrap();
        assert_eq!(ttl.as_millis_up(), 2);
    }
}
