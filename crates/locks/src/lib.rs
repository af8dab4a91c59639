//! Leases: locks that are held for a bounded time, by one holder, across
//! processes.
//!
//! The part is called [`DistributedLockManager`]. It has two implementations,
//! and one suite ([`conformance`], with the feature of that name) for both:
//!
//! - [`InProcessLocks`] for `millrace dev`: nothing to install, gone with the
//!   process.
//! - [`RedisLocks`] for several instances: atomic scripts on one Redis.
//!
//! ```text
//!             acquire                       extend
//!   free ───────────────▶ held by a token ─────────┐
//!    ▲                       │        ▲            │
//!    └── release, ttl over ──┘        └────────────┘
//! ```
//!
//! What is promised:
//!
//! - **One holder.** While a lease lasts nobody else gets the key. An acquire
//!   that comes too late is a typed refusal ([`AcquireError::Held`]), not a wait.
//! - **A lease ends by itself** when its time is over. Its former holder can
//!   neither extend nor release it, whoever holds the key by then.
//! - **Fencing tokens grow strictly**, over releases, expiry, restarts and the
//!   loss of all data. See [`FencingToken`] for how to use one.
//! - **Bounded time.** Every call ends within a deadline; a server that is
//!   down, slow or starting is [`LockUnavailable`], and works again by itself.
//!
//! What is not: a lease says nothing about what its holder does after losing
//! it. That is what the token is for. And nothing that must never be lost or
//! done twice may rest on a lock alone: the database decides about that. Locks
//! spare work, they do not keep promises.
//!
//! Words: a *key* names what is locked, a *lease* is one holding of it, a
//! *token* numbers the lease.

mod clock;
mod error;
mod in_process;
mod key;
mod lease;
mod manager;
mod redis;
mod token;

#[cfg(feature = "conformance")]
pub mod conformance;

pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{AcquireError, ExtendError, LockUnavailable, ReleaseError};
pub use in_process::InProcessLocks;
pub use key::{InvalidLockKey, LockKey};
pub use lease::{InvalidTtl, Lease, LeaseTtl};
pub use manager::DistributedLockManager;
pub use redis::{InvalidRedisConfig, RedisLocks, RedisLocksConfig, RedisRates};
pub use token::FencingToken;
