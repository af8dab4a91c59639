//! Judging one request.

mod credential;
pub(crate) mod encoding;
mod error;
mod header;
mod hmac;
mod mac;
pub(crate) mod standard;
mod stripe;
mod time;
mod vendor;

use std::time::Duration;

use http::{HeaderMap, Method};
use millrace_types::Timestamp;

pub use error::AuthError;

use crate::dedupe_key;
use crate::spec::{AuthSpec, Scheme};

/// How far the time that a vendor's scheme signs may lie from now, in either
/// direction.
pub const TOLERANCE: Duration = Duration::from_mins(5);

/// What is judged of a request, as it was received.
#[derive(Debug, Clone, Copy)]
pub struct RequestParts<'a> {
    pub method: &'a Method,
    /// Before the `?`, not decoded.
    pub path: &'a str,
    /// After the `?`, not decoded.
    pub query: Option<&'a str>,
    pub headers: &'a HeaderMap,
    /// Every byte, before any parsing.
    pub body: &'a [u8],
}

/// A request whose sender has proved itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The sender's name for the message. Of [`Scheme::Standard`] it is
    /// signed; of the others it is what [`dedupe_key`] finds.
    pub message_id: Option<String>,
    /// Which of the secrets proved it, 0 for the newest: when an old one is
    /// no longer seen, it can go. `None` for [`Scheme::None`].
    pub secret: Option<usize>,
}

/// Whether the request's sender knows one of the secrets, at the time `now`.
pub fn verify(
    spec: &AuthSpec,
    request: &RequestParts<'_>,
    now: Timestamp,
) -> Result<Verified, AuthError> {
    let secrets = spec.secrets();
    let secret = match spec.scheme() {
        Scheme::None => None,
        Scheme::Standard => {
            let (secret, id) = standard::verify(secrets, request, now)?;
            return Ok(Verified {
                message_id: Some(id),
                secret: Some(secret),
            });
        }
        Scheme::Github => Some(vendor::github(secrets, request)?),
        Scheme::Stripe => Some(stripe::verify(secrets, request, now)?),
        Scheme::Slack => Some(vendor::slack(secrets, request, now)?),
        Scheme::Hmac(scheme) => Some(hmac::verify(scheme, secrets, request, now)?),
        Scheme::Basic { username } => Some(credential::basic(username, secrets, request.headers)?),
        Scheme::Bearer => Some(credential::bearer(secrets, request.headers)?),
        Scheme::ApiKey(place) => Some(credential::api_key(place, secrets, request)?),
    };
    Ok(Verified {
        message_id: dedupe_key(request.headers),
        secret,
    })
}
