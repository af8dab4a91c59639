//! Reading values out of a JSON document, and collecting what is wrong.

use std::time::Duration;

use serde_json::{Map, Value};

use super::place::{Places, escaped};
use super::{CommandLine, Finding};

/// Collects findings.
#[derive(Debug)]
pub struct Findings {
    places: Places,
    pub list: Vec<Finding>,
}

impl Findings {
    pub fn new(places: Places) -> Self {
        let mut findings = Self {
            places,
            list: Vec::new(),
        };
        for pointer in std::mem::take(&mut findings.places.duplicates) {
            findings.add(&pointer, "this key stands here twice");
        }
        findings
    }

    pub fn add(&mut self, pointer: &str, message: impl Into<String>) {
        let (line, column) = self.places.find(pointer);
        self.list.push(Finding {
            pointer: pointer.to_owned(),
            line,
            column,
            message: message.into(),
        });
    }
}

/// An object with the keys that it may have.
#[derive(Debug)]
pub struct Object<'a> {
    map: &'a Map<String, Value>,
    pub pointer: String,
}

impl<'a> Object<'a> {
    /// `None`, with a finding, when it is no object. Keys that are not among
    /// `known` are findings.
    pub fn read(
        value: &'a Value,
        pointer: &str,
        known: &[&str],
        findings: &mut Findings,
    ) -> Option<Self> {
        let Some(map) = value.as_object() else {
            findings.add(
                pointer,
                format!("it has to be an object, not {}", kind(value)),
            );
            return None;
        };
        for key in map.keys() {
            if !known.contains(&key.as_str()) {
                let at = format!("{pointer}/{}", escaped(key));
                findings.add(
                    &at,
                    format!("`{key}` is not known here; known are {}", known.join(", ")),
                );
            }
        }
        Some(Self {
            map,
            pointer: pointer.to_owned(),
        })
    }

    pub fn at(&self, key: &str) -> String {
        format!("{}/{}", self.pointer, escaped(key))
    }

    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key)
    }

    pub fn text(&self, key: &str, findings: &mut Findings) -> Option<&'a str> {
        let value = self.get(key)?;
        match value.as_str() {
            Some("") => {
                findings.add(&self.at(key), "it must not be empty");
                None
            }
            Some(text) if text.contains('\0') => {
                findings.add(&self.at(key), "it must not hold a NUL character");
                None
            }
            Some(text) => Some(text),
            None => {
                findings.add(
                    &self.at(key),
                    format!("it has to be a string, not {}", kind(value)),
                );
                None
            }
        }
    }

    pub fn texts(&self, key: &str, findings: &mut Findings) -> Vec<String> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        texts(value, &self.at(key), findings)
    }

    pub fn flag(&self, key: &str, findings: &mut Findings) -> Option<bool> {
        let value = self.get(key)?;
        if value.as_bool().is_none() {
            findings.add(
                &self.at(key),
                format!("it has to be true or false, not {}", kind(value)),
            );
        }
        value.as_bool()
    }

    /// A whole number in the range.
    pub fn number(&self, key: &str, least: u64, most: u64, findings: &mut Findings) -> Option<u64> {
        let value = self.get(key)?;
        let number = value.as_u64().filter(|n| (least..=most).contains(n));
        if number.is_none() {
            findings.add(
                &self.at(key),
                format!("it has to be a whole number from {least} to {most}"),
            );
        }
        number
    }

    pub fn real(&self, key: &str, least: f64, most: f64, findings: &mut Findings) -> Option<f64> {
        let value = self.get(key)?;
        let number = value.as_f64().filter(|n| (least..=most).contains(n));
        if number.is_none() {
            findings.add(
                &self.at(key),
                format!("it has to be a number from {least} to {most}"),
            );
        }
        number
    }

    /// `PT10S`, or `10s`; at most a year.
    pub fn duration(&self, key: &str, findings: &mut Findings) -> Option<Duration> {
        const LONGEST: Duration = Duration::from_hours(366 * 24);
        let text = self.text(key, findings)?;
        let duration = text
            .parse::<jiff::Span>()
            .and_then(|span| span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()))
            .ok()
            .and_then(|duration| Duration::try_from(duration).ok())
            .filter(|duration| *duration <= LONGEST);
        if duration.is_none() {
            findings.add(
                &self.at(key),
                format!("`{text}` is not a duration such as PT10S or 10s, of a year at most"),
            );
        }
        duration
    }

    /// A duration that is not zero.
    pub fn positive(&self, key: &str, findings: &mut Findings) -> Option<Duration> {
        let duration = self.duration(key, findings)?;
        if duration.is_zero() {
            findings.add(&self.at(key), "it must not be zero");
            return None;
        }
        Some(duration)
    }

    /// Bytes: a number, or `256MiB`.
    pub fn size(&self, key: &str, findings: &mut Findings) -> Option<u64> {
        let value = self.get(key)?;
        let size = match value {
            Value::String(text) => size(text),
            value => value.as_u64(),
        }
        .filter(|size| (1..=1 << 50).contains(size));
        if size.is_none() {
            findings.add(
                &self.at(key),
                "it has to be a size in bytes, such as 268435456 or \"256MiB\"",
            );
        }
        size
    }

    /// An array of arguments, or a string for the shell.
    pub fn command(&self, key: &str, findings: &mut Findings) -> Option<CommandLine> {
        let value = self.get(key)?;
        command(value, &self.at(key), findings)
    }
}

pub fn command(value: &Value, pointer: &str, findings: &mut Findings) -> Option<CommandLine> {
    match value {
        Value::String(text) if text.trim().is_empty() => {
            findings.add(pointer, "it must not be empty");
            None
        }
        Value::String(text) if text.contains('\0') => {
            findings.add(pointer, "it must not hold a NUL character");
            None
        }
        Value::String(text) => Some(CommandLine::shell(text)),
        Value::Array(items) if !items.is_empty() => {
            let before = findings.list.len();
            let words = texts(value, pointer, findings);
            if words.first().is_some_and(String::is_empty) {
                findings.add(&format!("{pointer}/0"), "it must not be empty");
            }
            (findings.list.len() == before).then_some(CommandLine(words))
        }
        _ => {
            findings.add(
                pointer,
                "it has to be an array of a program and its arguments, or a string for the shell",
            );
            None
        }
    }
}

fn texts(value: &Value, pointer: &str, findings: &mut Findings) -> Vec<String> {
    let Some(items) = value.as_array() else {
        findings.add(
            pointer,
            format!("it has to be an array, not {}", kind(value)),
        );
        return Vec::new();
    };
    let mut texts = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        match item.as_str() {
            Some(text) if !text.contains('\0') => texts.push(text.to_owned()),
            _ => findings.add(
                &format!("{pointer}/{index}"),
                "it has to be a string without NUL characters",
            ),
        }
    }
    texts
}

fn size(text: &str) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" => 1000,
        "KiB" => 1 << 10,
        "MB" => 1_000_000,
        "MiB" => 1 << 20,
        "GB" => 1_000_000_000,
        "GiB" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
