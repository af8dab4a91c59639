//! A webhook's body as JSON: what an execution gets of it.
//!
//! | the body is | and becomes |
//! |---|---|
//! | JSON, or of no type | the JSON, byte by byte |
//! | `text/*` in UTF-8 | a string |
//! | a form | an object; repeated names have an array |
//! | a multipart form | the same; a file is `{filename, contentType, base64}` |
//! | anything else | `{contentType, base64}` |
//! | empty | `null` |

mod form;
mod members;
mod multipart;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value};

use crate::json::JsonText;
use crate::media::Media;
use crate::problem::Problem;

pub use members::Members;

/// Reads a body by its `Content-Type`.
pub async fn read(headers: &HeaderMap, bytes: Bytes) -> Result<JsonText, Problem> {
    let value = match Media::of(headers) {
        _ if bytes.is_empty() => return Ok(JsonText::null()),
        Media::Form => form::read(&bytes),
        Media::Multipart => {
            multipart::read(content_type(headers).unwrap_or_default(), bytes).await?
        }
        media if is_plain(media, headers) => return plain(headers, bytes),
        _ => {
            let mut members = Map::new();
            binary(&mut members, content_type(headers), &bytes);
            Value::Object(members)
        }
    };
    Ok(JsonText::serialized(value.to_string()))
}

/// Reads a body that has to be JSON or text: JSON as it was sent, text as a
/// JSON string, nothing as `null`.
pub fn plain(headers: &HeaderMap, bytes: Bytes) -> Result<JsonText, Problem> {
    if bytes.is_empty() {
        return Ok(JsonText::null());
    }
    match Media::of(headers) {
        Media::Json => JsonText::check(bytes)
            .map_err(|fault| Problem::findings("The body is not valid JSON.", vec![fault.into()])),
        media if is_plain(media, headers) => match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(JsonText::string(text)),
            Err(_) => Err(Problem::invalid("The body is not UTF-8 text.")),
        },
        _ => Err(Problem::media_type("application/json or text/plain")),
    }
}

/// JSON or text. YAML under a text type is text like any other here.
fn is_plain(media: Media, headers: &HeaderMap) -> bool {
    match media {
        Media::Json | Media::Text => true,
        Media::Yaml => is_text(headers),
        Media::Form | Media::Multipart | Media::Other => false,
    }
}

/// `contentType` and `base64` of bytes that are not looked into.
fn binary(members: &mut Map<String, Value>, content_type: Option<&str>, bytes: &[u8]) {
    members.insert("contentType".into(), content_type.into());
    members.insert("base64".into(), STANDARD.encode(bytes).into());
}

/// As it was sent; `None` when it is not text.
fn content_type(headers: &HeaderMap) -> Option<&str> {
    headers.get(CONTENT_TYPE)?.to_str().ok()
}

fn is_text(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().get(..5))
        .is_some_and(|start| start.eq_ignore_ascii_case(b"text/"))
}
