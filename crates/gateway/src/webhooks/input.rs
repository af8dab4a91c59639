//! The whole request as JSON, for workflows and expressions.

use http::{HeaderMap, HeaderName, Method, Uri, header};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use millrace_signature::spec::Place;

use super::payload::Members;
use crate::json::JsonText;
use crate::problem::Problem;

/// Headers that carry credentials; they are never handed to a workflow, whose
/// input is stored.
const CREDENTIALS: [HeaderName; 3] = [
    header::AUTHORIZATION,
    header::PROXY_AUTHORIZATION,
    header::COOKIE,
];

/// `{method, path, params, query, headers, body}`. What `credential` names is
/// left out, as are the headers that always carry credentials.
pub fn of_request(
    method: &Method,
    uri: &Uri,
    path: &str,
    params: &RawValue,
    headers: &HeaderMap,
    credential: Option<&Place>,
    body: &JsonText,
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
    let body = RawValue::from_string(body.to_text()).map_err(|error| Problem::internal(&error))?;
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
        let mut members = Members::default();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            if self.secret.is_none_or(|secret| *secret != name) {
                members.push(name.into_owned(), value.into_owned().into());
            }
        }
        members.into_object().serialize(serializer)
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
