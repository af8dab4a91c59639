//! Processes: the shim in front of each, its socket, and what the kernel says
//! about the tree behind it.

mod backend;
mod confine;
mod members;
mod shim;
mod spawn;
mod usage;

pub(crate) mod leftovers;
pub(crate) mod marked;

pub(crate) use backend::ProcessBackend;
pub(crate) use members::members;
use shim::{ShimLink, Told};
use spawn::ShimProgram;
pub(crate) use usage::{Usage, usage};
