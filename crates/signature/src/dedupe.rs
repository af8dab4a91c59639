//! The name that a sender gave to its message.

use http::{HeaderMap, HeaderName};

/// Headers that name a message, in the order in which they are asked.
const HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("webhook-id"),
    HeaderName::from_static("x-github-delivery"),
    HeaderName::from_static("idempotency-key"),
];

/// Longest name in bytes that is taken.
const MAX: usize = 255;

/// The key by which a repeated delivery is known: the first usable value of
/// `webhook-id`, `X-GitHub-Delivery` and `Idempotency-Key`. Usable is a header
/// that stands once and holds 1 to 255 printable ASCII characters.
///
/// Only Standard Webhooks signs this name. With every other scheme one who
/// replays a captured request may give it another.
pub fn dedupe_key(headers: &HeaderMap) -> Option<String> {
    HEADERS.iter().find_map(|name| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (Some(value), None) => usable(value.as_bytes()).map(str::to_owned),
            _ => None,
        }
    })
}

/// The name in these bytes, when it is one.
pub(crate) fn usable(bytes: &[u8]) -> Option<&str> {
    let printable = bytes.iter().all(|b| matches!(b, b' '..=b'~'));
    let text = std::str::from_utf8(bytes).ok().filter(|_| printable)?;
    let bounded = (1..=MAX).contains(&text.len()) && text.trim() == text;
    bounded.then_some(text)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn key(headers: &[(&'static str, &[u8])]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        dedupe_key(&map)
    }

    #[test]
    fn the_first_usable_header_names_the_message() {
        let all: [(&str, &[u8]); 3] = [
            ("idempotency-key", b"\"8e03978e\""),
            ("x-github-delivery", b"72d3162e-cc78-11e3"),
            ("webhook-id", b"msg_1"),
        ];
        assert_eq!(key(&all).as_deref(), Some("msg_1"));
        assert_eq!(key(&all[..2]).as_deref(), Some("72d3162e-cc78-11e3"));
        assert_eq!(key(&all[..1]).as_deref(), Some("\"8e03978e\""));
        assert_eq!(key(&[]), None);
    }

    #[test]
    fn an_unusable_name_is_passed_over() {
        let long = [b'a'; 256];
        for bad in [&b""[..], b"a\tb", b" a", "ä".as_bytes(), &long] {
            assert_eq!(key(&[("webhook-id", bad)]), None);
            assert_eq!(
                key(&[("webhook-id", bad), ("idempotency-key", b"k")]).as_deref(),
                Some("k")
            );
        }
        assert_eq!(
            key(&[("webhook-id", &long[1..])]).map(|k| k.len()),
            Some(255)
        );
        assert_eq!(key(&[("webhook-id", b"a"), ("webhook-id", b"b")]), None);
    }
}
