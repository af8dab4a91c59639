//! Headers that must stand exactly once.

use http::{HeaderMap, HeaderName};

use super::AuthError;
use crate::spec::Place;

/// The text of a header that stands once.
pub(super) fn one<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<&'h str, AuthError> {
    let place = || Place::Header(name.clone());
    let mut values = headers.get_all(name).iter();
    let value = values.next().ok_or_else(|| AuthError::Missing(place()))?;
    if values.next().is_some() {
        return Err(AuthError::Duplicate(place()));
    }
    value
        .to_str()
        .map_err(|_| malformed(name, "holds more than printable ASCII"))
}

pub(super) fn malformed(name: &HeaderName, why: &'static str) -> AuthError {
    AuthError::Malformed {
        place: Place::Header(name.clone()),
        why,
    }
}
