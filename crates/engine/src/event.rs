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

/// Why the specification lets no attribute have this text: it has none of the
/// characters for control, and none that Unicode has set aside.
pub fn attribute_fault(text: &str) -> Option<String> {
    let aside = |c: char| matches!(c, '\u{fdd0}'..='\u{fdef}') || u32::from(c) & 0xfffe == 0xfffe;
    let c = text.chars().find(|c| c.is_control() || aside(*c))?;
    Some(format!(
        "must not have the character U+{:04X}, which no attribute of an event may have",
        u32::from(c)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_no_text_of_an_attribute() {
        for text in ["a\0b", "\n", "\u{7f}", "\u{9f}", "\u{fdd0}", "\u{1ffff}"] {
            assert!(attribute_fault(text).is_some(), "{text:?}");
        }
        assert!(attribute_fault("a\0").unwrap().contains("U+0000"));
        for text in ["", "/shop/é", "\u{a0}", "\u{fffd}", "😀"] {
            assert_eq!(attribute_fault(text), None, "{text:?}");
        }
    }
}
