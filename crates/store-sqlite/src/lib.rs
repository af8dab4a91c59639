//! The store on one SQLite file: what `millrace dev` runs on, with nothing
//! else installed.
//!
//! SQLite has one writer. So has this crate: one connection does all that
//! writes, one transaction after the other, and a few more only read, each in
//! the snapshot of what was committed last (WAL). Group commit above makes
//! that fast: the cost of a transaction is its `fsync` (`synchronous=FULL`),
//! and hundreds of writes share it.
//!
//! ```text
//!  commit, claim, deploy, … ──▶ writer ──┐
//!                                        ├── millrace.db (+ -wal, -shm)
//!  lists, execution, events ──▶ readers ─┘
//! ```
//!
//! - [`open`] and [`migrate`]: the file, its settings, its schema.
//! - `commit`: the grouped writes. Whatever the size of a batch, it takes a
//!   fixed number of statements: rows go in as one JSON array, and their
//!   payloads as one blob beside it, of which each row names its part.
//! - `claim`, `incarnation`: who owns what.
//! - `deployment`, `execution`, `maintain`: the rest of the contract.
//!
//! Payloads are never looked into here. The clock is the host's, read once in
//! each transaction, after it holds the write lock.

mod api_key;
mod cancel;
mod claim;
mod commit;
mod deployment;
mod error;
mod event;
mod execution;
mod fair;
mod gather;
mod incarnation;
mod kept;
mod maintain;
mod migrate;
mod monitoring;
mod open;
mod overdue;
#[cfg(test)]
mod plan;
mod row;
mod rows;
mod schedule;
mod slots;
mod workload;

pub use migrate::{MigrateError, Migration};
pub use open::{OpenError, SqliteConfig, SqliteStore};
