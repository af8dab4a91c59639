use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value};

use super::TriggerFinding;
use crate::parse_duration;

/// The members of one trigger, and what is wrong with them so far.
pub(super) struct Fields<'a> {
    pub members: &'a Map<String, Value>,
    pointer: &'a str,
    pub findings: Vec<TriggerFinding>,
}

impl<'a> Fields<'a> {
    pub fn new(members: &'a Map<String, Value>, pointer: &'a str) -> Self {
        Self {
            members,
            pointer,
            findings: Vec::new(),
        }
    }

    pub fn fault(&mut self, key: &str, message: impl Into<String>) {
        self.fault_below(key, "", message);
    }

    /// A fault at a pointer below a member.
    pub fn fault_below(&mut self, key: &str, below: &str, message: impl Into<String>) {
        let key = key.replace('~', "~0").replace('/', "~1");
        self.findings.push(TriggerFinding {
            pointer: format!("{}/{key}{below}", self.pointer),
            message: message.into(),
        });
    }

    pub fn only(&mut self, common: &[&str], own: &[&str]) {
        let members = self.members;
        for key in members.keys() {
            let known = |names: &[&str]| names.contains(&key.as_str());
            if !known(common) && !known(own) {
                let known = [own, common].concat().join(", ");
                self.fault(key, format!("unknown member `{key}`; known: {known}"));
            }
        }
    }

    fn text(&mut self, key: &str) -> Option<&'a str> {
        match self.members.get(key)? {
            Value::String(text) => Some(text),
            _ => {
                self.fault(key, "must be a string");
                None
            }
        }
    }

    pub fn required_text(&mut self, key: &str, example: &str) -> Option<&'a str> {
        if !self.members.contains_key(key) {
            self.fault(key, format!("is missing; write it as in {example}"));
        }
        self.text(key)
    }

    pub fn parsed<T>(&mut self, key: &str, text: &str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        text.parse()
            .map_err(|error: T::Err| self.fault(key, error.to_string()))
            .ok()
    }

    /// Absent or faulty: the caller's default.
    pub fn optional<T>(&mut self, key: &str) -> Option<T>
    where
        T: FromStr<Err: Display>,
    {
        let text = self.text(key)?;
        self.parsed(key, text)
    }

    pub fn duration(&mut self, key: &str) -> Option<Duration> {
        let text = self.text(key)?;
        parse_duration(text)
            .map_err(|error| self.fault(key, error.to_string()))
            .ok()
    }

    pub fn whole(&mut self, key: &str, min: u32, max: u32) -> Option<u32> {
        let number = self.members.get(key)?;
        let read = number
            .as_u64()
            .and_then(|n| u32::try_from(n).ok())
            .filter(|n| (min..=max).contains(n));
        if read.is_none() {
            self.fault(key, format!("must be a whole number from {min} to {max}"));
        }
        read
    }
}
