//! Values that say who is let in, and how often.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::value::{Raw, Setting, choice, text};
use crate::secret::{MASK, Secret};

/// How callers prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AuthMode {
    /// They do not: for one machine.
    #[default]
    None,
    /// By an API key.
    Keys,
}

choice!(AuthMode, "a mode", "it is neither none nor keys", {
    None = "none",
    Keys = "keys",
});

/// What the roles of one installation know each other by. Fits into a header,
/// and does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub struct InternalToken(Secret<String>);

impl InternalToken {
    /// Shorter ones could be guessed.
    pub const SHORTEST: usize = 32;

    /// `None` when it is too short, or has characters that a header cannot
    /// hold or would lose.
    pub fn new(text: &str) -> Option<Self> {
        let fits = text.len() >= Self::SHORTEST && text.bytes().all(|b| b.is_ascii_graphic());
        fits.then(|| Self(Secret::new(text.to_owned())))
    }

    /// For whoever sends it, and whoever compares it.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl fmt::Debug for InternalToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(MASK)
    }
}

impl Setting for InternalToken {
    fn read(raw: &Raw) -> Result<Self, String> {
        Self::new(text(raw, "a secret")?).ok_or_else(|| {
            format!(
                "it needs {} characters or more, all of them visible ASCII: \
                 `openssl rand -hex 32` makes one",
                Self::SHORTEST
            )
        })
    }

    fn show(&self) -> Option<toml::Value> {
        Some(MASK.into())
    }
}

/// `burst` at once, then `limit` in each `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    pub limit: u32,
    pub per: Duration,
    pub burst: u32,
}

impl RateLimit {
    /// Of `limit` and of `burst`.
    pub const MOST: u32 = 1_000_000;
    /// Of `per`.
    pub const SHORTEST: Duration = Duration::from_secs(1);
    pub const LONGEST: Duration = Duration::from_hours(24);
}

impl Setting for RateLimit {
    fn read(raw: &Raw) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Written {
            limit: u32,
            per: String,
            burst: Option<u32>,
        }
        let text = text(raw, "a rate")?;
        let written: Written = serde_json::from_str(text).map_err(|error| {
            format!(
                r#"it is not a rate such as {{"limit": 100, "per": "PT1S", "burst": 200}}: {error}"#
            )
        })?;
        let per = written.per.parse::<jiff::SignedDuration>();
        let per = per
            .ok()
            .and_then(|per| Duration::try_from(per).ok())
            .filter(|per| (Self::SHORTEST..=Self::LONGEST).contains(per))
            .ok_or("its `per` is not a duration from PT1S to PT24H")?;
        let burst = written.burst.unwrap_or(written.limit);
        for (name, number) in [("limit", written.limit), ("burst", burst)] {
            if !(1..=Self::MOST).contains(&number) {
                return Err(format!("its `{name}` is not from 1 to {}", Self::MOST));
            }
        }
        Ok(Self {
            limit: written.limit,
            per,
            burst,
        })
    }

    fn show(&self) -> Option<toml::Value> {
        let per = jiff::SignedDuration::try_from(self.per).unwrap_or(jiff::SignedDuration::MAX);
        let Self { limit, burst, .. } = self;
        Some(format!(r#"{{"limit": {limit}, "per": "{per}", "burst": {burst}}}"#).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<T: Setting>(text: &str) -> Result<T, String> {
        T::read(&Raw::Text(text.to_owned()))
    }

    #[test]
    fn a_short_internal_token_is_refused_and_none_is_shown() {
        let long = "0123456789abcdef0123456789abcdef";
        let token: InternalToken = read(long).unwrap();
        assert_eq!(token.expose(), long);
        assert!(!format!("{token:?} {:?}", token.show()).contains("0123"));
        for bad in [
            &long[1..],
            "0123456789abcdef 0123456789abcdef",
            &"ä".repeat(32),
        ] {
            let reason = read::<InternalToken>(bad).unwrap_err();
            assert!(
                reason.contains("openssl") && !reason.contains("0123"),
                "{reason}"
            );
        }
    }

    #[test]
    fn a_rate_reads_as_those_of_webhooks() {
        let rate: RateLimit = read(r#"{"limit": 100, "per": "PT1M", "burst": 20}"#).unwrap();
        assert_eq!((rate.limit, rate.burst), (100, 20));
        assert_eq!(rate.per, Duration::from_mins(1));
        let shown = rate.show().unwrap();
        assert_eq!(read::<RateLimit>(shown.as_str().unwrap()), Ok(rate));
        let rate: RateLimit = read(r#"{"limit": 5, "per": "PT1S"}"#).unwrap();
        assert_eq!(rate.burst, 5);
        for bad in [
            "100",
            r#"{"limit": 1}"#,
            r#"{"limit": 0, "per": "PT1S"}"#,
            r#"{"limit": 1, "per": "PT0.1S"}"#,
            r#"{"limit": 1, "per": "PT1S", "burst": 0}"#,
            r#"{"limit": 1, "per": "PT1S", "of": 1}"#,
        ] {
            assert!(read::<RateLimit>(bad).is_err(), "{bad} was taken");
        }
    }
}
