//! HTTP calls, within bounds and where the [`EgressPolicy`] lets them.

mod answer;
mod failure;
mod redirect;
mod resolve;
mod send;
mod tls;

use std::time::Duration;

use ::http::Method;
use url::Url;

use super::egress::EgressPolicy;
use crate::value::Value;

pub use answer::HttpAnswer;
pub use failure::HttpFailure;
pub use send::{HttpCaller, HttpSetup};

/// How calls are made.
#[derive(Debug, Clone)]
pub struct HttpConfig {
    /// Where calls may go.
    pub egress: EgressPolicy,
    /// How long connecting may take, with DNS and TLS.
    pub connect_timeout: Duration,
    /// How long a call may take in all, with its redirects and its body,
    /// unless the call says otherwise.
    pub total_timeout: Duration,
    /// How many bytes the body of an answer may have.
    pub max_body: usize,
    /// How many redirects are followed.
    pub max_redirects: usize,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            egress: EgressPolicy::default(),
            connect_timeout: Duration::from_secs(10),
            total_timeout: Duration::from_mins(1),
            max_body: 4 << 20,
            max_redirects: 10,
        }
    }
}

/// One call.
#[derive(Debug, Clone)]
pub struct HttpCall {
    /// The method.
    pub method: Method,
    /// Where to; `http` and `https` only.
    pub url: Url,
    /// Pairs added to the URL's query.
    pub query: Vec<(String, String)>,
    /// Headers, the author's and ours (`Idempotency-Key`,
    /// `Millrace-Fencing-Token`, `traceparent`); a later one of the same name
    /// replaces an earlier one.
    pub headers: Vec<(String, String)>,
    /// What to send.
    pub body: HttpBody,
    /// Whether redirects are followed; if not, the answer is the 3xx itself.
    pub redirect: bool,
    /// Credentials; not sent on to another origin by a redirect.
    pub auth: Option<HttpAuth>,
    /// How long the call may take in all, instead of the configured time.
    pub timeout: Option<Duration>,
}

impl HttpCall {
    /// A call with nothing but a method and a URL.
    pub fn new(method: Method, url: Url) -> Self {
        Self {
            method,
            url,
            query: Vec::new(),
            headers: Vec::new(),
            body: HttpBody::None,
            redirect: false,
            auth: None,
            timeout: None,
        }
    }
}

/// What a call sends.
#[derive(Debug, Clone, Default)]
pub enum HttpBody {
    /// No body.
    #[default]
    None,
    /// JSON, as `application/json` unless a header says otherwise.
    Json(Value),
    /// Text, as `text/plain; charset=utf-8` unless a header says otherwise.
    Text(String),
}

/// Credentials of a call.
#[derive(Clone)]
pub enum HttpAuth {
    /// User name and password.
    Basic {
        /// User name.
        username: String,
        /// Password.
        password: String,
    },
    /// A bearer token.
    Bearer(String),
}

/// Never the secrets.
impl std::fmt::Debug for HttpAuth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(…)",
            Self::Bearer(_) => "Bearer(…)",
        })
    }
}

#[cfg(test)]
mod tests;
