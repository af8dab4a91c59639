//! Failures of the database itself, as opposed to refusals of a request.

use millrace_types::ErrorKind;

/// The database could not do what was asked. Nothing has been changed, unless
/// the variant says that it is unknown.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached, or did not answer in time. The last write may or
    /// may not have happened; every operation can be repeated safely.
    #[error("the database is unavailable: {0}")]
    Unavailable(String),
    /// Another transaction was in the way (deadlock, serialisation failure,
    /// busy database). Nothing was written; repeating helps.
    #[error("the database asks to repeat the transaction: {0}")]
    Contended(String),
    /// The schema is not the one this program was built for.
    #[error("the database schema does not fit: {0}")]
    Schema(String),
    /// What was read cannot be understood, or a statement was refused.
    #[error("the database refused: {0}")]
    Rejected(String),
}

impl StoreError {
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Unavailable(_) | Self::Contended(_) => ErrorKind::Unavailable,
            Self::Schema(_) | Self::Rejected(_) => ErrorKind::Internal,
        }
    }

    /// Whether the same call may succeed when it is made again.
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Contended(_))
    }
}
