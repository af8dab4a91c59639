//! Why a request is not believed.

use std::time::Duration;

use millrace_types::ErrorKind;

use crate::spec::Place;

/// Why a request is not believed: for the log alone. It holds neither a
/// secret, nor what the signature should have been, nor where it differed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    #[error("the {0} is missing")]
    Missing(Place),
    /// Which of them counts would be a guess.
    #[error("the {0} stands more than once")]
    Duplicate(Place),
    #[error("the {place} {why}")]
    Malformed { place: Place, why: &'static str },
    /// No active secret makes any of the given signatures.
    #[error("the signature fits no active secret")]
    WrongSignature,
    /// The name, password, token or key is another.
    #[error("the credential is not a known one")]
    WrongCredential,
    /// The signed time lies before now by more than the tolerance.
    #[error("the signed time is {} s ago, more than {} s", .age.as_secs(), .tolerance.as_secs())]
    TooOld { age: Duration, tolerance: Duration },
    /// The signed time lies after now by more than the tolerance.
    #[error("the signed time is {} s ahead, more than {} s", .ahead.as_secs(), .tolerance.as_secs())]
    TooNew {
        ahead: Duration,
        tolerance: Duration,
    },
}

impl AuthError {
    /// All that a sender is told, whatever the reason.
    pub const OUTWARD: &'static str = "the request could not be authenticated";

    /// The kind is the same for every reason, so that it tells nothing.
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::Unauthenticated
    }

    /// A short fixed word, fit for the label of a metric.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::Duplicate(_) => "duplicate",
            Self::Malformed { .. } => "malformed",
            Self::WrongSignature => "wrong-signature",
            Self::WrongCredential => "wrong-credential",
            Self::TooOld { .. } => "too-old",
            Self::TooNew { .. } => "too-new",
        }
    }
}
