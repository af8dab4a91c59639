//! What is asked about triggers, and taking one away.

mod fires;
mod preview;
mod unregister;

pub use fires::fires;
pub use preview::preview;
pub use unregister::unregister;
