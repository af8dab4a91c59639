//! What came back.

use bytes::Bytes;
use url::Url;

use crate::value::{InvalidJson, Value, from_json, string};

/// An answer, of whatever status.
#[derive(Debug, Clone)]
pub struct HttpAnswer {
    /// The status code.
    pub status: u16,
    /// Headers in order, names in lower case; bytes that are no text are
    /// replaced.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
    /// The `Content-Type`, if there is one.
    pub content_type: Option<String>,
    /// Where the answer came from, after redirects.
    pub url: Url,
}

impl HttpAnswer {
    /// Whether the status is 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The first header of that name, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the content type says JSON, such as `application/problem+json`.
    pub fn is_json(&self) -> bool {
        let media = self
            .content_type
            .as_deref()
            .and_then(|t| t.split(';').next());
        let media = media.unwrap_or_default().trim().to_ascii_lowercase();
        media == "application/json" || media == "text/json" || media.ends_with("+json")
    }

    /// The body as JSON, whatever its type.
    pub fn json(&self) -> Result<Value, InvalidJson> {
        from_json(&self.body)
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as its content type says: JSON, or else text; null if empty.
    /// JSON that is none is text.
    pub fn content(&self) -> Value {
        if self.body.is_empty() {
            return Value::Null;
        }
        let json = self.is_json().then(|| self.json().ok()).flatten();
        json.unwrap_or_else(|| string(self.text()))
    }
}
