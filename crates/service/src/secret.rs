//! Values that must not be shown: in logs, in `--print-config`, in errors.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};
use url::Url;

/// What stands in a secret's place.
pub const MASK: &str = "***";

/// Whether a log field or a query parameter of this name holds a secret.
pub fn is_secret_name(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    [
        "password",
        "passwd",
        "secret",
        "authorization",
        "cookie",
        "api_key",
        "apikey",
    ]
    .iter()
    .any(|word| {
        last.len() >= word.len()
            && last.as_bytes()[last.len() - word.len()..].eq_ignore_ascii_case(word.as_bytes())
    })
}

/// A value that prints as `***`, however it is printed. Reading it is spelled
/// [`expose`](Self::expose), so that each use can be found.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret<T>(T);

impl<T> Secret<T> {
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl<T> fmt::Display for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl<T> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(MASK)
    }
}

/// The URL of a database or of Redis: shows its host, never its password.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl {
    url: String,
    redacted: String,
}

impl SecretUrl {
    /// The whole URL, for whoever connects.
    pub fn expose(&self) -> &str {
        &self.url
    }

    /// For example `postgres`.
    pub fn scheme(&self) -> &str {
        self.url.split_once(':').map_or("", |(scheme, _)| scheme)
    }
}

/// A text that is not a URL. It does not say the text, which may hold a
/// password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    #[error("it is not a URL: {0}")]
    Syntax(#[from] url::ParseError),
    /// `me:password@host` would pass for a URL with the scheme `me`.
    #[error("it is not a URL: there is no // after the scheme")]
    Opaque,
}

impl FromStr for SecretUrl {
    type Err = InvalidUrl;

    fn from_str(text: &str) -> Result<Self, InvalidUrl> {
        let url = Url::parse(text)?;
        if url.cannot_be_a_base() && url.scheme() != "sqlite" {
            return Err(InvalidUrl::Opaque);
        }
        Ok(Self {
            redacted: redact(&url),
            url: text.to_owned(),
        })
    }
}

/// `url` with its password and the secrets of its query masked.
pub fn redact(url: &Url) -> String {
    let mut shown = url.clone();
    if shown.password().is_some() {
        // Fails only for URLs that cannot have one.
        let _ = shown.set_password(Some(MASK));
    }
    if shown.query_pairs().any(|(name, _)| is_secret_name(&name)) {
        let pairs: Vec<(String, String)> = shown
            .query_pairs()
            .map(|(name, value)| {
                let value = if is_secret_name(&name) {
                    MASK.into()
                } else {
                    value
                };
                (name.into_owned(), value.into_owned())
            })
            .collect();
        shown.query_pairs_mut().clear().extend_pairs(pairs);
    }
    shown.into()
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted)
    }
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.redacted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_stars_however_it_is_printed() {
        let secret = Secret::new("hunter2".to_owned());
        let printed = format!("{secret} {secret:?} {}", serde_json::json!({"s": secret}));
        assert_eq!(printed, r#"*** *** {"s":"***"}"#);
        assert_eq!(secret.expose(), "hunter2");
    }

    #[test]
    fn a_url_shows_its_host_but_not_its_password() {
        for (text, shown) in [
            (
                "postgres://me:hunter2@db:5432/x",
                "postgres://me:***@db:5432/x",
            ),
            ("postgres://me:h@unter2@db/x", "postgres://me:***@db/x"),
            ("redis://:hunter2@cache:6379/0", "redis://:***@cache:6379/0"),
            (
                "postgres:///x?host=/run&password=hunter2",
                "postgres:///x?host=%2Frun&password=***",
            ),
            (
                "sqlite:///var/lib/millrace.db",
                "sqlite:///var/lib/millrace.db",
            ),
        ] {
            let url: SecretUrl = text.parse().unwrap();
            assert_eq!(url.expose(), text);
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?}").contains("unter2"));
        }
    }

    #[test]
    fn an_error_does_not_repeat_what_it_could_not_read() {
        let error = "me:hunter2@db".parse::<SecretUrl>().unwrap_err();
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[test]
    fn secret_names_are_known_by_their_end() {
        for name in [
            "password",
            "db.password",
            "client_secret",
            "Authorization",
            "sslPassword",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["path", "fencing_token", "secrets_count", ""] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
