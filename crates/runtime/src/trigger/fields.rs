//! The members of a trigger, read one by one; findings name their place.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use millrace_proto::Finding;
use millrace_signature::AuthSpec;
use millrace_types::TriggerKind;
use serde_json::{Map, Value};

use crate::deployment::settings::{escape, finding};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

/// The members of one trigger, with the place that findings name.
pub(super) struct Fields<'a> {
    pub members: &'a Map<String, Value>,
    pub at: Cow<'a, str>,
    pub findings: &'a mut Vec<Finding>,
}

impl Fields<'_> {
    pub fn fault(&mut self, key: &str, message: &str) {
        self.findings
            .push(finding(&format!("{}/{}", self.at, escape(key)), message));
    }

    /// A fault below these members, at a pointer of its own.
    pub fn fault_at(&mut self, pointer: &str, message: &str) {
        self.findings
            .push(finding(&format!("{}{pointer}", self.at), message));
    }

    /// Members that must be there.
    pub fn needs(&mut self, keys: &[&str]) {
        let missing: Vec<_> = keys
            .iter()
            .filter(|key| !self.members.contains_key(**key))
            .map(|key| format!("`{key}`"))
            .collect();
        if !missing.is_empty() {
            self.fault_at("", &format!("needs {}", missing.join(" and ")));
        }
    }

    /// The members of a member that is an object.
    pub fn object(&mut self, key: &str) -> Option<Fields<'_>> {
        match self.members.get(key) {
            None => None,
            Some(Value::Object(members)) => Some(Fields {
                members,
                at: Cow::Owned(format!("{}/{}", self.at, escape(key))),
                findings: self.findings,
            }),
            Some(_) => {
                self.fault(key, "must be an object");
                None
            }
        }
    }

    /// A whole number within bounds.
    pub fn number(&mut self, key: &str, bounds: RangeInclusive<u64>) -> Option<u64> {
        let value = self.members.get(key)?;
        let number = value.as_u64().filter(|number| bounds.contains(number));
        if number.is_none() {
            let (least, most) = (bounds.start(), bounds.end());
            self.fault(
                key,
                &format!("must be a whole number from {least} to {most}"),
            );
        }
        number
    }

    pub fn only(&mut self, known: &[&str]) {
        let unknown: Vec<String> = self
            .members
            .keys()
            .filter(|k| !known.contains(&k.as_str()))
            .cloned()
            .collect();
        for key in unknown {
            let message = format!("unknown member `{key}`; known: {}", known.join(", "));
            self.fault(&key, &message);
        }
    }

    pub fn kind(&mut self) -> Option<TriggerKind> {
        let Some(text) = self.text("type") else {
            if !self.members.contains_key("type") {
                self.fault("type", "a trigger needs a type, such as \"webhook\"");
            }
            return None;
        };
        match text.parse() {
            Ok(TriggerKind::Manual) => {
                self.fault(
                    "type",
                    "every deployment can be started by hand; remove this trigger",
                );
                None
            }
            Ok(kind) => Some(kind),
            Err(_) => {
                let message =
                    format!("`{text}` is not one of webhook, cron, interval, once, event");
                self.fault("type", &message);
                None
            }
        }
    }

    pub fn text(&mut self, key: &str) -> Option<String> {
        match self.members.get(key) {
            None => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => {
                self.fault(key, "must be a string");
                None
            }
        }
    }

    pub fn boolean(&mut self, key: &str, default: bool) -> bool {
        match self.members.get(key) {
            None => default,
            Some(Value::Bool(value)) => *value,
            Some(_) => {
                self.fault(key, "must be true or false");
                default
            }
        }
    }

    /// The first choice is the default.
    pub fn one_of(&mut self, key: &str, choices: &[&'static str]) -> &'static str {
        match self.text(key) {
            None => choices[0],
            Some(text) => choices
                .iter()
                .find(|c| **c == text)
                .copied()
                .unwrap_or_else(|| {
                    let message = format!("`{text}` is not one of {}", choices.join(", "));
                    self.fault(key, &message);
                    choices[0]
                }),
        }
    }

    pub fn methods(&mut self) -> Vec<String> {
        let items = match self.members.get("methods") {
            None => return vec!["POST".into()],
            Some(Value::Array(items)) if !items.is_empty() => items,
            Some(_) => {
                self.fault("methods", "must be a list of methods such as [\"POST\"]");
                return Vec::new();
            }
        };
        let mut methods = Vec::new();
        for (i, item) in items.iter().enumerate() {
            let method = item.as_str().unwrap_or_default().to_ascii_uppercase();
            if METHODS.contains(&method.as_str()) {
                methods.push(method);
            } else {
                let at = format!("{}/methods/{i}", self.at);
                let message = format!("{item} is not one of {}", METHODS.join(", "));
                self.findings.push(finding(&at, &message));
            }
        }
        methods.sort();
        methods.dedup();
        methods
    }

    pub fn auth(&mut self) -> AuthSpec {
        let Some(value) = self.members.get("auth") else {
            return AuthSpec::none();
        };
        AuthSpec::parse(value, &format!("{}/auth", self.at)).unwrap_or_else(|faults| {
            self.findings
                .extend(faults.iter().map(|f| finding(&f.pointer, &f.message)));
            AuthSpec::none()
        })
    }
}
