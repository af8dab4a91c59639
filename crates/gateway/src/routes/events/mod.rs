//! Events from outside, as CloudEvents 1.0 over HTTP.

mod binary;
mod publish;

pub use publish::publish;
