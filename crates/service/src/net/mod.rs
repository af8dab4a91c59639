//! Connections as listeners take them, whatever is spoken on them.

mod door;
mod incoming;
mod stream;

pub(crate) use door::Door;
pub(crate) use incoming::{Caller, incoming};
pub(crate) use stream::Stream;
