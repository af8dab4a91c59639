//! The schemes in which the request carries the secret itself.

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use super::header::{malformed, one};
use super::{AuthError, RequestParts, encoding};
use crate::Secret;
use crate::spec::Place;

/// RFC 7617.
pub(super) fn basic(
    username: &str,
    secrets: &[Secret],
    headers: &HeaderMap,
) -> Result<usize, AuthError> {
    let pair = encoding::base64(authorization(headers, "basic")?)
        .ok_or_else(|| malformed(&AUTHORIZATION, "is not base64 after `Basic`"))?;
    let colon = pair
        .iter()
        .position(|b| *b == b':')
        .ok_or_else(|| malformed(&AUTHORIZATION, "holds no `name:password`"))?;
    let (name, password) = (&pair[..colon], &pair[colon + 1..]);
    let named = same(username.as_bytes(), name);
    find(secrets, |secret| named & same(secret, password))
}

/// RFC 6750, section 2.1.
pub(super) fn bearer(secrets: &[Secret], headers: &HeaderMap) -> Result<usize, AuthError> {
    let token = authorization(headers, "bearer")?;
    find(secrets, |secret| same(secret, token.as_bytes()))
}

pub(super) fn api_key(
    place: &Place,
    secrets: &[Secret],
    request: &RequestParts<'_>,
) -> Result<usize, AuthError> {
    match place {
        Place::Header(name) => {
            let key = one(request.headers, name)?;
            find(secrets, |secret| same(secret, key.as_bytes()))
        }
        Place::Query(name) => {
            let query = request.query.unwrap_or_default().as_bytes();
            let mut keys = form_urlencoded::parse(query).filter(|(key, _)| key == name);
            let (_, key) = keys
                .next()
                .ok_or_else(|| AuthError::Missing(place.clone()))?;
            if keys.next().is_some() {
                return Err(AuthError::Duplicate(place.clone()));
            }
            find(secrets, |secret| same(secret, key.as_bytes()))
        }
    }
}

/// What stands in `Authorization` after the name of the scheme.
fn authorization<'h>(headers: &'h HeaderMap, scheme: &str) -> Result<&'h str, AuthError> {
    one(headers, &AUTHORIZATION)?
        .split_once(' ')
        .filter(|(name, _)| name.eq_ignore_ascii_case(scheme))
        .map(|(_, credential)| credential.trim_start_matches(' '))
        .ok_or_else(|| malformed(&AUTHORIZATION, "is of another scheme"))
}

/// The first secret that fits; every one is tried.
fn find(secrets: &[Secret], fits: impl Fn(&[u8]) -> Choice) -> Result<usize, AuthError> {
    let mut found = None;
    for (index, secret) in secrets.iter().enumerate() {
        if bool::from(fits(secret.bytes())) {
            found = found.or(Some(index));
        }
    }
    found.ok_or(AuthError::WrongCredential)
}

/// Compares digests, so that the time tells nothing of the length either.
fn same(a: &[u8], b: &[u8]) -> Choice {
    Sha256::digest(a).ct_eq(&Sha256::digest(b))
}
