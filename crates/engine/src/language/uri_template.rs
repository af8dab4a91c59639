//! URI templates (RFC 6570), filled from the top-level scalars of a value.

use std::fmt::Write as _;
use std::sync::Arc;

use serde_json::Value;

/// A parsed URI template. One without variables is a plain address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UriTemplate {
    source: Arc<str>,
    parts: Arc<[Part]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Expression {
        operator: Operator,
        variables: Box<[Variable]>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Variable {
    name: Box<str>,
    /// Only so many characters of the value.
    prefix: Option<usize>,
}

/// How an expression writes its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Operator {
    /// Before the first value.
    first: &'static str,
    /// Between values.
    separator: &'static str,
    /// Whether `name=` comes before the value.
    named: bool,
    /// What follows the name of an empty value.
    when_empty: &'static str,
    /// Whether reserved characters are kept as they are.
    reserved: bool,
}

impl Operator {
    const SIMPLE: Self = Self {
        first: "",
        separator: ",",
        named: false,
        when_empty: "",
        reserved: false,
    };

    /// The operator that starts an expression, and whether it has a sign.
    fn read(sign: char) -> Option<Self> {
        let plain = Self::SIMPLE;
        Some(match sign {
            '+' => Self {
                reserved: true,
                ..plain
            },
            '#' => Self {
                first: "#",
                reserved: true,
                ..plain
            },
            '.' => Self {
                first: ".",
                separator: ".",
                ..plain
            },
            '/' => Self {
                first: "/",
                separator: "/",
                ..plain
            },
            ';' => Self {
                first: ";",
                separator: ";",
                named: true,
                ..plain
            },
            '?' => Self {
                first: "?",
                separator: "&",
                named: true,
                when_empty: "=",
                ..plain
            },
            '&' => Self {
                first: "&",
                separator: "&",
                named: true,
                when_empty: "=",
                ..plain
            },
            _ => return None,
        })
    }
}

/// Why a text is no URI template.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UriTemplateError {
    #[error("`{{` without its `}}`")]
    Unclosed,
    #[error("`}}` without its `{{`")]
    Unopened,
    #[error("`{0}` is not a variable name of a URI template")]
    Name(String),
}

/// Why a template cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "variable `{name}` of the URI template is {kind}; it must be a string, a number, a boolean or null"
)]
pub struct UriExpansionError {
    pub name: String,
    pub kind: &'static str,
}

impl UriTemplate {
    pub fn parse(source: &str) -> Result<Self, UriTemplateError> {
        let mut parts = Vec::new();
        let mut rest = source;
        while let Some(at) = rest.find(['{', '}']) {
            if rest[at..].starts_with('}') {
                return Err(UriTemplateError::Unopened);
            }
            if at > 0 {
                parts.push(Part::Literal(rest[..at].into()));
            }
            let inside = &rest[at + 1..];
            let end = inside.find('}').ok_or(UriTemplateError::Unclosed)?;
            parts.push(expression(&inside[..end])?);
            rest = &inside[end + 1..];
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.into()));
        }
        Ok(Self {
            source: source.into(),
            parts: parts.into(),
        })
    }

    /// The template as written.
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether there is nothing to fill in.
    pub fn is_plain(&self) -> bool {
        self.parts
            .iter()
            .all(|part| matches!(part, Part::Literal(_)))
    }

    /// Fills the template in from the properties of `input`. What `input`
    /// lacks, or has as null, is left out.
    pub fn expand(&self, input: &Value) -> Result<String, UriExpansionError> {
        let mut text = String::with_capacity(self.source.len() + 16);
        for part in &*self.parts {
            match part {
                Part::Literal(literal) => encode(literal, true, &mut text),
                Part::Expression {
                    operator,
                    variables,
                } => {
                    fill(*operator, variables, input, &mut text)?;
                }
            }
        }
        Ok(text)
    }
}

fn expression(inside: &str) -> Result<Part, UriTemplateError> {
    let sign = inside.chars().next().and_then(Operator::read);
    let names = if sign.is_some() { &inside[1..] } else { inside };
    let variables = names
        .split(',')
        .map(variable)
        .collect::<Result<Box<[_]>, _>>()?;
    Ok(Part::Expression {
        operator: sign.unwrap_or(Operator::SIMPLE),
        variables,
    })
}

