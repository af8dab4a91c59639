//! What a body is, by its `Content-Type`.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// The sorts of bodies that the gateway tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Media {
    /// `application/json`, `…+json`, and bodies that do not say.
    Json,
    Yaml,
    /// `text/*` in UTF-8.
    Text,
    /// `application/x-www-form-urlencoded`
    Form,
    /// `multipart/form-data`
    Multipart,
    Other,
}

const YAML: [&str; 4] = [
    "application/yaml",
    "application/x-yaml",
    "text/yaml",
    "text/x-yaml",
];

impl Media {
    pub fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(CONTENT_TYPE) else {
            return Self::Json;
        };
        let Ok(value) = value.to_str() else {
            return Self::Other;
        };
        let mut parts = value.split(';').map(str::trim);
        let essence = parts.next().unwrap_or_default();
        let utf8 = parts.all(|parameter| match parameter.split_once('=') {
            Some((name, charset)) if name.trim().eq_ignore_ascii_case("charset") => {
                let charset = charset.trim().trim_matches('"');
                ["utf-8", "utf8", "us-ascii"]
                    .iter()
                    .any(|name| charset.eq_ignore_ascii_case(name))
            }
            _ => true,
        });
        let is = |name: &str| essence.eq_ignore_ascii_case(name);
        if is("multipart/form-data") {
            return Self::Multipart;
        }
        if !utf8 {
            return Self::Other;
        }
        let ends = |suffix: &str| {
            essence.len() > suffix.len()
                && essence
                    .get(essence.len() - suffix.len()..)
                    .is_some_and(|end| end.eq_ignore_ascii_case(suffix))
        };
        if is("application/json") || is("text/json") || ends("+json") {
            Self::Json
        } else if YAML.into_iter().any(is) || ends("+yaml") {
            Self::Yaml
        } else if is("application/x-www-form-urlencoded") {
            Self::Form
        } else if essence
            .get(..5)
            .is_some_and(|start| start.eq_ignore_ascii_case("text/"))
        {
            Self::Text
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_told_apart() {
        for (text, expected) in [
            ("application/json", Media::Json),
            ("Application/JSON; charset=UTF-8", Media::Json),
            ("application/cloudevents+json", Media::Json),
            ("application/yaml", Media::Yaml),
            ("application/x-yaml", Media::Yaml),
            ("text/yaml", Media::Yaml),
            ("text/plain", Media::Text),
            ("text/plain; charset=\"utf-8\"", Media::Text),
            ("text/plain; charset=latin1", Media::Other),
            ("application/x-www-form-urlencoded", Media::Form),
            ("multipart/form-data; boundary=x", Media::Multipart),
            ("multipart/mixed; boundary=x", Media::Other),
            ("ü", Media::Other),
            ("", Media::Other),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(
                CONTENT_TYPE,
                http::HeaderValue::from_bytes(text.as_bytes()).unwrap(),
            );
            assert_eq!(Media::of(&headers), expected, "{text}");
        }
        assert_eq!(Media::of(&HeaderMap::new()), Media::Json);
    }
}
