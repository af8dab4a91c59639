//! Locks across processes, on one Redis server.
//!
//! Per lock there is one string, `{millrace}:lock:KEY` = `TOKEN:HOLDER`, that
//! expires by the server's clock. One string more, `{millrace}:token`, keeps
//! the last token given for any key. Three scripts do the rest, each of them
//! atomic. (The braces keep all of it on one node of a cluster.)
//!
//! Tokens grow although the server may forget everything or have its clock set
//! back: the next is the highest of
//! - the last one given, plus one, while the server remembers it;
//! - the server's time in µs, which is past all earlier ones after a loss;
//! - the last one *this client* has seen, plus one: for a loss within the same
//!   microsecond, and for one with the clock set back.
//!
//! What is left is a loss of all data *and* a clock set back, at once, seen by
//! another client: then its tokens may be lower until the clock has caught up.
//!
//! Redis replicates asynchronously: a failover may forget the youngest leases.
//! Their holders learn of it when they extend, and their tokens are lower than
//! their successors'.

mod config;
mod connection;
mod locks;
mod rates;

pub use config::{InvalidRedisConfig, RedisLocksConfig};
pub use locks::RedisLocks;
pub use rates::RedisRates;
