//! CloudEvents 1.0 in their JSON form.

use bytes::Bytes;
use millrace_engine::event::{MAX_ATTRIBUTE, MAX_DEPTH, attribute_fault, is_attribute_name};
use millrace_proto::Finding;
use serde_json::{Map, Value};

use crate::deployment::settings::{escape, finding};

/// An event that has been checked.
#[derive(Debug, Clone)]
pub(crate) struct CloudEvent {
    /// As it was sent. Clones share it.
    pub text: Bytes,
    pub id: String,
    pub source: String,
    pub kind: String,
    /// All members, `data` too.
    pub members: Map<String, Value>,
}

impl CloudEvent {
    /// Reads one event, which stands at `pointer` in the posted body; all
    /// faults at once.
    pub fn read(text: impl Into<Bytes>, pointer: &str) -> Result<Self, Vec<Finding>> {
        let text = text.into();
        let members: Map<String, Value> = serde_json::from_slice(&text).map_err(|error| {
            vec![finding(
                pointer,
                &format!("an event is a JSON object: {error}"),
            )]
        })?;
        let mut faults = Vec::new();
        if members
            .values()
            .any(|value| is_deeper(value, MAX_DEPTH - 1))
        {
            let why = format!("is nested deeper than {MAX_DEPTH} levels");
            faults.push(finding(pointer, &why));
        }
        for (name, value) in &members {
            if let Err(why) = check(name, value) {
                faults.push(finding(&format!("{pointer}/{}", escape(name)), &why));
            }
        }
        let mut required = |name: &str| match members.get(name) {
            Some(Value::String(text)) if !text.is_empty() => text.clone(),
            Some(_) => String::new(),
            None => {
                faults.push(finding(pointer, &format!("needs the attribute `{name}`")));
                String::new()
            }
        };
        required("specversion");
        let (id, source, kind) = (required("id"), required("source"), required("type"));
        if members.contains_key("data") && members.contains_key("data_base64") {
            let why = "has `data` as well as `data_base64`";
            faults.push(finding(&format!("{pointer}/data_base64"), why));
        }
        if faults.is_empty() {
            Ok(Self {
                text,
                id,
                source,
                kind,
                members,
            })
        } else {
            Err(faults)
        }
    }
}

fn is_deeper(value: &Value, levels: u16) -> bool {
    let deeper = |inner: &Value| is_deeper(inner, levels - 1);
    match value {
        Value::Array(items) => levels == 0 || items.iter().any(deeper),
        Value::Object(members) => levels == 0 || members.values().any(deeper),
        _ => false,
    }
}

fn check(name: &str, value: &Value) -> Result<(), String> {
    if name == "data" {
        return Ok(());
    }
    if name == "data_base64" {
        return match value {
            Value::String(_) => Ok(()),
            _ => Err("must be a string of base64".into()),
        };
    }
    if !is_attribute_name(name) {
        return Err(format!(
            "`{name}` is not the name of an attribute, which has lower-case letters and digits only"
        ));
    }
    let is_required = matches!(name, "id" | "source" | "type" | "specversion");
    match value {
        Value::String(text) if name == "specversion" && text != "1.0" => {
            Err(format!("the version `{text}` is not supported; 1.0 is"))
        }
        Value::String(text) if is_required && text.is_empty() => Err("must not be empty".into()),
        Value::String(text) if text.len() > MAX_ATTRIBUTE => {
            Err(format!("must have at most {MAX_ATTRIBUTE} bytes"))
        }
        Value::String(text) => attribute_fault(text).map_or(Ok(()), Err),
        _ if is_required => Err("must be a string".into()),
        // A null member stands for an attribute that is not there.
        Value::Null | Value::Bool(_) => Ok(()),
        Value::Number(number) if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {
            Ok(())
        }
        _ => Err("must be a string, a boolean or a whole number of 32 bits".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(event: &Value) -> Vec<String> {
        let faults = CloudEvent::read(event.to_string(), "/0").unwrap_err();
        faults.into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn an_event_is_kept_as_it_was_sent() {
        let text = r#"{"specversion":"1.0", "id":"1","source":"/s","type":"t","ext":true,"n":5,"none":null,"data":{"z":1.50}}"#;
        let event = CloudEvent::read(text, "").unwrap();
        assert_eq!(event.text, text);
        assert_eq!((&*event.id, &*event.source, &*event.kind), ("1", "/s", "t"));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |levels: u16| {
            let levels = usize::from(levels);
            let data = "[".repeat(levels) + &"]".repeat(levels);
            let event = format!(
                r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t","data":{data}}}"#
            );
            CloudEvent::read(event, "").map(|_| ())
        };
        assert!(nested(MAX_DEPTH - 1).is_ok());
        assert_eq!(nested(MAX_DEPTH).unwrap_err()[0].pointer, "");
    }

    #[test]
    fn every_fault_is_named_at_its_place() {
        for (event, places) in [
            (json!([]), &["/0"][..]),
            (json!({"specversion": "1.0", "id": "1"}), &["/0", "/0"]),
            (
                json!({"specversion": "0.3", "id": "", "source": 1, "type": "t"}),
                &["/0/specversion", "/0/id", "/0/source"],
            ),
            (
                json!({"specversion": "1.0", "id": "1", "source": "s", "type": "t", "Ext": "x",
                    "list": [], "big": 4_294_967_296_u64, "data": 1, "data_base64": ""}),
                &["/0/Ext", "/0/list", "/0/big", "/0/data_base64"],
            ),
            (
                json!({"specversion": "1.0", "id": "1", "source": "s", "type": "t\0",
                    "subject": "a\nb", "data": "\0"}),
                &["/0/type", "/0/subject"],
            ),
        ] {
            assert_eq!(faults(&event), places, "{event}");
        }
    }
}
