//! Small JSON bodies, read member by member: all that is wrong at once, each
//! with its place. What nobody asked for is refused.

use http::request::Parts;
use millrace_proto::Finding;
use serde::de::DeserializeOwned;

use crate::json::{JsonFault, Member, Members, offset_of, position};
use crate::media::Media;
use crate::problem::Problem;
use crate::query::Query;

/// The members of one body.
#[derive(Debug)]
pub struct Fields<'a> {
    body: &'a str,
    members: Vec<Member<'a>>,
    known: Vec<&'static str>,
    findings: Vec<Finding>,
}

impl<'a> Fields<'a> {
    /// Reads the body of a request that takes no query parameters; an empty
    /// body has no members.
    pub fn read(parts: &Parts, bytes: &'a [u8]) -> Result<Self, Problem> {
        Query::of(&parts.uri).finish(&[])?;
        if !bytes.is_empty() && Media::of(&parts.headers) != Media::Json {
            return Err(Problem::media_type("application/json"));
        }
        let body = std::str::from_utf8(bytes)
            .map_err(|_| Problem::invalid("The body is not UTF-8 text."))?;
        let members = if body.trim().is_empty() {
            Vec::new()
        } else {
            let members: Members<'a> = serde_json::from_str(body).map_err(|error| {
                let fault = JsonFault::of(body, &error);
                Problem::findings("The body has to be a JSON object.", vec![fault.into()])
            })?;
            members.0
        };
        Ok(Self {
            body,
            members,
            known: Vec::new(),
            findings: Vec::new(),
        })
    }

    /// A member that may be missing; `expected` says what it has to be.
    pub fn optional<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
        expected: &str,
    ) -> Option<T> {
        self.known.push(name);
        let mut found: Vec<Member<'a>> = Vec::new();
        self.members.retain(|member| {
            let hit = member.key == name;
            if hit {
                found.push(member.clone());
            }
            !hit
        });
        if let Some(second) = found.get(1) {
            self.fault(name, second.key_text, "given more than once");
        }
        let text = found.first()?.value.get();
        match serde_json::from_str(text) {
            Ok(value) => Some(value),
            Err(_) => {
                self.fault(name, text, expected);
                None
            }
        }
    }

    /// A member that has to be there.
    pub fn required<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
        expected: &str,
    ) -> Option<T> {
        let missing = self.members.iter().all(|member| member.key != name);
        if missing {
            self.fault(name, self.body, "is missing");
        }
        self.optional(name, expected)
    }

    fn fault(&mut self, name: &str, at: &str, message: &str) {
        let place = position(self.body, offset_of(self.body, at));
        self.findings.push(Finding {
            pointer: format!("/{}", name.replace('~', "~0").replace('/', "~1")),
            line: place.line,
            column: place.column,
            message: message.to_owned(),
        });
    }

    /// Refuses what is wrong, or has not been read.
    pub fn finish(mut self) -> Result<(), Problem> {
        for member in std::mem::take(&mut self.members) {
            let message = format!("unknown member; known are {}", self.known.join(", "));
            self.fault(&member.key, member.key_text, &message);
        }
        if self.findings.is_empty() {
            Ok(())
        } else {
            Err(Problem::findings("The body is not valid.", self.findings))
        }
    }
}
