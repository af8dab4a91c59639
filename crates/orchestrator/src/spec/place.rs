//! Where each value of a JSON text stands.

use std::collections::HashMap;

/// Line and column, 1-based, of each value by its JSON pointer, and the keys
/// that stand twice in an object.
#[derive(Debug, Default)]
pub struct Places {
    at: HashMap<String, (u32, u32)>,
    pub duplicates: Vec<String>,
}

impl Places {
    /// Of a text that a JSON parser has accepted.
    pub fn of(text: &str) -> Self {
        let mut scan = Scan {
            bytes: text.as_bytes(),
            offset: 0,
            line: 1,
            line_start: 0,
            places: Self::default(),
        };
        scan.value(&mut String::new());
        scan.places
    }

    /// Of the value, or of what holds it where it is missing.
    pub fn find(&self, pointer: &str) -> (u32, u32) {
        let mut pointer = pointer;
        loop {
            if let Some(at) = self.at.get(pointer) {
                return *at;
            }
            match pointer.rfind('/') {
                Some(end) => pointer = &pointer[..end],
                None => return (0, 0),
            }
        }
    }
}

struct Scan<'a> {
    bytes: &'a [u8],
    offset: usize,
    line: u32,
    line_start: usize,
    places: Places,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.offset).copied()
    }

    fn space(&mut self) {
        while let Some(byte) = self.peek() {
            match byte {
                b'\n' => {
                    self.offset += 1;
                    self.line += 1;
                    self.line_start = self.offset;
                }
                b' ' | b'\t' | b'\r' | b',' | b':' => self.offset += 1,
                _ => return,
            }
        }
    }

    fn value(&mut self, pointer: &mut String) {
        self.space();
        let column = u32::try_from(self.offset - self.line_start + 1).unwrap_or(u32::MAX);
        let place = (self.line, column);
        if self.places.at.insert(pointer.clone(), place).is_some() {
            self.places.duplicates.push(pointer.clone());
        }
        match self.peek() {
            Some(b'{') => self.container(pointer, b'}'),
            Some(b'[') => self.container(pointer, b']'),
            Some(b'"') => {
                self.string();
            }
            _ => {
                while self
                    .peek()
                    .is_some_and(|byte| !b",]} \t\r\n".contains(&byte))
                {
                    self.offset += 1;
                }
            }
        }
    }

    fn container(&mut self, pointer: &mut String, close: u8) {
        self.offset += 1;
        let length = pointer.len();
        for index in 0.. {
            self.space();
            match self.peek() {
                None => return,
                Some(byte) if byte == close => {
                    self.offset += 1;
                    return;
                }
                _ => {}
            }
            pointer.push('/');
            if close == b'}' {
                let key = self.string();
                pointer.push_str(&escaped(&key));
            } else {
                pointer.push_str(&index.to_string());
            }
            self.value(pointer);
            pointer.truncate(length);
        }
    }

    fn string(&mut self) -> String {
        let start = self.offset;
        self.offset += 1;
        while let Some(byte) = self.peek() {
            self.offset += 1;
            match byte {
                b'\\' => self.offset += 1,
                b'"' => break,
                _ => {}
            }
        }
        let end = self.offset.min(self.bytes.len());
        serde_json::from_slice(&self.bytes[start..end]).unwrap_or_default()
    }
}

/// A key as a part of a JSON pointer.
pub fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}
