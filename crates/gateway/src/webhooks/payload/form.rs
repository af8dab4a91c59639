//! `application/x-www-form-urlencoded`.

use serde_json::Value;

use super::Members;

/// An object of strings. Bytes that are no UTF-8 become U+FFFD, as the
/// format's standard says.
pub fn read(bytes: &[u8]) -> Value {
    let mut members = Members::default();
    for (name, value) in url::form_urlencoded::parse(bytes) {
        members.push(name.into_owned(), Value::String(value.into_owned()));
    }
    Value::Object(members.into_object())
}
