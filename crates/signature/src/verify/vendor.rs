//! The vendors that send one prefixed signature: GitHub and Slack.

use http::HeaderName;
use millrace_types::Timestamp;

use super::header::{malformed, one};
use super::{AuthError, RequestParts, TOLERANCE, encoding, mac, time};
use crate::Secret;
use crate::spec::Algorithm;

const HUB_SIGNATURE: HeaderName = HeaderName::from_static("x-hub-signature-256");
const SLACK_SIGNATURE: HeaderName = HeaderName::from_static("x-slack-signature");
const SLACK_TIMESTAMP: HeaderName = HeaderName::from_static("x-slack-request-timestamp");

/// GitHub: HMAC SHA-256 over the body, hex after `sha256=`. It signs no time,
/// so a captured delivery stays valid for as long as its secret.
pub(super) fn github(secrets: &[Secret], request: &RequestParts<'_>) -> Result<usize, AuthError> {
    let signature = read(one(request.headers, &HUB_SIGNATURE)?, "sha256=")
        .ok_or_else(|| malformed(&HUB_SIGNATURE, "is not `sha256=` and 64 hex digits"))?;
    let keys = secrets.iter().map(Secret::bytes);
    mac::find(Algorithm::Sha256, keys, &[request.body], &[signature])
}

/// Slack: HMAC SHA-256 over `v0:time:body`, hex after `v0=`.
pub(super) fn slack(
    secrets: &[Secret],
    request: &RequestParts<'_>,
    now: Timestamp,
) -> Result<usize, AuthError> {
    let timestamp = one(request.headers, &SLACK_TIMESTAMP)?;
    let signature = one(request.headers, &SLACK_SIGNATURE)?;
    time::check(timestamp, &SLACK_TIMESTAMP, now, TOLERANCE)?;
    let signature = read(signature, "v0=")
        .ok_or_else(|| malformed(&SLACK_SIGNATURE, "is not `v0=` and 64 hex digits"))?;
    let message: [&[u8]; 4] = [b"v0:", timestamp.as_bytes(), b":", request.body];
    let keys = secrets.iter().map(Secret::bytes);
    mac::find(Algorithm::Sha256, keys, &message, &[signature])
}

fn read(header: &str, prefix: &str) -> Option<Vec<u8>> {
    encoding::hex_lower(header.strip_prefix(prefix)?)
        .filter(|s| s.len() == Algorithm::Sha256.length())
}
