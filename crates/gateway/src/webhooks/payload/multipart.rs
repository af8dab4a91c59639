//! `multipart/form-data` (RFC 7578).

use std::convert::Infallible;

use bytes::Bytes;
use multer::{Field, Multipart};
use serde_json::{Map, Value};

use super::{Members, binary};
use crate::problem::Problem;

/// Most parts of one body: each costs more than its bytes.
const MAX_PARTS: usize = 1_000;

/// An object with a string for each field, and `{filename, contentType,
/// base64}` for each file. The body is in memory already, and its size is
/// bounded.
pub async fn read(content_type: &str, bytes: Bytes) -> Result<Value, Problem> {
    let boundary = multer::parse_boundary(content_type)
        .map_err(|_| Problem::invalid("The Content-Type names no `boundary`."))?;
    let whole = futures::stream::once(std::future::ready(Ok::<_, Infallible>(bytes)));
    let mut parts = Multipart::new(whole, boundary);
    let mut members = Members::default();
    let mut count = 0;
    while let Some(part) = parts.next_field().await.map_err(malformed)? {
        count += 1;
        if count > MAX_PARTS {
            return Err(Problem::invalid(format!(
                "The multipart body has more than {MAX_PARTS} parts."
            )));
        }
        let name = part
            .name()
            .map(str::to_owned)
            .ok_or_else(|| Problem::invalid("A part of the multipart body has no `name`."))?;
        members.push(name, value(part).await?);
    }
    Ok(Value::Object(members.into_object()))
}

/// A file is what has a filename; a field's bytes that are no text are shown
/// like a file's.
async fn value(part: Field<'_>) -> Result<Value, Problem> {
    let filename = part.file_name().map(str::to_owned);
    let content_type = part.content_type().map(ToString::to_string);
    let bytes = part.bytes().await.map_err(malformed)?;
    if filename.is_none()
        && let Ok(text) = std::str::from_utf8(&bytes)
    {
        return Ok(text.into());
    }
    let mut members = Map::new();
    members.insert("filename".into(), filename.into());
    binary(&mut members, content_type.as_deref(), &bytes);
    Ok(Value::Object(members))
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn malformed(error: multer::Error) -> Problem {
    Problem::invalid(format!("The multipart body cannot be read: {error}."))
}
