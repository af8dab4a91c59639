//! What is asked about triggers.

mod fires;
mod preview;

pub use fires::fires;
pub use preview::preview;
