//! Reads JSON and remembers where everything stood.

use serde_json::Number;

use super::limits::{MAX_DEPTH, MAX_NODES};
use super::{Data, Diagnostic, Entry, Node, Position, Text, fault, fault_at, push_segment};

/// Reads one JSON value and nothing after it.
pub fn read(text: &str) -> Result<Node, Diagnostic> {
    let mut reader = Reader {
        text,
        at: 0,
        mark: 0,
        position: Position::START,
        nodes: 0,
    };
    let node = reader.value("", 0)?;
    reader.skip_space();
    if reader.at < text.len() {
        return Err(fault(
            reader.position(),
            "there is text after the end of the JSON document",
        ));
    }
    Ok(node)
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
    /// The byte whose place `position` is; both only move forward.
    mark: usize,
    position: Position,
    nodes: usize,
}

impl Reader<'_> {
    /// The place of the byte that is read next.
    fn position(&mut self) -> Position {
        for c in self.text[self.mark..self.at].chars() {
            if c == '\n' {
                self.position.line += 1;
                self.position.column = 1;
            } else {
                self.position.column += 1;
            }
        }
        self.mark = self.at;
        self.position
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn wrong<T>(&mut self, expected: &str) -> Result<T, Diagnostic> {
        let found = match self.text[self.at..].chars().next() {
            Some(c) => format!("`{c}`"),
            None => "the end of the text".to_owned(),
        };
        Err(fault(
            self.position(),
            format!("broken JSON: expected {expected}, found {found}"),
        ))
    }

    fn value(&mut self, pointer: &str, depth: usize) -> Result<Node, Diagnostic> {
        self.skip_space();
        let at = self.position();
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(fault_at(
                pointer,
                at,
                format!("the document has more than {MAX_NODES} values"),
            ));
        }
        let data = match self.peek() {
            Some(b'{' | b'[') if depth == MAX_DEPTH => {
                return Err(fault_at(
                    pointer,
                    at,
                    format!("lists and objects are nested more than {MAX_DEPTH} deep"),
                ));
            }
            Some(b'{') => self.object(pointer, depth)?,
            Some(b'[') => self.array(pointer, depth)?,
            Some(b'"') => Data::Text(Text {
                text: self.string()?,
                cut_by_comment: false,
            }),
            Some(b'-' | b'0'..=b'9') => Data::Number(self.number()?),
            _ => self.word()?,
        };
        Ok(Node { at, data })
    }

    fn word(&mut self) -> Result<Data, Diagnostic> {
        for (word, data) in [
            ("true", Data::Bool(true)),
            ("false", Data::Bool(false)),
            ("null", Data::Null),
        ] {
            if self.text[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(data);
            }
        }
        self.wrong("a value")
    }

    fn number(&mut self) -> Result<Number, Diagnostic> {
        let rest = &self.text[self.at..];
        let end = rest
            .find(|c: char| !matches!(c, '0'..='9' | '+' | '-' | '.' | 'e' | 'E'))
            .unwrap_or(rest.len());
        match serde_json::from_str(&rest[..end]) {
            Ok(number) => {
                self.at += end;
                Ok(number)
            }
            Err(_) => self.wrong("a number"),
        }
    }

    fn string(&mut self) -> Result<String, Diagnostic> {
        let bytes = self.text.as_bytes();
        let mut end = self.at + 1;
        loop {
            match bytes.get(end) {
                Some(b'\\') => end += 2,
                Some(b'"') => break,
                Some(_) => end += 1,
                None => {
                    let at = self.position();
                    return Err(fault(at, "broken JSON: this text is not closed"));
                }
            }
        }
        let Ok(text) = serde_json::from_str(&self.text[self.at..=end]) else {
            let at = self.position();
            return Err(fault(
                at,
                "broken JSON: this text has a wrong escape or a line break in it",
            ));
        };
        self.at = end + 1;
        Ok(text)
    }

    fn array(&mut self, pointer: &str, depth: usize) -> Result<Data, Diagnostic> {
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Data::Sequence(items));
        }
        loop {
            let pointer = push_segment(pointer, &items.len().to_string());
            items.push(self.value(&pointer, depth + 1)?);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Data::Sequence(items));
                }
                _ => return self.wrong("`,` or `]`"),
            }
        }
    }

    fn object(&mut self, pointer: &str, depth: usize) -> Result<Data, Diagnostic> {
        self.at += 1;
        let mut entries: Vec<Entry> = Vec::new();
        let mut keys = std::collections::HashSet::new();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Data::Mapping(entries));
        }
        loop {
            self.skip_space();
            if self.peek() != Some(b'"') {
                return self.wrong("a key in double quotes");
            }
            let key_at = self.position();
            let key = self.string()?;
            let pointer = push_segment(pointer, &key);
            if !keys.insert(key.clone()) {
                return Err(fault_at(&pointer, key_at, format!("`{key}` is here twice")));
            }
            self.skip_space();
            if self.peek() != Some(b':') {
                return self.wrong("`:`");
            }
            self.at += 1;
            let value = self.value(&pointer, depth + 1)?;
            entries.push(Entry { key, key_at, value });
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return Ok(Data::Mapping(entries));
                }
                _ => return self.wrong("`,` or `}`"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_exactly_and_in_order() {
        let text = r#"{"z": [1.10, -0, 1E400, 123456789012345678901], "a": {"é\n\ud83d\ude00": null},
	"t": true, "e": {}, "l": []}"#;
        let node = read(text).expect("reads");
        assert_eq!(
            node.to_json(),
            serde_json::from_str::<serde_json::Value>(text).expect("JSON")
        );
        let t = node.get("t").expect("t");
        assert_eq!(t.key_at, Position { line: 2, column: 2 });
        assert_eq!(t.value.at, Position { line: 2, column: 7 });
    }

    #[test]
    fn broken_json_names_its_place() {
        for (text, line, column, fragment) in [
            (
                "{\"a\": 1,}",
                1,
                9,
                "expected a key in double quotes, found `}`",
            ),
            ("{\"a\" 1}", 1, 6, "expected `:`"),
            ("{\"a\": 1\n \"b\": 2}", 2, 2, "expected `,` or `}`"),
            ("{\"a\": tru}", 1, 7, "expected a value"),
            ("{\"a\": 01}", 1, 7, "expected a number"),
            ("{\"a\": \"x", 1, 7, "not closed"),
            ("{\"a\": \"\\x\"}", 1, 7, "wrong escape"),
            ("{\"a\": 1} x", 1, 10, "after the end"),
            ("{\"é\": 1, \"é\": 2}", 1, 10, "twice"),
            ("{", 1, 2, "found the end of the text"),
        ] {
            let fault = read(text).expect_err(text);
            assert_eq!(
                (fault.line, fault.column),
                (line, column),
                "{text}: {fault}"
            );
            assert!(fault.message.contains(fragment), "{text}: {fault}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        let text = "[".repeat(100_000);
        let fault = read(&text).expect_err("too deep");
        assert!(fault.message.contains("nested more than 64"), "{fault}");
        assert_eq!(fault.column, 65);
    }
}
