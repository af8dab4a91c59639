//! The kinds of errors. Every operation has an error enum of its own; each of
//! its variants has one of these kinds, and exactly two tables map them: to
//! gRPC statuses (`millrace-proto`) and to HTTP problems (`millrace-gateway`).

use std::fmt;

use serde::{Deserialize, Serialize};

/// What sort of failure an error is, for the one who called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The request itself is wrong; repeating it will not help.
    Invalid,
    NotFound,
    /// It collides with something that exists.
    Conflict,
    /// The state of things does not allow it now.
    Precondition,
    Unauthenticated,
    Forbidden,
    /// A limit is used up.
    Exhausted,
    /// A dependency cannot be reached; repeating may help.
    Unavailable,
    Timeout,
    /// Declared, but not built yet.
    Unimplemented,
    /// A fault of ours; the caller learns no more than that.
    Internal,
}

impl ErrorKind {
    pub const ALL: &'static [Self] = &[
        Self::Invalid,
        Self::NotFound,
        Self::Conflict,
        Self::Precondition,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::Exhausted,
        Self::Unavailable,
        Self::Timeout,
        Self::Unimplemented,
        Self::Internal,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not-found",
            Self::Conflict => "conflict",
            Self::Precondition => "precondition",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::Exhausted => "exhausted",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Unimplemented => "unimplemented",
            Self::Internal => "internal",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
