//! The store on PostgreSQL, 15 or newer.
//!
//! It owns every statement that Millrace sends to PostgreSQL, and nothing of
//! what they mean: that is the contract of `millrace-store`, whose suite runs
//! over this crate in `tests/conformance.rs`. The schema is in
//! `migrations/postgres`, built in, and applied by [`PostgresStore::migrate`].
//!
//! ```text
//!  commit([Write]) ── one transaction ──────────────────────────────────────
//!    admissions    dedupe rows → executions → had any of them ended before?
//!    checkpoints   lock, judge → frames, timers, events → executions
//!    endings       (locked with them) → executions_ended, events
//!  then, where concurrency is limited, in transactions of their own:
//!    admissions    lock the queue → executions → slots, or as the policy says
//!    endings       lock the queue → the slots that are free now
//! ```
//!
//! - A batch takes a fixed number of statements, however many writes it holds:
//!   columns travel as arrays and are unnested in the database.
//! - Locks are taken in one order everywhere (dedupe rows by key, then
//!   executions by id), so that batches hardly ever deadlock; when they do,
//!   the loser gets [`millrace_store::StoreError::Contended`] and is repeated.
//! - Waiting is bounded on all sides: acquiring a connection, locks,
//!   statements, and whole operations, should the network swallow an answer.
//! - Time is the database's (`now()`, `clock_timestamp()`), never the host's.

mod api_key;
mod config;
mod connect;
mod convert;
mod deployment;
mod error;
mod event;
mod execution;
mod gather;
mod incarnation;
mod metrics;
mod migrate;
mod monitoring;
mod partition;
mod schedule;
mod time;
mod workload;

pub use config::PostgresConfig;
pub use connect::PostgresStore;
pub use migrate::Migration;
