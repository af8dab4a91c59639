//! The generic HMAC, by its description.

use millrace_types::Timestamp;

use super::header::{malformed, one};
use super::{AuthError, RequestParts, encoding, mac, time};
use crate::Secret;
use crate::spec::{Encoding, HmacScheme, Part};

pub(super) fn verify(
    scheme: &HmacScheme,
    secrets: &[Secret],
    request: &RequestParts<'_>,
    now: Timestamp,
) -> Result<usize, AuthError> {
    let signature = one(request.headers, &scheme.header)?;
    let timestamp = match &scheme.timestamp {
        Some(signed) => {
            let text = one(request.headers, &signed.header)?;
            time::check(text, &signed.header, now, signed.tolerance)?;
            text
        }
        None => "",
    };
    let signature = signature
        .strip_prefix(scheme.prefix.as_str())
        .ok_or_else(|| malformed(&scheme.header, "does not begin with the prefix"))?;
    let signature = match scheme.encoding {
        Encoding::Hex => encoding::hex(signature),
        Encoding::Base64 => encoding::base64(signature),
        Encoding::Base64Url => encoding::base64_url(signature),
    }
    .filter(|s| s.len() == scheme.algorithm.length())
    .ok_or_else(|| malformed(&scheme.header, "is no signature in the set encoding"))?;

    let mut message: Vec<&[u8]> = Vec::new();
    for part in scheme.template.parts() {
        message.push(match part {
            Part::Literal(text) => text.as_bytes(),
            Part::Body => request.body,
            Part::Timestamp => timestamp.as_bytes(),
            Part::Method => request.method.as_str().as_bytes(),
            Part::Path => request.path.as_bytes(),
            Part::Query => request.query.unwrap_or_default().as_bytes(),
            Part::Header(name) => one(request.headers, name)?.as_bytes(),
        });
    }
    let keys = secrets.iter().map(Secret::bytes);
    mac::find(scheme.algorithm, keys, &message, &[signature])
}
