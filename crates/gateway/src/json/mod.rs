//! JSON as text: checked, looked into and pointed at, but never re-written,
//! so that key order and big integers arrive as they were sent.

mod check;
mod locate;
mod members;

pub use check::{JsonFault, JsonText};
pub use locate::{locate, offset_of, position};
pub use members::{Member, Members};
