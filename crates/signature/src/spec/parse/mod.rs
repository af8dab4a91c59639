//! Reading the `"auth"` object of a trigger, all findings at once.

mod hmac;
mod secrets;

use http::HeaderName;
use serde_json::{Map, Value};

pub(super) use secrets::check as check_secret;

use super::{AuthSpec, Place, Scheme};
use crate::Finding;
use crate::finding::escape;

const SCHEMES: &str = "none, standard, github, stripe, slack, hmac, basic, bearer, apiKey";

pub(super) fn whole(value: &Value, pointer: &str) -> Result<AuthSpec, Vec<Finding>> {
    let mut fields = Fields::of(value, pointer)?;
    let Some(name) = fields.scheme_name() else {
        return Err(fields.findings);
    };
    let scheme = fields.scheme(name);
    let secrets = match secrets::members(name) {
        Some((one, many)) => fields.secrets(name, one, many),
        None => Vec::new(),
    };
    fields.refuse_unknown();
    match scheme {
        Some(scheme) if fields.findings.is_empty() => Ok(AuthSpec { scheme, secrets }),
        _ => Err(fields.findings),
    }
}

pub(super) fn scheme_alone(value: &Value) -> Result<Scheme, Vec<Finding>> {
    let mut fields = Fields::of(value, "")?;
    let Some(name) = fields.scheme_name() else {
        return Err(fields.findings);
    };
    let scheme = fields.scheme(name);
    fields.refuse_unknown();
    match scheme {
        Some(scheme) if fields.findings.is_empty() => Ok(scheme),
        _ => Err(fields.findings),
    }
}

/// The members of the object, those already asked for, and what was wrong.
struct Fields<'a> {
    members: &'a Map<String, Value>,
    pointer: &'a str,
    known: Vec<&'static str>,
    findings: Vec<Finding>,
}

impl<'a> Fields<'a> {
    fn of(value: &'a Value, pointer: &'a str) -> Result<Self, Vec<Finding>> {
        match value {
            Value::Object(members) => Ok(Self {
                members,
                pointer,
                known: Vec::new(),
                findings: Vec::new(),
            }),
            _ => Err(vec![Finding {
                pointer: pointer.to_owned(),
                message: "must be an object such as {\"scheme\": \"github\", \"secret\": \"…\"}"
                    .to_owned(),
            }]),
        }
    }

    fn fault(&mut self, key: &str, message: impl Into<String>) {
        self.findings.push(Finding {
            pointer: format!("{}/{}", self.pointer, escape(key)),
            message: message.into(),
        });
    }

    fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        self.known.push(key);
        self.members.get(key)
    }

    fn text(&mut self, key: &'static str) -> Option<&'a str> {
        match self.get(key)? {
            Value::String(text) => Some(text),
            _ => {
                self.fault(key, "must be a string");
                None
            }
        }
    }

    fn refuse_unknown(&mut self) {
        let members = self.members;
        for key in members.keys() {
            if self.known.contains(&key.as_str()) {
                continue;
            }
            let message = if key == "activeSecrets" {
                "is shown in listings only; remove it and give the secret".to_owned()
            } else {
                format!("unknown member; known here: {}", self.known.join(", "))
            };
            self.fault(key, message);
        }
    }

    fn scheme_name(&mut self) -> Option<&'static str> {
        if !self.members.contains_key("scheme") {
            self.fault("scheme", format!("is missing; one of {SCHEMES}"));
            return None;
        }
        let written = self.text("scheme")?;
        let name = SCHEMES.split(", ").find(|name| *name == written);
        if name.is_none() {
            self.fault("scheme", format!("is not one of {SCHEMES}"));
        }
        name
    }

    fn scheme(&mut self, name: &str) -> Option<Scheme> {
        Some(match name {
            "none" => Scheme::None,
            "standard" => Scheme::Standard,
            "github" => Scheme::Github,
            "stripe" => Scheme::Stripe,
            "slack" => Scheme::Slack,
            "basic" => Scheme::Basic {
                username: self.username()?,
            },
            "bearer" => Scheme::Bearer,
            "apiKey" => Scheme::ApiKey(self.place()?),
            _ => Scheme::Hmac(self.hmac()?),
        })
    }

    fn username(&mut self) -> Option<String> {
        let Some(name) = self.text("username") else {
            if !self.members.contains_key("username") {
                self.fault("username", "is missing");
            }
            return None;
        };
        if name.is_empty() || name.contains(|c: char| c == ':' || c.is_control()) {
            self.fault(
                "username",
                "must not be empty nor contain a colon or control characters",
            );
            return None;
        }
        Some(name.to_owned())
    }

    fn place(&mut self) -> Option<Place> {
        let header = self.header("header");
        let query = self.text("query");
        match (
            self.members.contains_key("header"),
            self.members.contains_key("query"),
        ) {
            (true, false) => header.map(Place::Header),
            (false, true) => {
                let name = query?;
                if name.is_empty() {
                    self.fault("query", "must name a query parameter");
                    return None;
                }
                Some(Place::Query(name.to_owned()))
            }
            (true, true) => {
                self.fault(
                    "query",
                    "a key stands in a header or in the query; give one",
                );
                None
            }
            (false, false) => {
                self.fault(
                    "header",
                    "is missing; name the header with the key, such as \"X-Api-Key\", \
                     or a query parameter as `query`",
                );
                None
            }
        }
    }

    fn header(&mut self, key: &'static str) -> Option<HeaderName> {
        let text = self.text(key)?;
        let name = text.parse().ok();
        if name.is_none() {
            self.fault(key, "must be the name of a header, such as \"X-Signature\"");
        }
        name
    }

    /// The first choice is the default.
    fn one_of<T: Copy>(&mut self, key: &'static str, choices: &[(&'static str, T)]) -> Option<T> {
        if !self.members.contains_key(key) {
            self.known.push(key);
            return Some(choices[0].1);
        }
        let text = self.text(key)?;
        let choice = choices.iter().find(|(name, _)| *name == text);
        if choice.is_none() {
            let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
            self.fault(key, format!("is not one of {}", names.join(", ")));
        }
        choice.map(|(_, value)| *value)
    }

    /// A fault at a path below the object that is already escaped.
    fn fault_at(&mut self, path: &str, message: String) {
        self.findings.push(Finding {
            pointer: format!("{}/{path}", self.pointer),
            message,
        });
    }
}
