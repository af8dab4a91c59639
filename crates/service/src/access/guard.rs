//! The judgement: who calls, and whether the table lets them.

use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, header};
use millrace_types::{ApiKey, Role, Timestamp};
use subtle::ConstantTimeEq as _;

use super::cache::KeyCache;
use super::table::{Needs, Opening};
use super::{KeyLookUp, KeyToken, LookUpFailed, VerifiedPeer};
use crate::config::{AuthConfig, AuthMode, InternalToken};

/// A header for the key where `Authorization` belongs to what is called, as
/// with services and webhooks. It counts first, and never goes on.
pub const KEY_HEADER: &str = "x-millrace-key";

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// Somebody who was not asked, or who presented nothing.
    Nobody,
    Key(Arc<ApiKey>),
    /// Another role of this installation.
    Internal,
}

/// Why a call is refused.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Denied {
    #[error("This needs an API key: send it as `Authorization: Bearer mlr_…`.")]
    NoKey,
    #[error("This is no valid API key: it is unknown, revoked or expired.")]
    UnknownKey,
    /// The roles do not know each other by keys.
    #[error(
        "Only other roles of this installation may call this, which present the \
         `auth.internal_token` of all of them, or a certificate that `tls.ca` vouches for."
    )]
    NotInternal,
    #[error("This needs the role {needed}, and the key `{name}` has the role {held}.")]
    Role {
        needed: Role,
        held: Role,
        name: String,
    },
    #[error("Only other roles of this installation may call this; `{name}` is an API key.")]
    InternalOnly { name: String },
    /// Nothing says who may: then nobody may.
    #[error("No rule says who may call this.")]
    NoRule,
    /// What went wrong is for the log.
    #[error("API keys cannot be checked at present.")]
    Unavailable(LookUpFailed),
}

/// Judges calls. Clones are cheap and share what was learnt of keys.
#[derive(Clone, Default)]
pub struct Guard(Option<Arc<Rules>>);

#[derive(Debug)]
struct Rules {
    /// Without, only other roles are let in.
    keys: Option<KeyCache>,
    internal: Option<InternalToken>,
    open_metrics: bool,
    open_health: bool,
    open_services: bool,
}

/// What a request shows of its caller.
#[derive(Debug)]
enum Shown<'a> {
    Nothing,
    Text(&'a str),
    /// Nothing that could be a key.
    Odd,
}

impl Guard {
    /// Asks nobody anything: for one machine.
    pub const fn open() -> Self {
        Self(None)
    }

    /// Of a public listener of HTTP, as `auth.mode` says.
    pub fn of_http(config: &AuthConfig, look_up: Arc<dyn KeyLookUp>) -> Self {
        match config.mode {
            AuthMode::None => Self::open(),
            AuthMode::Keys => Self::new(config, Some(look_up)),
        }
    }

    /// Of a listener of gRPC. Where roles have a way to know each other, an
    /// internal token or `certificates` of clients, others are let in by keys
    /// or not at all. `look_up` is of those who know keys.
    pub fn of_grpc(
        config: &AuthConfig,
        certificates: bool,
        look_up: Option<Arc<dyn KeyLookUp>>,
    ) -> Self {
        let keys = config.mode == AuthMode::Keys;
        if keys || certificates || config.internal_token.is_some() {
            Self::new(config, look_up.filter(|_| keys))
        } else {
            Self::open()
        }
    }

    fn new(config: &AuthConfig, look_up: Option<Arc<dyn KeyLookUp>>) -> Self {
        Self(Some(Arc::new(Rules {
            keys: look_up.map(|look_up| KeyCache::new(look_up, config.cache_ttl)),
            internal: config.internal_token.clone(),
            open_metrics: config.open_metrics,
            open_health: config.open_health,
            open_services: config.open_services,
        })))
    }

    /// Whether everybody is let in.
    pub const fn is_open(&self) -> bool {
        self.0.is_none()
    }

    /// Whether whoever calls may see the details of what anyone may call.
    pub fn shows_details_to(&self, caller: &Caller) -> bool {
        self.0.as_ref().is_none_or(|rules| rules.open_health) || *caller != Caller::Nobody
    }

    /// Judges a call with these `headers` to what `needs` says, `None` where
    /// the table has nothing. `verified`: its connection shows that another
    /// role is on the other side.
    pub async fn judge(
        &self,
        needs: Option<Needs>,
        headers: &HeaderMap,
        verified: Option<&VerifiedPeer>,
    ) -> Result<Caller, Denied> {
        let Some(rules) = &self.0 else {
            return Ok(Caller::Nobody);
        };
        match needs {
            Some(Needs::Open | Needs::Own) => return Ok(Caller::Nobody),
            Some(Needs::KeyUnless(opening, _)) if rules.is_open(opening) => {
                return Ok(Caller::Nobody);
            }
            _ => {}
        }
        let caller = match rules.identify(headers, verified).await {
            // They look whether all is well, which it then is not.
            Err(Denied::Unavailable(_)) if matches!(needs, Some(Needs::Brief(_))) => Caller::Nobody,
            caller => caller?,
        };
        rules.allow(needs, &caller)?;
        Ok(caller)
    }
}

