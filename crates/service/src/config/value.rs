//! How values are read from what the layers hold.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::secret::{MASK, Secret, SecretUrl};

/// A value as a layer holds it. Scalars are text in every layer, so that a
/// setting reads the same from a file, a variable and a flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Raw {
    Text(String),
    List(Vec<String>),
}

/// A type that settings can have: read from [`Raw`], shown as TOML.
pub(super) trait Setting: Sized {
    /// The error is a reason that does not repeat the value, which may be secret.
    fn read(raw: &Raw) -> Result<Self, String>;

    /// As it may be shown; `None` when it is not set.
    fn show(&self) -> Option<toml::Value>;
}

pub(super) fn text<'a>(raw: &'a Raw, expected: &str) -> Result<&'a str, String> {
    match raw {
        Raw::Text(text) => Ok(text.trim()),
        Raw::List(_) => Err(format!("it is a list, not {expected}")),
    }
}

impl Setting for String {
    fn read(raw: &Raw) -> Result<Self, String> {
        text(raw, "a text").map(str::to_owned)
    }

    fn show(&self) -> Option<toml::Value> {
        Some(self.as_str().into())
    }
}

impl Setting for PathBuf {
    fn read(raw: &Raw) -> Result<Self, String> {
        match text(raw, "a path")? {
            "" => Err("it is empty".to_owned()),
            path => Ok(path.into()),
        }
    }

    fn show(&self) -> Option<toml::Value> {
        Some(self.display().to_string().into())
    }
}

impl Setting for bool {
    fn read(raw: &Raw) -> Result<Self, String> {
        match text(raw, "true or false")? {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("it is neither true nor false".to_owned()),
        }
    }

    fn show(&self) -> Option<toml::Value> {
        Some((*self).into())
    }
}

impl Setting for u32 {
    /// No setting that counts means anything at zero.
    fn read(raw: &Raw) -> Result<Self, String> {
        match text(raw, "a number")?.parse() {
            Ok(0) | Err(_) => Err(format!("it is not a whole number from 1 to {}", Self::MAX)),
            Ok(number) => Ok(number),
        }
    }

    fn show(&self) -> Option<toml::Value> {
        Some(i64::from(*self).into())
    }
}

/// Sizes in bytes: a number, or one with a unit.
impl Setting for u64 {
    fn read(raw: &Raw) -> Result<Self, String> {
        let invalid = || "it is not a size such as 1048576, 512KiB or 1MiB".to_owned();
        let text = text(raw, "a size")?;
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor: Self = match unit.trim() {
            "" | "B" => 1,
            "kB" => 1_000,
            "KiB" => 1 << 10,
            "MB" => 1_000_000,
            "MiB" => 1 << 20,
            "GB" => 1_000_000_000,
            "GiB" => 1 << 30,
            _ => return Err(invalid()),
        };
        let number: Self = number.parse().map_err(|_| invalid())?;
        number
            .checked_mul(factor)
            .filter(|size| *size > 0)
            .ok_or_else(invalid)
    }

    fn show(&self) -> Option<toml::Value> {
        Some(i64::try_from(*self).unwrap_or(i64::MAX).into())
    }
}

impl Setting for Duration {
    fn read(raw: &Raw) -> Result<Self, String> {
        let invalid = || "it is not a duration such as 10s, 1m 30s or PT10S".to_owned();
        let duration: jiff::SignedDuration =
            text(raw, "a duration")?.parse().map_err(|_| invalid())?;
        Self::try_from(duration)
            .ok()
            .filter(|time| !time.is_zero())
            .ok_or_else(invalid)
    }

    fn show(&self) -> Option<toml::Value> {
        let signed = jiff::SignedDuration::try_from(*self).unwrap_or(jiff::SignedDuration::MAX);
        Some(format!("{signed:#}").into())
    }
}

impl Setting for SocketAddr {
    fn read(raw: &Raw) -> Result<Self, String> {
        text(raw, "an address")?
            .parse()
            .map_err(|_| "it is not an address to listen on, such as 127.0.0.1:8080".to_owned())
    }

    fn show(&self) -> Option<toml::Value> {
        Some(self.to_string().into())
    }
}

impl Setting for Secret<String> {
    fn read(raw: &Raw) -> Result<Self, String> {
        Ok(Self::new(text(raw, "a text")?.to_owned()))
    }

    fn show(&self) -> Option<toml::Value> {
        Some(MASK.into())
    }
}

impl Setting for SecretUrl {
    fn read(raw: &Raw) -> Result<Self, String> {
        text(raw, "a URL")?
            .parse()
            .map_err(|error: crate::secret::InvalidUrl| error.to_string())
    }

    fn show(&self) -> Option<toml::Value> {
        Some(self.to_string().into())
    }
}

/// An empty text unsets it, so that `DATABASE_URL=` stands for none.
impl<T: Setting> Setting for Option<T> {
    fn read(raw: &Raw) -> Result<Self, String> {
        match raw {
            Raw::Text(text) if text.trim().is_empty() => Ok(None),
            _ => T::read(raw).map(Some),
        }
    }

    fn show(&self) -> Option<toml::Value> {
        self.as_ref().and_then(T::show)
    }
}

