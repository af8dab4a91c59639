//! What a generic HMAC is computed over.

use http::HeaderName;

/// A piece of the signed bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Part {
    Literal(String),
    /// The body, byte by byte as received.
    Body,
    /// The text of the timestamp header.
    Timestamp,
    /// In capitals.
    Method,
    /// As received, before the `?`.
    Path,
    /// As received, after the `?`; empty without one.
    Query,
    /// The text of a header, which must stand exactly once.
    Header(HeaderName),
}

/// The signed bytes of a request, such as `{timestamp}.{body}`. `{{` and `}}`
/// stand for braces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

const KNOWN: &str = "{body}, {timestamp}, {method}, {path}, {query} and {header:NAME}";

impl Template {
    /// Reads a template; the error says how to mend it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if rest.starts_with("{{") || rest.starts_with("}}") {
                literal.push(c);
                rest = &rest[2..];
            } else if c == '{' {
                let Some(end) = rest.find('}') else {
                    return Err("a `{` is not closed; write `{{` for a brace".to_owned());
                };
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(placeholder(&rest[1..end])?);
                rest = &rest[end + 1..];
            } else if c == '}' {
                return Err("a `}` closes nothing; write `}}` for a brace".to_owned());
            } else {
                literal.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        if !parts.contains(&Part::Body) {
            return Err(
                "it must contain {body}: a body that is not signed can be exchanged".to_owned(),
            );
        }
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Whether the time of signing is signed.
    pub fn signs_time(&self) -> bool {
        self.parts.contains(&Part::Timestamp)
    }
}

fn placeholder(name: &str) -> Result<Part, String> {
    Ok(match name {
        "body" => Part::Body,
        "timestamp" => Part::Timestamp,
        "method" => Part::Method,
        "path" => Part::Path,
        "query" => Part::Query,
        _ => match name.strip_prefix("header:") {
            Some(header) => Part::Header(
                header
                    .parse()
                    .map_err(|_| format!("`{header}` is not the name of a header"))?,
            ),
            None => return Err(format!("`{{{name}}}` is not known; known: {KNOWN}")),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_taken_apart() {
        let template = Template::parse("v0:{timestamp}:{{{header:X-Id}}}{body}").unwrap();
        assert_eq!(
            template.parts(),
            [
                Part::Literal("v0:".into()),
                Part::Timestamp,
                Part::Literal(":{".into()),
                Part::Header(HeaderName::from_static("x-id")),
                Part::Literal("}".into()),
                Part::Body,
            ]
        );
        assert!(template.signs_time());
    }

    #[test]
    fn a_faulty_template_is_refused_with_a_hint() {
        for (text, hint) in [
            ("{timestamp}", "{body}"),
            ("", "{body}"),
            ("{body", "not closed"),
            ("body}", "closes nothing"),
            ("{bdy}", "known: {body}"),
            ("{header:a b}{body}", "name of a header"),
        ] {
            let why = Template::parse(text).unwrap_err();
            assert!(why.contains(hint), "{text}: {why}");
        }
    }
}
