//! What makes an event (CloudEvents 1.0), for whoever makes one and whoever
//! takes one.

mod filter;

pub use filter::{Correlation, Filter, LARGEST_FIXED, LIMITS};

/// Bytes that the text of one attribute may have.
pub const MAX_ATTRIBUTE: usize = 8 * 1024;

/// How many arrays and objects may lie inside each other, the event's own
/// among them. Below [`MAX_DEPTH`](crate::value::MAX_DEPTH) of values: who
/// listens gets the event within other data.
pub const MAX_DEPTH: u16 = 100;

/// Whether the specification lets an attribute be called so.
pub fn is_attribute_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    !name.is_empty() && name.bytes().all(fits)
}
