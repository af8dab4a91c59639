//! Reading one secret, or the two of a rotation.

use serde_json::Value;

use super::Fields;
use crate::Secret;
use crate::finding::escape;
use crate::verify::standard;

/// Longest secret in bytes; every vendor's is far below.
const MAX_SECRET: usize = 1024;

/// The members that hold one secret and the list of two.
pub(super) fn members(scheme: &str) -> Option<(&'static str, &'static str)> {
    match scheme {
        "none" => None,
        "basic" => Some(("password", "passwords")),
        "bearer" => Some(("token", "tokens")),
        "apiKey" => Some(("key", "keys")),
        _ => Some(("secret", "secrets")),
    }
}

/// Whether a scheme takes this text as a secret; if not, why (without the
/// text), so that "the secret …" makes a sentence.
pub(in crate::spec) fn check(scheme: &str, text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Err("is empty".to_owned());
    }
    if text.len() > MAX_SECRET {
        return Err(format!("is longer than {MAX_SECRET} bytes"));
    }
    if text.trim() != text || text.contains(char::is_control) {
        return Err(
            "has white space around it or control characters in it, perhaps from pasting; \
             remove them"
                .to_owned(),
        );
    }
    match scheme {
        "standard" => standard::key(text).map(drop).map_err(str::to_owned),
        "bearer" | "apiKey" if !text.bytes().all(|b| b.is_ascii_graphic()) => {
            Err("must be printable ASCII without spaces".to_owned())
        }
        _ => Ok(()),
    }
}

impl Fields<'_> {
    pub(super) fn secrets(
        &mut self,
        scheme: &str,
        one: &'static str,
        many: &'static str,
    ) -> Vec<Secret> {
        let single = self.get(one);
        let list = self.get(many);
        let written: Vec<(String, &Value)> = match (single, list) {
            (Some(value), None) => vec![(escape(one), value)],
            (None, Some(Value::Array(items))) if (1..=2).contains(&items.len()) => items
                .iter()
                .enumerate()
                .map(|(i, item)| (format!("{many}/{i}"), item))
                .collect(),
            (None, Some(_)) => {
                self.fault(
                    many,
                    "must be a list of one or two: the new one, and the old one while senders \
                     still use it",
                );
                return Vec::new();
            }
            (Some(_), Some(_)) => {
                self.fault(many, format!("give either `{one}` or `{many}`"));
                return Vec::new();
            }
            (None, None) => {
                self.fault(
                    one,
                    format!("is missing; or give two as `{many}` while rotating"),
                );
                return Vec::new();
            }
        };
        let mut secrets = Vec::new();
        for (at, value) in written {
            let secret = match value {
                Value::String(text) => check(scheme, text).map(|()| Secret::new(text)),
                _ => Err("must be a string".to_owned()),
            };
            match secret {
                Ok(secret) if secrets.contains(&secret) => {
                    self.fault_at(&at, "stands twice; remove it".to_owned());
                }
                Ok(secret) => secrets.push(secret),
                Err(why) => self.fault_at(&at, why),
            }
        }
        secrets
    }
}
