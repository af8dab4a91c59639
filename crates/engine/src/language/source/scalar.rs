//! What an unquoted YAML scalar means: the core schema of YAML 1.2, which has
//! neither `yes` nor `on`.

use serde_json::Number;

use super::{Data, Text};

/// Why a scalar has no JSON value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScalarError {
    #[error("`{0}` is not a number that JSON can hold")]
    NotFinite(String),
    #[error("`{0}` does not fit its tag")]
    Mistagged(String),
}

/// The meaning of an unquoted scalar without a tag.
pub fn resolve(text: &str) -> Result<Data, ScalarError> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Data::Null,
        "true" | "True" | "TRUE" => Data::Bool(true),
        "false" | "False" | "FALSE" => Data::Bool(false),
        _ => match number(text)? {
            Some(number) => Data::Number(number),
            None => plain(text),
        },
    })
}

/// The meaning of a scalar that carries the core tag `!!kind`.
pub fn resolve_as(kind: &str, text: &str) -> Result<Data, ScalarError> {
    if kind == "str" {
        return Ok(plain(text));
    }
    let data = resolve(text)?;
    let fits = match kind {
        "null" => matches!(data, Data::Null),
        "bool" => matches!(data, Data::Bool(_)),
        "int" => matches!(&data, Data::Number(n) if !n.as_str().contains(['.', 'e', 'E'])),
        "float" => matches!(data, Data::Number(_)),
        _ => false,
    };
    if fits {
        Ok(data)
    } else {
        Err(ScalarError::Mistagged(text.to_owned()))
    }
}

fn plain(text: &str) -> Data {
    Data::Text(Text {
        text: text.to_owned(),
        cut_by_comment: false,
    })
}

fn number(text: &str) -> Result<Option<Number>, ScalarError> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(ScalarError::NotFinite(text.to_owned()));
    }
    let json = if let Some(digits) = text.strip_prefix("0x") {
        radix(digits, 16)
    } else if let Some(digits) = text.strip_prefix("0o") {
        radix(digits, 8)
    } else {
        decimal(unsigned).map(|digits| {
            if negative {
                format!("-{digits}")
            } else {
                digits
            }
        })
    };
    // Parsed as JSON, so that the digits stay exactly as they are.
    Ok(json.and_then(|json| serde_json::from_str(&json).ok()))
}

fn radix(digits: &str, radix: u32) -> Option<String> {
    // `from_str_radix` takes a sign, which has no place after the prefix.
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    u128::from_str_radix(digits, radix)
        .ok()
        .map(|value| value.to_string())
}

/// Decimal digits with an optional fraction and exponent, as JSON writes them.
fn decimal(text: &str) -> Option<String> {
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at..])),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction.unwrap_or("")) {
        return None;
    }
    if whole.is_empty() && fraction.is_none_or(str::is_empty) {
        return None;
    }
    let whole = whole.trim_start_matches('0');
    let mut json = String::with_capacity(text.len() + 2);
    json.push_str(if whole.is_empty() { "0" } else { whole });
    if let Some(fraction) = fraction {
        json.push('.');
        json.push_str(if fraction.is_empty() { "0" } else { fraction });
    }
    if let Some(exponent) = exponent {
        let power = exponent[1..]
            .strip_prefix(['+', '-'])
            .unwrap_or(&exponent[1..]);
        if power.is_empty() || !digits(power) {
            return None;
        }
        json.push_str(exponent);
    }
    Some(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> String {
        let data = resolve(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        super::super::Node {
            at: super::super::Position::START,
            data,
        }
        .to_json()
        .to_string()
    }

    #[test]
    fn unquoted_scalars_follow_the_core_schema() {
        for (text, expected) in [
            ("", "null"),
            ("~", "null"),
            ("True", "true"),
            ("yes", "\"yes\""),
            ("on", "\"on\""),
            ("12", "12"),
            ("+12", "12"),
            ("-007", "-7"),
            ("0o17", "15"),
            ("0xff", "255"),
            ("0x+f", "\"0x+f\""),
            ("1.50", "1.50"),
            (".5", "0.5"),
            ("-5.", "-5.0"),
            ("1e3", "1e+3"),
            ("1e", "\"1e\""),
            (".", "\".\""),
            ("-", "\"-\""),
            ("1.0.3", "\"1.0.3\""),
            ("12:30", "\"12:30\""),
            (
                "123456789012345678901234567890.10",
                "123456789012345678901234567890.10",
            ),
        ] {
            assert_eq!(json(text), expected, "{text}");
        }
    }

    #[test]
    fn what_json_cannot_hold_is_refused() {
        for text in [".inf", "-.inf", "+.Inf", ".nan"] {
            assert!(
                matches!(resolve(text), Err(ScalarError::NotFinite(_))),
                "{text}"
            );
        }
    }

    #[test]
    fn core_tags_are_obeyed() {
        assert!(matches!(resolve_as("str", "12"), Ok(Data::Text(text)) if text.text == "12"));
        assert!(matches!(resolve_as("int", "12"), Ok(Data::Number(_))));
        assert!(resolve_as("int", "1.5").is_err());
        assert!(resolve_as("bool", "maybe").is_err());
    }
}
