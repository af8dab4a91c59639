//! Processes: the shim in front of each, its socket, and what the kernel says
//! about the tree behind it.

mod shim;
mod spawn;
mod usage;

pub(crate) mod leftovers;

pub(crate) use shim::{ShimLink, Told};
pub(crate) use spawn::{SPEC, ShimProgram, Start, spawn};
pub(crate) use usage::{Usage, usage};
