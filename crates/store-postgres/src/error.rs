//! What PostgreSQL's failures mean to the one who called.

use millrace_store::StoreError;

/// SQLSTATE classes and codes after which nothing was written and the same
/// transaction may succeed: serialisation failure, deadlock, lock timeout.
const CONTENDED: [&str; 3] = ["40001", "40P01", "55P03"];

/// The server is going away, is full, or stopped the statement for its time:
/// whole classes (connection exceptions, insufficient resources), then codes
/// (canceled, shutdowns, cannot connect now, idle limits, read-only standby).
const UNAVAILABLE_CLASSES: [&str; 2] = ["08", "53"];
const UNAVAILABLE: [&str; 7] = [
    "57014", "57P01", "57P02", "57P03", "57P05", "25P03", "25006",
];

/// A table, column or function that is not there.
const SCHEMA: [&str; 3] = ["42P01", "42703", "42883"];

/// What a statement says that applies to all of its rows or to none. It says
/// so by failing to make a number of this text.
pub(crate) const NOT_ALL: &str = "some writes of this batch do not apply; each will be judged";

/// Failures as this crate sees them: some of them it can mend itself.
#[derive(Debug)]
pub(crate) enum Failure {
    /// See [`NOT_ALL`].
    NotAll,
    /// A row found no partition to go to.
    NoPartition,
    Store(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        // A check violation that names no constraint: PostgreSQL has no code
        // of its own for a missing partition, and its message is translated.
        if let sqlx::Error::Database(db) = &error
            && db.code().as_deref() == Some("23514")
            && db.constraint().is_none()
        {
            return Self::NoPartition;
        }
        if let sqlx::Error::Database(db) = &error
            && db.code().as_deref() == Some("22P02")
            && db.message().contains(NOT_ALL)
        {
            return Self::NotAll;
        }
        Self::Store(store_error(error))
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NoPartition => Self::Unavailable("a partition is missing".into()),
            Failure::NotAll => Self::Contended("an execution changed meanwhile".into()),
            Failure::Store(error) => error,
        }
    }
}

/// Sorts a driver's error into the contract's.
#[expect(clippy::needless_pass_by_value, reason = "made for `map_err`")]
pub(crate) fn store_error(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(db) => {
            let code = db.code().unwrap_or_default();
            let text = format!("{} ({code})", db.message());
            if CONTENDED.contains(&&*code) {
                StoreError::Contended(text)
            } else if UNAVAILABLE.contains(&&*code)
                || UNAVAILABLE_CLASSES.iter().any(|c| code.starts_with(c))
            {
                StoreError::Unavailable(text)
            } else if SCHEMA.contains(&&*code) {
                StoreError::Schema(format!("{text}; run `millrace migrate`"))
            } else {
                StoreError::Rejected(text)
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::BeginFailed => StoreError::Unavailable(error.to_string()),
        _ => StoreError::Rejected(error.to_string()),
    }
}
