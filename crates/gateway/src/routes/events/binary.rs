//! The binary mode: attributes are headers, the body is the data.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use serde::ser::{SerializeMap as _, Serializer};
use serde_json::value::RawValue;

use crate::json::JsonText;
use crate::media::Media;
use crate::problem::Problem;

const PREFIX: &str = "ce-";

/// Whether the headers are those of an event.
pub fn is(headers: &HeaderMap) -> bool {
    headers.contains_key("ce-specversion")
}

/// The event in its JSON form.
pub fn event(headers: &HeaderMap, bytes: Bytes) -> Result<String, Problem> {
    let mut attributes = Vec::new();
    for name in headers.keys() {
        let Some(attribute) = name.as_str().strip_prefix(PREFIX) else {
            continue;
        };
        let mut values = headers.get_all(name).iter();
        let value = match (values.next().map(|value| value.to_str()), values.next()) {
            (Some(Ok(value)), None) => decoded(value),
            _ => None,
        };
        let value = value.ok_or_else(|| {
            Problem::invalid(format!(
                "The header `{name}` has to be given once, in ASCII or percent-encoded UTF-8."
            ))
        })?;
        attributes.push((attribute.to_owned(), value));
    }
    if let Some(kind) = headers.get(CONTENT_TYPE) {
        let kind = kind
            .to_str()
            .map_err(|_| Problem::invalid("The Content-Type is not ASCII."))?;
        attributes.push(("datacontenttype".into(), kind.to_owned()));
    }
    let event = Event {
        attributes,
        data: data(headers, bytes)?,
    };
    serde_json::to_string(&event).map_err(|error| Problem::internal(&error))
}

enum Data {
    None,
    Json(Box<RawValue>),
    Text(String),
    Bytes(Bytes),
}

/// JSON stays as it is, text becomes a string, other bytes are base64.
fn data(headers: &HeaderMap, bytes: Bytes) -> Result<Data, Problem> {
    if bytes.is_empty() {
        return Ok(Data::None);
    }
    match Media::of(headers) {
        Media::Json => {
            let text = JsonText::check(bytes).map_err(|fault| {
                Problem::findings("The event's data is not valid JSON.", vec![fault.into()])
            })?;
            RawValue::from_string(text.to_text())
                .map(Data::Json)
                .map_err(|error| Problem::internal(&error))
        }
        Media::Text | Media::Yaml => match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Data::Text(text.to_owned())),
            Err(_) => Ok(Data::Bytes(bytes)),
        },
        Media::Form | Media::Multipart | Media::Other => Ok(Data::Bytes(bytes)),
    }
}

struct Event {
    attributes: Vec<(String, String)>,
    data: Data,
}

impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in &self.attributes {
            map.serialize_entry(name, value)?;
        }
        match &self.data {
            Data::None => {}
            Data::Json(json) => map.serialize_entry("data", json)?,
            Data::Text(text) => map.serialize_entry("data", text)?,
            Data::Bytes(bytes) => map.serialize_entry("data_base64", &STANDARD.encode(bytes))?,
        }
        map.end()
    }
}

/// A header's value, percent-decoded; quotes around it go.
fn decoded(value: &str) -> Option<String> {
    let value = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value);
    let mut decoded = Vec::with_capacity(value.len());
    let mut bytes = value.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let mut digit = || char::from(bytes.next()?).to_digit(16);
            let pair = digit()? * 16 + digit()?;
            decoded.push(u8::try_from(pair).ok()?);
        } else {
            decoded.push(byte);
        }
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(headers: &[(&'static str, &'static str)], body: &'static [u8]) -> Option<String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        event(&map, Bytes::from_static(body)).ok()
    }

    #[test]
    fn headers_are_attributes_and_the_body_is_data() {
        let id = ("ce-id", "a%20%C3%A9");
        for (kind, body, expected) in [
            (
                "application/json",
                &b"{\"z\": 1.50}"[..],
                r#""data":{"z": 1.50}"#,
            ),
            ("text/plain", b"hi", r#""data":"hi""#),
            ("image/png", b"\x01\x02", r#""data_base64":"AQI=""#),
        ] {
            let made = made(&[id, ("content-type", kind), ("x-other", "1")], body).unwrap();
            let whole = format!(r#"{{"id":"a é","datacontenttype":"{kind}",{expected}}}"#);
            assert_eq!(made, whole);
        }
        assert_eq!(made(&[id], b"").unwrap(), r#"{"id":"a é"}"#);
        assert!(made(&[("ce-id", "%zz")], b"").is_none());
        assert!(made(&[id, id], b"").is_none());
        assert!(made(&[id], b"{").is_none());
    }
}
