//! Content digests: SHA-256 (FIPS 180-4), lower-case hexadecimal.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// The digest of one text.
pub(crate) fn text(text: &str) -> String {
    hexadecimal(&Sha256::digest(text.as_bytes()))
}

/// The digest of several parts, each preceded by its length, so that moving
/// text from one part to the next changes it.
pub(crate) fn parts(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hexadecimal(&hash.finalize())
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(64), |mut out, byte| {
            // Writing to a String cannot fail.
            let _ = write!(out, "{byte:02x}");
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_vector_is_met() {
        // FIPS 180-4, example "abc".
        assert_eq!(
            text("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn moving_text_between_parts_changes_the_digest() {
        assert_ne!(parts(&["ab", "c"]), parts(&["a", "bc"]));
    }
}