impl Rules {
    const fn is_open(&self, opening: Opening) -> bool {
        match opening {
            Opening::Metrics => self.open_metrics,
            Opening::Services => self.open_services,
        }
    }

    async fn identify(
        &self,
        headers: &HeaderMap,
        verified: Option<&VerifiedPeer>,
    ) -> Result<Caller, Denied> {
        if verified.is_some() {
            return Ok(Caller::Internal);
        }
        let text = match shown(headers) {
            Shown::Nothing => return Ok(Caller::Nobody),
            Shown::Odd => return Err(self.unknown()),
            Shown::Text(text) => text,
        };
        if let Some(internal) = &self.internal
            && bool::from(internal.expose().as_bytes().ct_eq(text.as_bytes()))
        {
            return Ok(Caller::Internal);
        }
        let (Some(keys), Ok(token)) = (&self.keys, KeyToken::parse(text)) else {
            return Err(self.unknown());
        };
        let key = keys.resolve(token).await.map_err(Denied::Unavailable)?;
        key.filter(|key| key.expires_at.is_none_or(|at| at > Timestamp::now()))
            .map(Caller::Key)
            .ok_or(Denied::UnknownKey)
    }

    fn unknown(&self) -> Denied {
        match self.keys {
            Some(_) => Denied::UnknownKey,
            None => Denied::NotInternal,
        }
    }

    fn allow(&self, needs: Option<Needs>, caller: &Caller) -> Result<(), Denied> {
        match (caller, needs) {
            (Caller::Internal, _) | (_, Some(Needs::Open | Needs::Own | Needs::Brief(_))) => Ok(()),
            (Caller::Nobody, Some(Needs::Internal)) => Err(Denied::NotInternal),
            (Caller::Nobody, _) if self.keys.is_none() => Err(Denied::NotInternal),
            (Caller::Nobody, _) => Err(Denied::NoKey),
            (Caller::Key(key), Some(Needs::Key(role) | Needs::KeyUnless(_, role))) => {
                if key.role >= role {
                    return Ok(());
                }
                Err(Denied::Role {
                    needed: role,
                    held: key.role,
                    name: key.name.clone(),
                })
            }
            (Caller::Key(key), Some(Needs::Internal)) => Err(Denied::InternalOnly {
                name: key.name.clone(),
            }),
            (Caller::Key(_), None) => Err(Denied::NoRule),
        }
    }
}

/// The text after `Bearer`, or that of [`KEY_HEADER`]. Two are none.
fn shown(headers: &HeaderMap) -> Shown<'_> {
    let one = |name: &str| {
        let mut values = headers.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().map(Some).map_err(|_| ()),
            (Some(_), Some(_)) => Err(()),
        }
    };
    match one(KEY_HEADER) {
        Ok(None) => {}
        Ok(Some(text)) => return Shown::Text(text.trim()),
        Err(()) => return Shown::Odd,
    }
    match one(header::AUTHORIZATION.as_str()) {
        Ok(None) => Shown::Nothing,
        Ok(Some(text)) => bearer(text).map_or(Shown::Odd, Shown::Text),
        Err(()) => Shown::Odd,
    }
}

/// Schemes are written in any case.
fn bearer(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim())
}

/// Removes what a caller showed to Millrace, so that what is called does not
/// see it: keys and the internal token. What else is in `Authorization` is
/// meant for others.
pub fn strip(guard: &Guard, headers: &mut HeaderMap) {
    if headers.contains_key(KEY_HEADER) {
        headers.remove(KEY_HEADER);
    }
    let internal = guard.0.as_ref().and_then(|rules| rules.internal.as_ref());
    let ours = headers.get_all(header::AUTHORIZATION).iter().any(|value| {
        let text = value.to_str().ok().and_then(bearer).unwrap_or_default();
        let is_internal = || {
            internal.is_some_and(|token| token.expose().as_bytes().ct_eq(text.as_bytes()).into())
        };
        text.starts_with(KeyToken::PREFIX) || is_internal()
    });
    if ours {
        headers.remove(header::AUTHORIZATION);
    }
}

impl Caller {
    /// Puts the key onto every line of the log that is written for this
    /// request.
    pub fn record(&self) {
        if let Self::Key(key) = self {
            tracing::Span::current()
                .record("key_id", tracing::field::display(key.id))
                .record("key_name", key.name.as_str());
        }
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("Guard(open)"),
            Some(rules) => f.debug_tuple("Guard").field(rules).finish(),
        }
    }
}
