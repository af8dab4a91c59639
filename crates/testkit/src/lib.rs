//! What tests need and production code must not: fresh databases, a Redis that
//! may be mistreated, and waiting without sleeping. A dev-dependency only.
//!
//! - [`TestDatabase`]: a fresh PostgreSQL database, dropped at the end.
//! - [`PrivateRedis`]: an own `redis-server` to stop, freeze, restart and flush.
//! - [`Authority`], [`replace_file`]: certificates, and how they are replaced.
//! - [`eventually`], [`eventually_eq`]: wait for a condition with a deadline,
//!   and show the last value seen when it never came.
//! - [`git`]: Git without anybody's configuration.
//! - [`guard`]: what runs in a test's folder is killed when the test's process ends.
//! - [`free_port`], [`port_pool`]: for programs that cannot bind port 0 themselves.
//!
//! Which tests run when is decided by where they stand:
//!
//! | where                 | selected by            | may use                  |
//! |-----------------------|------------------------|--------------------------|
//! | `src/**`              | `cargo test --lib --bins` | the process alone     |
//! | `crates/*/tests/*.rs` | `cargo test --test '*'` | PostgreSQL, Redis, ports |
//!
//! `scripts/with-services` provides the servers. A test that needs one and does
//! not find it panics and names that script: nothing is skipped in silence.

mod authority;
mod database;
mod eventually;
mod git;
mod guard;
mod port;
mod redis_server;

pub use authority::{Authority, replace_file};
pub use database::TestDatabase;
pub use eventually::{eventually, eventually_eq};
pub use git::git;
pub use guard::guard;
pub use port::{free_port, port_pool};
pub use redis_server::PrivateRedis;
/// For tests of the whole that look into the database behind its back.
pub use sqlx;

/// The URL of the shared Redis for tests (`REDIS_URL`). Tests on it use keys of
/// their own and never flush it: others run at the same time.
///
/// # Panics
/// When `REDIS_URL` is unset.
pub fn redis_url() -> String {
    required_variable("REDIS_URL")
}

/// The value of an environment variable that `scripts/with-services` sets.
fn required_variable(name: &str) -> String {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => value,
        _ => panic!(
            "{name} is not set: this test needs a server. Run it through \
             `scripts/with-services cargo test …` or `make test`"
        ),
    }
}
