//! What a webhook's author demands of its senders.

mod hmac;
mod parse;
mod template;

use std::fmt;

use http::HeaderName;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

pub use hmac::{Algorithm, Encoding, HmacScheme, SignedTime};
pub use template::{Part, Template};

use crate::{Finding, Secret};

/// How a sender proves itself, without what it proves itself by: this part
/// may be stored and listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scheme {
    /// Anyone may send.
    None,
    /// Standard Webhooks, symmetric (`v1`).
    Standard,
    /// `X-Hub-Signature-256`.
    Github,
    /// `Stripe-Signature`.
    Stripe,
    /// `X-Slack-Signature`.
    Slack,
    /// An HMAC in a header of one's own.
    Hmac(HmacScheme),
    /// RFC 7617; the secret is the password.
    Basic { username: String },
    /// RFC 6750, in the header; the secret is the token.
    Bearer,
    /// A key in a header or a query parameter; the secret is the key.
    ApiKey(Place),
}

/// Where a request carries a credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Header(HeaderName),
    /// The name of a query parameter, decoded.
    Query(String),
}

/// A scheme with its active secrets: what [`verify`](crate::verify()) needs.
///
/// Invariant: no secret for [`Scheme::None`], one or two different ones for
/// every other, each of a form that its scheme takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthSpec {
    scheme: Scheme,
    secrets: Vec<Secret>,
}

/// A stored scheme and its secrets do not make an [`AuthSpec`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    #[error("the stored authentication is not readable: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Scheme(Vec<Finding>),
    #[error("the scheme `{scheme}` does not take {count} secrets")]
    Count { scheme: &'static str, count: usize },
    #[error("secret {index} of the scheme `{scheme}` {why}")]
    Secret {
        scheme: &'static str,
        index: usize,
        why: String,
    },
}

impl AuthSpec {
    /// The scheme that lets anyone send.
    pub const fn none() -> Self {
        Self {
            scheme: Scheme::None,
            secrets: Vec::new(),
        }
    }

    /// Reads the `"auth"` of a trigger, which stands at `pointer`; all
    /// findings at once.
    pub fn parse(value: &Value, pointer: &str) -> Result<Self, Vec<Finding>> {
        parse::whole(value, pointer)
    }

    /// Puts together what [`split`](Self::split) took apart.
    pub fn join(scheme: Scheme, secrets: Vec<Secret>) -> Result<Self, JoinError> {
        let name = scheme.name();
        let bounds = if scheme == Scheme::None { 0..=0 } else { 1..=2 };
        if !bounds.contains(&secrets.len()) {
            return Err(JoinError::Count {
                scheme: name,
                count: secrets.len(),
            });
        }
        for (index, secret) in secrets.iter().enumerate() {
            if let Err(why) = parse::check_secret(name, secret.expose()) {
                return Err(JoinError::Secret {
                    scheme: name,
                    index,
                    why,
                });
            }
        }
        Ok(Self { scheme, secrets })
    }

    /// The part that may be seen, and the secrets, newest first.
    pub fn split(self) -> (Scheme, Vec<Secret>) {
        (self.scheme, self.secrets)
    }

    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// The active secrets, newest first.
    pub fn secrets(&self) -> &[Secret] {
        &self.secrets
    }

    /// What a listing shows: the scheme and how many secrets are active.
    pub fn public_json(&self) -> Value {
        let mut value = self.scheme.to_json();
        if let (Value::Object(members), false) = (&mut value, self.secrets.is_empty()) {
            members.insert("activeSecrets".into(), json!(self.secrets.len()));
        }
        value
    }
}

impl Serialize for AuthSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.public_json().serialize(serializer)
    }
}

impl Scheme {
    /// The name in the trigger's JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Standard => "standard",
            Self::Github => "github",
            Self::Stripe => "stripe",
            Self::Slack => "slack",
            Self::Hmac(_) => "hmac",
            Self::Basic { .. } => "basic",
            Self::Bearer => "bearer",
            Self::ApiKey(_) => "apiKey",
        }
    }

    /// Reads what [`to_json`](Self::to_json) wrote; secrets and unknown
    /// members are refused.
    pub fn from_json(value: &Value) -> Result<Self, JoinError> {
        parse::scheme_alone(value).map_err(JoinError::Scheme)
    }

    /// The scheme as its author wrote it, without secrets, every default
    /// spelled out.
    pub fn to_json(&self) -> Value {
        let mut members = Map::new();
        members.insert("scheme".into(), self.name().into());
        match self {
            Self::Hmac(hmac) => hmac.write(&mut members),
            Self::Basic { username } => {
                members.insert("username".into(), username.as_str().into());
            }
            Self::ApiKey(Place::Header(name)) => {
                members.insert("header".into(), name.as_str().into());
            }
            Self::ApiKey(Place::Query(name)) => {
                members.insert("query".into(), name.as_str().into());
            }
            _ => {}
        }
        Value::Object(members)
    }

    /// Where a request carries the secret itself, which must therefore not
    /// be logged or handed to a workflow. `None` for the schemes that sign.
    pub fn credential(&self) -> Option<Place> {
        match self {
            Self::Basic { .. } | Self::Bearer => Some(Place::Header(http::header::AUTHORIZATION)),
            Self::ApiKey(place) => Some(place.clone()),
            _ => None,
        }
    }

    /// The `WWW-Authenticate` that a 401 owes its receiver, for the schemes
    /// that have one.
    pub const fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::Basic { .. } => Some("Basic realm=\"webhook\", charset=\"UTF-8\""),
            Self::Bearer => Some("Bearer realm=\"webhook\""),
            _ => None,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "header {name}"),
            Self::Query(name) => write!(f, "query parameter {name:?}"),
        }
    }
}
