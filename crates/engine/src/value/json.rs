//! Reading and writing JSON text: strictly, exactly, within a bounded depth.

use std::fmt::{self, Write as _};

use indexmap::IndexMap;

use super::{MAX_DEPTH, Text, Value, number};

/// Why a text is not one JSON value that we take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid JSON at byte {offset}: {reason}")]
pub struct InvalidJson {
    /// Where reading stopped, in bytes from the start.
    pub offset: usize,
    /// What was wrong there.
    pub reason: &'static str,
}

/// Reads exactly one JSON value (RFC 8259), nothing more lenient: no comments,
/// no NaN, no trailing comma. Of two members with one key the later value
/// stays. More than [`MAX_DEPTH`] nested arrays and objects are refused.
pub fn from_json(bytes: &[u8]) -> Result<Value, InvalidJson> {
    let text = std::str::from_utf8(bytes).map_err(|e| InvalidJson {
        offset: e.valid_up_to(),
        reason: "not UTF-8",
    })?;
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0)?;
    reader.space();
    if reader.at < text.len() {
        return Err(reader.fail("more follows after the value"));
    }
    Ok(value)
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

type Read<T> = Result<T, InvalidJson>;

impl Reader<'_> {
    fn fail(&self, reason: &'static str) -> InvalidJson {
        InvalidJson {
            offset: self.at,
            reason,
        }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn eat(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    fn value(&mut self, depth: u16) -> Read<Value> {
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => Ok(Value::Str(self.string()?.into())),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'n') => self.word("null", Value::Null),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(_) => Err(self.fail("expected a value")),
            None => Err(self.fail("it ends where a value should be")),
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Read<Value> {
        if !self.text[self.at..].starts_with(word) {
            return Err(self.fail("expected a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn deeper(&self, depth: u16) -> Read<u16> {
        if depth >= MAX_DEPTH {
            Err(self.fail("nested too deeply"))
        } else {
            Ok(depth + 1)
        }
    }

    fn array(&mut self, depth: u16) -> Read<Value> {
        let depth = self.deeper(depth)?;
        self.at += 1;
        let mut items = Vec::new();
        self.space();
        if self.eat(b']') {
            return Ok(items.into());
        }
        loop {
            items.push(self.value(depth)?);
            self.space();
            if self.eat(b']') {
                items.shrink_to_fit();
                return Ok(items.into());
            }
            if !self.eat(b',') {
                return Err(self.fail("expected , or ]"));
            }
        }
    }

    fn object(&mut self, depth: u16) -> Read<Value> {
        let depth = self.deeper(depth)?;
        self.at += 1;
        let mut members: IndexMap<Text, Value> = IndexMap::new();
        self.space();
        if self.eat(b'}') {
            return Ok(members.into());
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.fail("expected a key"));
            }
            let key = self.string()?;
            self.space();
            if !self.eat(b':') {
                return Err(self.fail("expected :"));
            }
            members.insert(key.into(), self.value(depth)?);
            self.space();
            if self.eat(b'}') {
                return Ok(members.into());
            }
            if !self.eat(b',') {
                return Err(self.fail("expected , or }"));
            }
        }
    }

    fn digits(&mut self) -> bool {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        self.at > start
    }

    fn number(&mut self) -> Read<Value> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') && !self.digits() {
            return Err(self.fail("expected a digit"));
        }
        if self.eat(b'.') && !self.digits() {
            return Err(self.fail("expected a digit"));
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            if !self.digits() {
                return Err(self.fail("expected a digit"));
            }
        }
        Ok(Value::Num(number::parse(&self.text[start..self.at])))
    }

    fn string(&mut self) -> Read<String> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            while matches!(self.peek(), Some(b) if b != b'"' && b != b'\\' && b >= 0x20) {
                self.at += 1;
            }
            out.push_str(&self.text[start..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                Some(_) => return Err(self.fail("control character in a string")),
                None => return Err(self.fail("a string does not end")),
            }
        }
    }

    fn escape(&mut self) -> Read<char> {
        let c = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => return Err(self.fail("unknown escape")),
        };
        self.at += 1;
        Ok(c)
    }

    fn unicode(&mut self) -> Read<char> {
        let lone = "a lone surrogate is no character";
        let high = self.hex()?;
        let code = match high {
            0xD800..=0xDBFF => {
                if !self.eat(b'\\') || self.peek() != Some(b'u') {
                    return Err(self.fail(lone));
                }
                let low = self.hex()?;
                if !(0xDC00..=0xDFFF).contains(&low) {
                    return Err(self.fail(lone));
                }
                0x1_0000 + ((high - 0xD800) << 10) + (low - 0xDC00)
            }
            code => code,
        };
        char::from_u32(code).ok_or_else(|| self.fail(lone))
    }

    /// Four hexadecimal digits after the `u` that is next.
    fn hex(&mut self) -> Read<u32> {
        self.at += 1;
        let digits = self.text.as_bytes().get(self.at..self.at + 4);
        let code = digits.and_then(|digits| {
            digits
                .iter()
                .try_fold(0, |code, d| Some(code * 16 + char::from(*d).to_digit(16)?))
        });
        let code = code.ok_or_else(|| self.fail("expected four hexadecimal digits"))?;
        self.at += 4;
        Ok(code)
    }
}

