//! Stripe: HMAC SHA-256 over `time.body`, hex, in `Stripe-Signature:
//! t=<time>,v1=<hex>[,v1=<hex>…]`. Other versions (`v0`) are passed over, as
//! Stripe demands.

use http::HeaderName;
use millrace_types::Timestamp;

use super::header::{malformed, one};
use super::{AuthError, RequestParts, TOLERANCE, encoding, mac, time};
use crate::Secret;
use crate::spec::Algorithm;

const SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");

/// Elements in the header at most.
const MAX_ELEMENTS: usize = 16;

pub(super) fn verify(
    secrets: &[Secret],
    request: &RequestParts<'_>,
    now: Timestamp,
) -> Result<usize, AuthError> {
    let (timestamp, signatures) = read(one(request.headers, &SIGNATURE)?)?;
    time::check(timestamp, &SIGNATURE, now, TOLERANCE)?;
    let message: [&[u8]; 3] = [timestamp.as_bytes(), b".", request.body];
    let keys = secrets.iter().map(Secret::bytes);
    mac::find(Algorithm::Sha256, keys, &message, &signatures)
}

/// The signed time as written, and the readable signatures.
fn read(header: &str) -> Result<(&str, Vec<Vec<u8>>), AuthError> {
    let mut timestamp = None;
    let mut signatures = Vec::new();
    for (count, element) in header.split(',').enumerate() {
        if count == MAX_ELEMENTS {
            return Err(malformed(&SIGNATURE, "holds too many elements"));
        }
        match element.split_once('=') {
            Some(("t", _)) if timestamp.is_some() => {
                return Err(malformed(&SIGNATURE, "holds two times"));
            }
            Some(("t", time)) => timestamp = Some(time),
            Some(("v1", hex)) => signatures
                .extend(encoding::hex_lower(hex).filter(|s| s.len() == Algorithm::Sha256.length())),
            _ => {}
        }
    }
    let timestamp = timestamp.ok_or_else(|| malformed(&SIGNATURE, "holds no time `t=…`"))?;
    if signatures.is_empty() {
        return Err(malformed(
            &SIGNATURE,
            "holds no readable signature `v1=<hex>`",
        ));
    }
    Ok((timestamp, signatures))
}
