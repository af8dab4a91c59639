//! The generic HMAC scheme: which header, which digest, over what.

use std::time::Duration;

use http::HeaderName;
use serde_json::{Map, Value, json};

use super::template::Template;

/// The digest below an HMAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// Only for senders that have nothing better.
    Sha1,
    Sha256,
    Sha512,
}

impl Algorithm {
    pub(super) const ALL: [(&'static str, Self); 3] = [
        ("sha256", Self::Sha256),
        ("sha512", Self::Sha512),
        ("sha1", Self::Sha1),
    ];

    /// Length of a signature in bytes.
    pub const fn length(self) -> usize {
        match self {
            Self::Sha1 => 20,
            Self::Sha256 => 32,
            Self::Sha512 => 64,
        }
    }
}

/// How a header spells the bytes of a signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// All lower or all upper case.
    Hex,
    /// With or without padding.
    Base64,
    /// With or without padding.
    Base64Url,
}

impl Encoding {
    pub(super) const ALL: [(&'static str, Self); 3] = [
        ("hex", Self::Hex),
        ("base64", Self::Base64),
        ("base64url", Self::Base64Url),
    ];
}

/// An HMAC that a sender writes into a header of its choice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HmacScheme {
    /// The header with the signature.
    pub header: HeaderName,
    pub algorithm: Algorithm,
    pub encoding: Encoding,
    /// What stands before the signature, such as `sha256=`; may be empty.
    pub prefix: String,
    /// What is signed.
    pub template: Template,
    /// Where the signed time stands, when one is signed.
    pub timestamp: Option<SignedTime>,
}

/// A header with the time of signing, in whole seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedTime {
    pub header: HeaderName,
    /// How far it may lie from now in either direction, in whole seconds.
    pub tolerance: Duration,
}

impl HmacScheme {
    pub(super) fn write(&self, members: &mut Map<String, Value>) {
        let mut put = |key: &str, value: Value| members.insert(key.to_owned(), value);
        put("header", self.header.as_str().into());
        put(
            "algorithm",
            name_of(&Algorithm::ALL, &self.algorithm).into(),
        );
        put("encoding", name_of(&Encoding::ALL, &self.encoding).into());
        put("prefix", self.prefix.as_str().into());
        put("template", self.template.text().into());
        if let Some(time) = &self.timestamp {
            put("timestampHeader", time.header.as_str().into());
            put("tolerance", json!(time.tolerance.as_secs()));
        }
    }
}

fn name_of<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> &'static str {
    names
        .iter()
        .find(|(_, named)| named == value)
        .map_or("", |(name, _)| name)
}
