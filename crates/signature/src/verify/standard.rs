//! Standard Webhooks (<https://www.standardwebhooks.com>), symmetric: HMAC
//! SHA-256 over `id.timestamp.body`, base64, as `v1,…` among others.

use http::HeaderName;
use millrace_types::Timestamp;
use zeroize::Zeroizing;

use super::header::{malformed, one};
use super::{AuthError, RequestParts, TOLERANCE, encoding, mac, time};
use crate::Secret;
use crate::dedupe::usable;
use crate::spec::Algorithm;

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Signatures in one header at most: two keys sign while rotating, and other
/// versions may stand beside.
const MAX_SIGNATURES: usize = 16;

/// Bounds of a key in bytes. The specification says 24 to 64; longer ones are
/// in use and harmless.
const MIN_KEY: usize = 24;
const MAX_KEY: usize = 256;

/// The key in a secret's text; if there is none, why, so that "the secret …"
/// makes a sentence.
pub(crate) fn key(secret: &str) -> Result<Zeroizing<Vec<u8>>, &'static str> {
    if secret.starts_with("whpk_") || secret.starts_with("whsk_") {
        return Err("is an asymmetric key; give a symmetric secret (whsec_…)");
    }
    let text = secret.strip_prefix("whsec_").unwrap_or(secret);
    let key = encoding::base64(text).ok_or("must be base64, with or without whsec_ before it")?;
    let key = Zeroizing::new(key);
    if (MIN_KEY..=MAX_KEY).contains(&key.len()) {
        Ok(key)
    } else {
        Err("must be base64 of 24 to 256 random bytes")
    }
}

/// The secret that signed, and the signed id.
pub(super) fn verify(
    secrets: &[Secret],
    request: &RequestParts<'_>,
    now: Timestamp,
) -> Result<(usize, String), AuthError> {
    let id = one(request.headers, &ID)?;
    let timestamp = one(request.headers, &TIMESTAMP)?;
    let signatures = one(request.headers, &SIGNATURE)?;
    if usable(id.as_bytes()).is_none() {
        return Err(malformed(&ID, "is not 1 to 255 printable characters"));
    }
    // The parts are joined by full stops. An id that holds a number after a
    // stop could be another message's id and time, with its time in the body.
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if id.split('.').skip(1).any(number) {
        return Err(malformed(&ID, "could be read as an id and a time"));
    }
    time::check(timestamp, &TIMESTAMP, now, TOLERANCE)?;
    let signatures = read(signatures)?;
    // Checked when the spec was made; an unreadable one would sign nothing.
    let keys: Vec<_> = secrets
        .iter()
        .map(|s| key(s.expose()).expect("a spec holds keys of the right form"))
        .collect();
    let message: [&[u8]; 5] = [
        id.as_bytes(),
        b".",
        timestamp.as_bytes(),
        b".",
        request.body,
    ];
    let keys = keys.iter().map(|key| key.as_slice());
    let secret = mac::find(Algorithm::Sha256, keys, &message, &signatures)?;
    Ok((secret, id.to_owned()))
}

/// The readable signatures of version 1; those of other versions are for
/// others to judge.
fn read(header: &str) -> Result<Vec<Vec<u8>>, AuthError> {
    let mut signatures = Vec::new();
    for (count, entry) in header.split(' ').enumerate() {
        if count == MAX_SIGNATURES {
            return Err(malformed(&SIGNATURE, "holds too many signatures"));
        }
        let signature = entry.strip_prefix("v1,").and_then(encoding::base64);
        signatures.extend(signature.filter(|s| s.len() == Algorithm::Sha256.length()));
    }
    if signatures.is_empty() {
        return Err(malformed(
            &SIGNATURE,
            "holds no readable signature `v1,<base64>`",
        ));
    }
    Ok(signatures)
}