/// Writes compact JSON that any reader takes. NaN becomes `null` and an
/// infinity the largest number of its sign, as in jq.
pub fn to_json(value: &Value) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = write(value, &mut out);
    out
}

fn write(value: &Value, out: &mut impl fmt::Write) -> fmt::Result {
    match value {
        Value::Null => out.write_str("null"),
        Value::Bool(b) => write!(out, "{b}"),
        Value::Num(n) => number::write(n, out),
        Value::Str(s) => write_string(s, out),
        Value::Arr(a) => {
            out.write_char('[')?;
            for (i, v) in a.items.iter().enumerate() {
                if i > 0 {
                    out.write_char(',')?;
                }
                write(v, out)?;
            }
            out.write_char(']')
        }
        Value::Obj(o) => {
            out.write_char('{')?;
            for (i, (k, v)) in o.members.iter().enumerate() {
                if i > 0 {
                    out.write_char(',')?;
                }
                write_string(k, out)?;
                out.write_char(':')?;
                write(v, out)?;
            }
            out.write_char('}')
        }
    }
}

fn write_string(s: &str, out: &mut impl fmt::Write) -> fmt::Result {
    out.write_char('"')?;
    let mut rest = s;
    while let Some(i) = rest.find(|c: char| c < ' ' || c == '"' || c == '\\') {
        out.write_str(&rest[..i])?;
        match rest.as_bytes()[i] {
            b'"' => out.write_str("\\\""),
            b'\\' => out.write_str("\\\\"),
            b'\n' => out.write_str("\\n"),
            b'\r' => out.write_str("\\r"),
            b'\t' => out.write_str("\\t"),
            control => write!(out, "\\u{control:04x}"),
        }?;
        // What was found is one byte of ASCII.
        rest = &rest[i + 1..];
    }
    out.write_str(rest)?;
    out.write_char('"')
}

/// As much of the JSON as a message should carry.
pub(super) fn write_short(value: &Value, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    struct Short(String);
    const MOST: usize = 200;
    impl fmt::Write for Short {
        fn write_str(&mut self, s: &str) -> fmt::Result {
            let room = MOST.saturating_sub(self.0.len());
            if s.len() <= room {
                self.0.push_str(s);
                return Ok(());
            }
            self.0.push_str(&s[..s.floor_char_boundary(room)]);
            // Ends the writing; what there is so far is kept.
            Err(fmt::Error)
        }
    }
    let mut short = Short(String::new());
    let whole = write(value, &mut short).is_ok();
    f.write_str(&short.0)?;
    if whole { Ok(()) } else { f.write_char('…') }
}
