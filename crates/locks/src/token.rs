//! Numbers that tell a late holder from the present one.

use std::fmt;

/// Numbers the leases of a lock manager, strictly growing.
///
/// A holder passes its token along with every write that the lock protects,
/// and the other side refuses one that is lower than the highest it has seen:
/// so a holder that was asleep while its lease ended can do no harm.
///
/// Each is `max(previous + 1, the server's time in µs)`, so that tokens keep
/// growing when the server has lost the previous one. They stay below 2^53
/// (until the year 2255), so every JSON reader keeps them exact.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FencingToken(u64);

impl FencingToken {
    pub(crate) const fn new(number: u64) -> Self {
        Self(number)
    }

    pub const fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FencingToken({})", self.0)
    }
}
