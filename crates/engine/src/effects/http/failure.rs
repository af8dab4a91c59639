//! Why a call has no answer.

use std::error::Error;
use std::net::IpAddr;

/// Why a call has no answer. An answer with an error status is an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HttpFailure {
    /// The call cannot be made as it was asked for.
    #[error("the call is not valid: {0}")]
    Invalid(String),
    /// The egress policy forbids it.
    #[error("calls to {target} are not allowed by the egress policy")]
    Refused {
        /// The host or address that was refused.
        target: String,
    },
    /// The host's name does not resolve.
    #[error("the name {host} cannot be resolved")]
    Dns {
        /// The host.
        host: String,
    },
    /// No connection, or it broke.
    #[error("cannot reach {host}: {reason}")]
    Connect {
        /// The host.
        host: String,
        /// What the network said.
        reason: String,
    },
    /// The peer could not be authenticated, or TLS failed otherwise.
    #[error("no secure connection to {host}: {reason}")]
    Tls {
        /// The host.
        host: String,
        /// What TLS said.
        reason: String,
    },
    /// It took too long.
    #[error("{host} did not answer in time")]
    Timeout {
        /// The host.
        host: String,
    },
    /// The answer's body is larger than configured.
    #[error("the answer is larger than {limit} bytes")]
    BodyTooLarge {
        /// The configured limit in bytes.
        limit: usize,
    },
    /// The redirects do not end, or one leads nowhere.
    #[error("cannot follow the redirects: {0}")]
    Redirect(String),
}

impl HttpFailure {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Dns { .. } | Self::Connect { .. } | Self::Timeout { .. }
        )
    }
}

/// Raised inside of name resolution.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum ResolveError {
    #[error("all addresses of {host} are refused, such as {address}")]
    Refused { host: String, address: IpAddr },
    #[error("{host} has no address")]
    Unknown { host: String },
}

/// What went wrong between us and the host.
pub(super) fn classify(error: &reqwest::Error, host: &str) -> HttpFailure {
    let host = host.to_owned();
    let mut reason = String::new();
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = next {
        if let Some(resolve) = cause.downcast_ref::<ResolveError>() {
            return match resolve {
                ResolveError::Refused { host, .. } => HttpFailure::Refused {
                    target: host.clone(),
                },
                ResolveError::Unknown { host } => HttpFailure::Dns { host: host.clone() },
            };
        }
        if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
            return HttpFailure::Tls {
                host,
                reason: tls.to_string(),
            };
        }
        reason = cause.to_string();
        // An I/O error hides what it wraps from `source`.
        let wrapped = cause
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        next = match wrapped {
            Some(wrapped) => Some(wrapped),
            None => cause.source(),
        };
    }
    if error.is_timeout() {
        HttpFailure::Timeout { host }
    } else if error.is_builder() {
        HttpFailure::Invalid(reason)
    } else {
        HttpFailure::Connect { host, reason }
    }
}
