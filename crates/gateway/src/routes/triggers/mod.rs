//! What is asked about triggers, and taking one away.

mod backfill;
mod fires;
mod preview;
mod unregister;

pub use backfill::backfill;
pub use fires::fires;
pub use preview::preview;
pub use unregister::unregister;
