//! What SQLite's failures mean to the contract.

use millrace_store::StoreError;

/// Primary result codes, <https://sqlite.org/rescode.html>.
const BUSY: i32 = 5;
const LOCKED: i32 = 6;
const IOERR: i32 = 10;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;

/// Sorts an error of sqlx into what a caller can do about it.
pub fn store_error(error: sqlx::Error) -> StoreError {
    let text = error.to_string();
    match error {
        sqlx::Error::Database(database) => {
            let code = database
                .code()
                .and_then(|code| code.parse::<i32>().ok())
                .unwrap_or_default();
            // The low byte is the primary code, the rest says more of it.
            match code & 0xff {
                BUSY | LOCKED => StoreError::Contended(text),
                IOERR | FULL | CANTOPEN => StoreError::Unavailable(text),
                _ if database.message().starts_with("no such table")
                    || database.message().starts_with("no such column") =>
                {
                    StoreError::Schema(text)
                }
                _ => StoreError::Rejected(text),
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreError::Unavailable(text),
        _ => StoreError::Rejected(text),
    }
}

/// A stored value that this program cannot have written.
pub fn corrupt(column: &str, value: impl std::fmt::Display) -> StoreError {
    StoreError::Rejected(format!("column {column} holds `{value}`"))
}
