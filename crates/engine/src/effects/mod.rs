//! What a step asks the world for.
//!
//! [`http`] makes calls; [`egress`] says where they may go.

pub mod egress;
pub mod http;
