//! Spellings of bytes. They are strict: a signature has one spelling, but for
//! the case of generic hex and the padding of base64, which senders choose.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

const CONFIG: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);

pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

pub(crate) fn base64_url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE.decode(text).ok()
}

/// Hex digits all in lower case, as every vendor writes them.
pub(crate) fn hex_lower(text: &str) -> Option<Vec<u8>> {
    let digit = |b: u8| match b {
        b'0'..=b'9' => Some(b - b'0'),
        b'a'..=b'f' => Some(b - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}

/// Hex digits all in lower or all in upper case.
pub(crate) fn hex(text: &str) -> Option<Vec<u8>> {
    if text.contains(|c: char| c.is_ascii_lowercase()) {
        hex_lower(text)
    } else {
        hex_lower(&text.to_ascii_lowercase())
    }
}

/// Bytes as lower-case hex digits.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from(b"0123456789abcdef"[usize::from(value)]);
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_strict() {
        assert_eq!(hex_lower("00ff1a"), Some(vec![0, 255, 26]));
        assert_eq!(hex("00FF1A"), Some(vec![0, 255, 26]));
        assert_eq!(hex("00ff1a"), Some(vec![0, 255, 26]));
        for bad in ["0", "0g", "fF", "0x", " 0", "é", "+1"] {
            assert_eq!(hex(bad), None, "{bad}");
        }
        assert_eq!(hex_lower("FF"), None);
    }

    #[test]
    fn base64_takes_one_spelling_of_the_last_bits() {
        assert_eq!(base64("/w=="), Some(vec![255]));
        assert_eq!(base64("/w"), Some(vec![255]));
        assert_eq!(base64_url("_w"), Some(vec![255]));
        for bad in ["/x==", "_w==", "/w==\n", "/ w=="] {
            assert_eq!(base64(bad), None, "{bad}");
        }
    }
}
