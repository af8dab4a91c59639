//! To and from `serde_json`, for those who already hold one.

use super::{Value, array, number, object, parse_number};

/// The same value. Numbers keep their digits.
pub fn from_serde(value: &serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(b) => (*b).into(),
        serde_json::Value::Number(n) => Value::Num(parse_number(&n.to_string())),
        serde_json::Value::String(s) => s.as_str().into(),
        serde_json::Value::Array(a) => array(a.iter().map(from_serde)),
        serde_json::Value::Object(o) => object(o.iter().map(|(k, v)| (k.as_str(), from_serde(v)))),
    }
}

/// The same value. NaN and the infinities become what [`super::to_json`] writes.
pub fn to_serde(value: &Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(b) => (*b).into(),
        Value::Num(n) => {
            let mut text = String::new();
            // Writing to a string does not fail.
            let _ = number::write(n, &mut text);
            text.parse::<serde_json::Number>()
                .map_or(serde_json::Value::Null, serde_json::Value::Number)
        }
        Value::Str(s) => s.as_str().into(),
        Value::Arr(a) => a.items().iter().map(to_serde).collect(),
        Value::Obj(o) => o.iter().map(|(k, v)| (k.to_owned(), to_serde(v))).collect(),
    }
}
