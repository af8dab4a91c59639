//! Whether bytes are JSON that every part behind the gateway can read.

use bytes::Bytes;
use millrace_proto::Finding;
use serde::de::IgnoredAny;

use super::locate::position;

/// Deepest nesting of arrays and objects that is taken. The readers behind
/// the gateway stop at 128, and wrap payloads in a few levels of their own.
pub const MAX_DEPTH: usize = 100;

/// Where a text stops being JSON, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} at line {line} column {column}")]
pub struct JsonFault {
    /// 1-based.
    pub line: u32,
    /// 1-based, in characters.
    pub column: u32,
    pub message: String,
}

impl JsonFault {
    fn at(text: &str, offset: usize, message: impl Into<String>) -> Self {
        let place = position(text, offset);
        Self {
            line: place.line,
            column: place.column,
            message: message.into(),
        }
    }

    /// Takes the place and the reason from an error about `text`.
    pub fn of(text: &str, error: &serde_json::Error) -> Self {
        // Its columns count bytes; ours count characters.
        let line_start = text
            .split_inclusive('\n')
            .take(error.line().saturating_sub(1))
            .map(str::len)
            .sum::<usize>();
        let offset = line_start + error.column().saturating_sub(1);
        let full = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        Self::at(text, offset, full.strip_suffix(&place).unwrap_or(&full))
    }
}

impl From<JsonFault> for Finding {
    fn from(fault: JsonFault) -> Self {
        Self {
            pointer: String::new(),
            line: fault.line,
            column: fault.column,
            message: fault.message,
        }
    }
}

/// Bytes that are known to be one JSON text.
#[derive(Debug, Clone)]
pub struct JsonText(Bytes);

impl JsonText {
    /// Checks without building anything: the cost is one pass for the
    /// grammar and one for what the grammar leaves open.
    pub fn check(bytes: Bytes) -> Result<Self, JsonFault> {
        check(&bytes)?;
        Ok(Self(bytes))
    }

    pub fn null() -> Self {
        Self(Bytes::from_static(b"null"))
    }

    /// A JSON string that holds `text`.
    pub fn string(text: &str) -> Self {
        Self(Bytes::from(serde_json::Value::from(text).to_string()))
    }

    /// Text that was made by a serialiser of this process.
    pub(crate) fn serialized(text: String) -> Self {
        Self(Bytes::from(text))
    }

    /// A copy, exactly as it was sent.
    pub fn to_text(&self) -> String {
        // Never lossy: checked when made.
        String::from_utf8_lossy(&self.0).into_owned()
    }
}

/// The text of `bytes`, when they are JSON.
fn check(bytes: &[u8]) -> Result<&str, JsonFault> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let good = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
            return Err(JsonFault::at(&good, good.len(), "the text is not UTF-8"));
        }
    };
    serde_json::from_str::<IgnoredAny>(text).map_err(|error| JsonFault::of(text, &error))?;
    match beyond_grammar(text.as_bytes()) {
        None => Ok(text),
        Some((offset, message)) => Err(JsonFault::at(text, offset, message)),
    }
}

/// What a grammar check lets pass and a reader trips over later: nesting
/// without bound, and escapes that stand for half a character. Takes text
/// whose grammar is right.
fn beyond_grammar(bytes: &[u8]) -> Option<(usize, String)> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Some((at, format!("nested deeper than {MAX_DEPTH} levels")));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => match string_end(bytes, at + 1) {
                Ok(end) => at = end,
                Err(bad) => return Some((bad, "half of a surrogate pair".into())),
            },
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where the string that starts at `at` has its closing quote; the offset of
/// a lone surrogate otherwise.
fn string_end(bytes: &[u8], mut at: usize) -> Result<usize, usize> {
    loop {
        match bytes.get(at) {
            None | Some(b'"') => return Ok(at),
            Some(b'\\') => match escaped_unit(bytes, at) {
                None => at += 2,
                Some(0xd800..=0xdbff) => match escaped_unit(bytes, at + 6) {
                    Some(0xdc00..=0xdfff) => at += 12,
                    _ => return Err(at),
                },
                Some(0xdc00..=0xdfff) => return Err(at),
                Some(_) => at += 6,
            },
            Some(_) => at += 1,
        }
    }
}

/// The UTF-16 unit of a `\uXXXX` at `at`, if there is one.
fn escaped_unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> (u32, u32) {
        let fault = check(text.as_bytes()).expect_err(text);
        (fault.line, fault.column)
    }

    #[test]
    fn json_is_taken_as_it_is() {
        for good in [
            "null",
            " {\"b\": 1, \"a\": 123456789012345678901234567890, \"x\": \"\\u0000\"} ",
            "\"\\ud83d\\ude00 \\\\ud800 \\\"\"",
            "[1e999999, -0.0]",
        ] {
            assert_eq!(check(good.as_bytes()).unwrap(), good);
        }
    }

    #[test]
    fn faults_have_line_and_column_in_characters() {
        assert_eq!(fault("{\"a\":}"), (1, 6));
        assert_eq!(fault("{\n  \"äöü\": nope\n}"), (2, 11));
        assert_eq!(fault("[1,\n2"), (2, 1));
        let (line, column) = fault("");
        assert_eq!((line, column), (1, 1));
        assert_eq!(check(b"{\n\"a\xff").unwrap_err().line, 2);
    }

    #[test]
    fn half_characters_are_refused() {
        assert_eq!(fault("[\"ok\", \"\\ud800\"]"), (1, 9));
        assert_eq!(fault("\"\\udc00\""), (1, 2));
        assert_eq!(fault("\"\\ud800\\u0041\""), (1, 2));
    }

    #[test]
    fn nesting_has_a_bound() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(check(deep(MAX_DEPTH).as_bytes()).is_ok());
        assert!(check(deep(MAX_DEPTH + 1).as_bytes()).is_err());
        assert!(check(deep(400_000).as_bytes()).is_err());
    }
}
