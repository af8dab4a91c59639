//! What becomes the input of an execution.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Uri, header};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use millrace_signature::spec::Place;

use crate::json::JsonText;
use crate::media::Media;
use crate::problem::Problem;

/// Headers that carry credentials; they are never handed to a workflow, whose
/// input is stored.
const CREDENTIALS: [HeaderName; 3] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
];

/// JSON as it was sent, text as a JSON string, nothing as `null`.
pub fn of_body(headers: &HeaderMap, bytes: Bytes) -> Result<JsonText, Problem> {
    if bytes.is_empty() {
        return Ok(JsonText::null());
    }
    match Media::of(headers) {
        Media::Json => JsonText::check(bytes)
            .map_err(|fault| Problem::findings("The body is not valid JSON.", vec![fault.into()])),
        // YAML under a text type is text like any other here.
        Media::Text | Media::Yaml if is_text(headers) => match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(JsonText::string(text)),
            Err(_) => Err(Problem::invalid("The body is not UTF-8 text.")),
        },
        Media::Text | Media::Yaml | Media::Other => {
            Err(Problem::media_type("application/json or text/plain"))
        }
    }
}

fn is_text(headers: &HeaderMap) -> bool {
    headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.as_bytes().get(..5))
        .is_some_and(|start| start.eq_ignore_ascii_case(b"text/"))
}

/// `{method, path, params, query, headers, body}`. What `credential` names is
/// left out, as are the headers that always carry credentials.
pub fn of_request(
    method: &Method,
    uri: &Uri,
    path: &str,
    params: &RawValue,
    headers: &HeaderMap,
    credential: Option<&Place>,
    bytes: Bytes,
) -> Result<JsonText, Problem> {
    #[derive(Serialize)]
    struct Request<'a> {
        method: &'a str,
        path: &'a str,
        params: &'a RawValue,
        query: QueryMembers<'a>,
        headers: HeaderMembers<'a>,
        body: Box<RawValue>,
    }
    let body = RawValue::from_string(of_body(headers, bytes)?.to_text())
        .map_err(|error| Problem::internal(&error))?;
    let request = Request {
        method: method.as_str(),
        path,
        params,
        query: QueryMembers {
            uri,
            secret: match credential {
                Some(Place::Query(name)) => Some(name),
                _ => None,
            },
        },
        headers: HeaderMembers {
            headers,
            secret: match credential {
                Some(Place::Header(name)) => Some(name),
                _ => None,
            },
        },
        body,
    };
    serde_json::to_string(&request)
        .map(JsonText::serialized)
        .map_err(|error| Problem::internal(&error))
}

/// A string for each parameter, an array of strings where it is repeated.
struct QueryMembers<'a> {
    uri: &'a Uri,
    secret: Option<&'a String>,
}

impl Serialize for QueryMembers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = self.uri.query().unwrap_or_default();
        let mut members: Vec<(String, Vec<String>)> = Vec::new();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            if self.secret.is_some_and(|secret| *secret == name) {
                continue;
            }
            match members.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => values.push(value.into_owned()),
                None => members.push((name.into_owned(), vec![value.into_owned()])),
            }
        }
        let mut map = serializer.serialize_map(Some(members.len()))?;
        for (name, values) in &members {
            match values.as_slice() {
                [one] => map.serialize_entry(name, one)?,
                many => map.serialize_entry(name, many)?,
            }
        }
        map.end()
    }
}

/// Names in lower case; repeated ones joined with a comma.
struct HeaderMembers<'a> {
    headers: &'a HeaderMap,
    secret: Option<&'a HeaderName>,
}

impl Serialize for HeaderMembers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        let shown = |name: &&HeaderName| !CREDENTIALS.contains(name) && self.secret != Some(name);
        for name in self.headers.keys().filter(shown) {
            let values: Vec<_> = self
                .headers
                .get_all(name)
                .iter()
                .map(|value| String::from_utf8_lossy(value.as_bytes()))
                .collect();
            map.serialize_entry(name.as_str(), &values.join(", "))?;
        }
        map.end()
    }
}
