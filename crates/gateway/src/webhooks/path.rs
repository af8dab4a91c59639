//! The path of a webhook, as its trigger spells it.

use std::borrow::Cow;

use http::Uri;

use crate::problem::Problem;

/// What follows `prefix`, percent-decoded. An encoded slash stays encoded:
/// it belongs to a segment and separates none.
pub fn of<'a>(uri: &'a Uri, prefix: &str) -> Result<Cow<'a, str>, Problem> {
    let path = uri.path();
    let path = path.strip_prefix(prefix).unwrap_or(path);
    if !path.contains('%') {
        return Ok(Cow::Borrowed(path));
    }
    let mut decoded = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let pair = (bytes.next().and_then(digit), bytes.next().and_then(digit));
        match pair {
            (Some(2), Some(0xf)) => decoded.extend_from_slice(b"%2F"),
            (Some(high), Some(low)) => decoded.push(high << 4 | low),
            _ => return Err(malformed()),
        }
    }
    String::from_utf8(decoded)
        .map(Cow::Owned)
        .map_err(|_| malformed())
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

fn malformed() -> Problem {
    Problem::invalid("The path is not percent-encoded UTF-8.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_but_for_slashes() {
        let read = |path: &str| of(&path.parse().unwrap(), "/webhooks/").map(Cow::into_owned);
        assert_eq!(read("/webhooks/orders/eu?x=1").unwrap(), "orders/eu");
        assert_eq!(read("/webhooks/a%20b/%C3%A9").unwrap(), "a b/é");
        assert_eq!(read("/webhooks/a%2fb").unwrap(), "a%2Fb");
        for bad in [
            "/webhooks/%",
            "/webhooks/%zz",
            "/webhooks/%ff",
            "/webhooks/%4",
        ] {
            assert!(read(bad).is_err(), "{bad} was taken");
        }
    }
}
