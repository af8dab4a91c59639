//! What may come instead of a lease.

use std::time::Duration;

use millrace_types::ErrorKind;

use crate::{FencingToken, LockKey};

/// Why a lock was not acquired.
#[derive(Debug, thiserror::Error)]
pub enum AcquireError {
    /// Someone holds it. Not a failure: the ordinary answer to coming second.
    #[error("lock `{key}` is held, for {remaining:?} at most unless extended")]
    Held { key: LockKey, remaining: Duration },
    /// It is unknown whether the lock was taken. If it was, nobody holds the
    /// lease, and it ends by itself after its time.
    #[error("lock `{key}` cannot be acquired: {source}")]
    Unavailable {
        key: LockKey,
        source: LockUnavailable,
    },
}

/// Why a lease was not extended.
#[derive(Debug, thiserror::Error)]
pub enum ExtendError {
    /// It is over: expired, or lost with the server's data. Its holder has to
    /// stop what the lock protects.
    #[error("the lease {token} of lock `{key}` is over")]
    Lost { key: LockKey, token: FencingToken },
    /// It is unknown whether it was extended. The lease may be relied on for as
    /// long as it says.
    #[error("the lease {token} of lock `{key}` cannot be extended: {source}")]
    Unavailable {
        key: LockKey,
        token: FencingToken,
        source: LockUnavailable,
    },
}

/// Why a lease was not released.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// It was over before; someone else may have held the lock meanwhile.
    #[error("the lease {token} of lock `{key}` was over before it was released")]
    Lost { key: LockKey, token: FencingToken },
    /// It is unknown whether it was released. If not, it ends after its time.
    #[error("the lease {token} of lock `{key}` cannot be released: {source}")]
    Unavailable {
        key: LockKey,
        token: FencingToken,
        source: LockUnavailable,
    },
}

/// The lock server did not do its part. Trying again later may help.
#[derive(Debug, thiserror::Error)]
pub enum LockUnavailable {
    /// No connection, or it broke.
    #[error("the lock server cannot be reached: {0}")]
    Unreachable(String),
    /// No answer within the deadline.
    #[error("the lock server did not answer within {0:?}")]
    Timeout(Duration),
    /// It answered with an error: loading, read-only, out of memory, wrong
    /// password, or data that is not ours.
    #[error("the lock server refused: {0}")]
    Refused(String),
}

impl LockUnavailable {
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Unreachable(_) | Self::Refused(_) => ErrorKind::Unavailable,
            Self::Timeout(_) => ErrorKind::Timeout,
        }
    }
}

impl AcquireError {
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Held { .. } => ErrorKind::Conflict,
            Self::Unavailable { source, .. } => source.kind(),
        }
    }
}

impl ExtendError {
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Lost { .. } => ErrorKind::Precondition,
            Self::Unavailable { source, .. } => source.kind(),
        }
    }
}

impl ReleaseError {
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Lost { .. } => ErrorKind::Precondition,
            Self::Unavailable { source, .. } => source.kind(),
        }
    }
}