fn variable(spec: &str) -> Result<Variable, UriTemplateError> {
    let wrong = || UriTemplateError::Name(spec.to_owned());
    // Explode changes nothing for scalars.
    let bare = spec.strip_suffix('*').unwrap_or(spec);
    let (name, prefix) = match bare.split_once(':') {
        Some((name, length)) => {
            let length = length.parse::<usize>().map_err(|_| wrong())?;
            ((1..10_000).contains(&length))
                .then_some(())
                .ok_or_else(wrong)?;
            (name, Some(length))
        }
        None => (bare, None),
    };
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '%' | '-');
    if name.is_empty() || !name.chars().all(fits) || name.starts_with('.') {
        return Err(wrong());
    }
    Ok(Variable {
        name: name.into(),
        prefix,
    })
}

fn fill(
    operator: Operator,
    variables: &[Variable],
    input: &Value,
    text: &mut String,
) -> Result<(), UriExpansionError> {
    let mut first = true;
    for variable in variables {
        let Some(value) = scalar(input, &variable.name)? else {
            continue;
        };
        text.push_str(if first {
            operator.first
        } else {
            operator.separator
        });
        first = false;
        let value = match variable.prefix {
            Some(length) => value.chars().take(length).collect(),
            None => value,
        };
        if operator.named {
            text.push_str(&variable.name);
            text.push_str(if value.is_empty() {
                operator.when_empty
            } else {
                "="
            });
        }
        encode(&value, operator.reserved, text);
    }
    Ok(())
}

fn scalar(input: &Value, name: &str) -> Result<Option<String>, UriExpansionError> {
    let wrong = |kind| UriExpansionError {
        name: name.to_owned(),
        kind,
    };
    Ok(match input.get(name) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Bool(is)) => Some(is.to_string()),
        Some(Value::Number(number)) => Some(number.to_string()),
        Some(Value::Array(_)) => return Err(wrong("an array")),
        Some(Value::Object(_)) => return Err(wrong("an object")),
    })
}

/// Percent-encodes all but unreserved characters, and, if wanted, all but
/// reserved ones and what is encoded already.
fn encode(value: &str, keep_reserved: bool, text: &mut String) {
    let bytes = value.as_bytes();
    let hex = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_hexdigit);
    for (at, &byte) in bytes.iter().enumerate() {
        let keep = byte.is_ascii_alphanumeric()
            || b"-._~".contains(&byte)
            || (keep_reserved
                && (b":/?#[]@!$&'()*+,;=".contains(&byte)
                    || (byte == b'%' && hex(at + 1) && hex(at + 2))));
        if keep {
            text.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn expand(template: &str) -> String {
        let input = json!({
            "id": 7, "name": "a b/c", "yes": true, "none": null, "empty": "", "big": 10,
            "path": "/foo/bar", "ü": "ö"
        });
        UriTemplate::parse(template)
            .unwrap_or_else(|e| panic!("{template}: {e}"))
            .expand(&input)
            .unwrap_or_else(|e| panic!("{template}: {e}"))
    }

    #[test]
    fn each_operator_writes_its_values() {
        for (template, expected) in [
            ("https://acme.com/pets/{id}", "https://acme.com/pets/7"),
            ("/{name}/{yes}", "/a%20b%2Fc/true"),
            ("/{none}{missing}/", "//"),
            ("{+path}/here", "/foo/bar/here"),
            ("/x{#path,id}", "/x#/foo/bar,7"),
            ("/x{.id,yes}", "/x.7.true"),
            ("{/id,name}", "/7/a%20b%2Fc"),
            ("/x{;id,empty}", "/x;id=7;empty"),
            ("/x{?id,missing,empty}", "/x?id=7&empty="),
            ("/x?fixed=1{&id}", "/x?fixed=1&id=7"),
            ("/{name:1}/{id*}", "/a/7"),
            ("/{ü}", "/%C3%B6"),
            (
                "https://acme.com/a?b=c&d=%20#e",
                "https://acme.com/a?b=c&d=%20#e",
            ),
        ] {
            assert_eq!(expand(template), expected, "{template}");
        }
    }

    #[test]
    fn broken_templates_are_refused() {
        for (template, error) in [
            ("/{id", UriTemplateError::Unclosed),
            ("/id}", UriTemplateError::Unopened),
            ("/{}", UriTemplateError::Name(String::new())),
            ("/{a b}", UriTemplateError::Name("a b".into())),
            ("/{a,}", UriTemplateError::Name(String::new())),
            ("/{.a.b:x}", UriTemplateError::Name("a.b:x".into())),
        ] {
            assert_eq!(UriTemplate::parse(template), Err(error), "{template}");
        }
    }

    #[test]
    fn only_scalars_can_be_filled_in() {
        let template = UriTemplate::parse("/{tags}").expect("parses");
        let error = template
            .expand(&json!({"tags": [1]}))
            .expect_err("an array");
        assert_eq!((error.name.as_str(), error.kind), ("tags", "an array"));
    }
}
