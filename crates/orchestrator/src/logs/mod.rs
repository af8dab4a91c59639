//! The logs of workloads: written by their shims, by builds and by the
//! orchestrator into one series of segments; read by sequence number.

mod age;
mod follow;
mod read;
mod write;

pub(crate) use age::expire;
pub(crate) use follow::{Follower, LogHub};
pub(crate) use read::{LogQuery, page, tail};
pub(crate) use write::{collect, say, say_lost};
