//! Names of locks.

use std::fmt;
use std::str::FromStr;

/// Names what is locked: 1 to 200 visible ASCII characters, by convention
/// `area:id`, such as `schedule:shard-7`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockKey(Box<str>);

impl LockKey {
    /// Long enough for any id with its area, short enough to print.
    pub const MAX_BYTES: usize = 200;

    pub fn new(text: &str) -> Result<Self, InvalidLockKey> {
        if text.is_empty() {
            Err(InvalidLockKey::Empty)
        } else if text.len() > Self::MAX_BYTES {
            Err(InvalidLockKey::TooLong { bytes: text.len() })
        } else if let Some(found) = text.chars().find(|c| !c.is_ascii_graphic()) {
            Err(InvalidLockKey::Character { found })
        } else {
            Ok(Self(text.into()))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Why a text cannot name a lock.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLockKey {
    #[error("a lock key must not be empty")]
    Empty,
    #[error(
        "a lock key has at most {} bytes, this one has {bytes}",
        LockKey::MAX_BYTES
    )]
    TooLong { bytes: usize },
    #[error("a lock key has visible ASCII characters only, not {found:?}")]
    Character { found: char },
}

impl FromStr for LockKey {
    type Err = InvalidLockKey;

    fn from_str(text: &str) -> Result<Self, InvalidLockKey> {
        Self::new(text)
    }
}

impl fmt::Display for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for LockKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LockKey({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_visible_ascii_of_bounded_length() {
        assert_eq!(
            LockKey::new("schedule:shard-7").unwrap().as_str(),
            "schedule:shard-7"
        );
        assert!(LockKey::new(&"k".repeat(200)).is_ok());
        assert_eq!(LockKey::new(""), Err(InvalidLockKey::Empty));
        assert_eq!(
            LockKey::new(&"k".repeat(201)),
            Err(InvalidLockKey::TooLong { bytes: 201 })
        );
        for found in [' ', '\n', '\0', 'ü'] {
            assert_eq!(
                LockKey::new(&format!("a{found}b")),
                Err(InvalidLockKey::Character { found })
            );
        }
    }
}