/// A TOML array, or a text with commas.
impl<T: Setting> Setting for Vec<T> {
    fn read(raw: &Raw) -> Result<Self, String> {
        let item = |text: &str| T::read(&Raw::Text(text.to_owned()));
        match raw {
            Raw::Text(text) => text
                .split(',')
                .map(str::trim)
                .filter(|text| !text.is_empty())
                .map(item)
                .collect(),
            Raw::List(items) => items.iter().map(|text| item(text)).collect(),
        }
    }

    fn show(&self) -> Option<toml::Value> {
        Some(toml::Value::Array(
            self.iter().filter_map(T::show).collect(),
        ))
    }
}

/// A setting that is one of a few words.
macro_rules! choice {
    ($name:ident, $expected:literal, $wrong:literal, { $($variant:ident = $text:literal),+ $(,)? }) => {
        impl Setting for $name {
            fn read(raw: &Raw) -> Result<Self, String> {
                match text(raw, $expected)? {
                    $($text => Ok(Self::$variant),)+
                    _ => Err($wrong.to_owned()),
                }
            }

            fn show(&self) -> Option<toml::Value> {
                let name = match self {
                    $(Self::$variant => $text,)+
                };
                Some(name.into())
            }
        }
    };
}
pub(super) use choice;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// Pretty on a terminal, else JSON.
    #[default]
    Auto,
    Json,
    Pretty,
}

choice!(LogFormat, "a format", "it is not one of auto, json, pretty", {
    Auto = "auto",
    Json = "json",
    Pretty = "pretty",
});

/// The header in which proxies say whom they speak for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`
    #[default]
    XForwardedFor,
    /// RFC 7239.
    Forwarded,
}

impl Setting for ForwardedHeader {
    fn read(raw: &Raw) -> Result<Self, String> {
        match text(raw, "a header")?.to_ascii_lowercase().as_str() {
            "x-forwarded-for" => Ok(Self::XForwardedFor),
            "forwarded" => Ok(Self::Forwarded),
            _ => Err("it is neither x-forwarded-for nor forwarded".to_owned()),
        }
    }

    fn show(&self) -> Option<toml::Value> {
        let name = match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        };
        Some(name.into())
    }
}

/// Where a peer listens: `http://host:port`, or `https://host:port` over TLS.
/// `host:port` stands for the former.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress(String);

impl PeerAddress {
    /// For `transport::remote`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<SocketAddr> for PeerAddress {
    fn from(address: SocketAddr) -> Self {
        Self(format!("http://{address}"))
    }
}

/// A text that is not a [`PeerAddress`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is not an address such as http://runtime:50051 or https://runtime:50051")]
pub struct InvalidPeer;

impl FromStr for PeerAddress {
    type Err = InvalidPeer;

    fn from_str(text: &str) -> Result<Self, InvalidPeer> {
        let whole = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let uri: http::Uri = whole.parse().map_err(|_| InvalidPeer)?;
        let scheme = uri.scheme_str().ok_or(InvalidPeer)?;
        let whole = matches!(scheme, "http" | "https") && matches!(uri.path(), "" | "/");
        match uri.authority() {
            Some(authority) if whole && authority.port_u16().is_some() => {
                Ok(Self(format!("{scheme}://{authority}")))
            }
            _ => Err(InvalidPeer),
        }
    }
}

impl Setting for PeerAddress {
    fn read(raw: &Raw) -> Result<Self, String> {
        text(raw, "an address")?
            .parse()
            .map_err(|error: InvalidPeer| error.to_string())
    }

    fn show(&self) -> Option<toml::Value> {
        Some(self.as_str().into())
    }
}

/// Who runs executions for a runtime.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RuntimeEngine {
    /// The built-in engine, in the runtime's process.
    Embedded,
    /// Engines behind gRPC, any of which will do; never empty.
    Remote(Vec<PeerAddress>),
}

impl Setting for RuntimeEngine {
    fn read(raw: &Raw) -> Result<Self, String> {
        if matches!(raw, Raw::Text(text) if text.trim() == "embedded") {
            return Ok(Self::Embedded);
        }
        let peers = Vec::<PeerAddress>::read(raw)
            .map_err(|reason| format!("{reason}, and it is not `embedded`"))?;
        if peers.is_empty() {
            return Err("it is empty; say `embedded` or an address".to_owned());
        }
        Ok(Self::Remote(peers))
    }

    fn show(&self) -> Option<toml::Value> {
        match self {
            Self::Embedded => Some("embedded".into()),
            Self::Remote(peers) => peers.show(),
        }
    }
}

/// Ports from one to another, both included: `3100-3200`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

impl Setting for PortRange {
    fn read(raw: &Raw) -> Result<Self, String> {
        let invalid = || "it is not a range of ports such as 3100-3200".to_owned();
        let text = text(raw, "a range of ports")?;
        let (first, last) = text.split_once('-').ok_or_else(invalid)?;
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| invalid());
        let (first, last) = (port(first)?, port(last)?);
        if first == 0 || first > last {
            return Err(invalid());
        }
        Ok(Self { first, last })
    }

    fn show(&self) -> Option<toml::Value> {
        Some(format!("{}-{}", self.first, self.last).into())
    }
}
