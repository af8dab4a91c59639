//! A deployment's settings, the `config` of its body.

mod limits;

use std::collections::BTreeMap;

use millrace_proto::Finding;
use millrace_store::DeploymentSettings;
use serde_json::Value;

/// Settings that have been checked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Settings {
    pub labels: BTreeMap<String, String>,
    pub executions: DeploymentSettings,
    /// What was taken otherwise than it was written.
    pub warnings: Vec<Finding>,
}

/// All that can be set.
const KNOWN: [&str; 5] = ["concurrency", "labels", "priority", "retention", "timeout"];

/// Labels on one deployment at most.
const MAX_LABELS: usize = 64;

/// Longest name or value of a label, in bytes, as Kubernetes has it.
const MAX_LABEL: usize = 63;

/// Reads settings; `pointer` is where they stand in the posted body.
pub(crate) fn read(config: &Value, pointer: &str) -> Result<Settings, Vec<Finding>> {
    let Value::Object(members) = config else {
        return Err(vec![finding(
            pointer,
            "settings are a JSON object, such as {\"labels\": {}}",
        )]);
    };
    let mut settings = Settings::default();
    let mut findings = Vec::new();
    for (key, value) in members {
        let at = format!("{pointer}/{}", escape(key));
        match key.as_str() {
            "labels" => read_labels(value, &at, &mut settings.labels, &mut findings),
            "concurrency" => {
                settings.executions.concurrency = limits::concurrency(value, &at, &mut findings);
            }
            "timeout" => limits::timeout(value, &at, &mut settings.executions, &mut findings),
            "retention" => limits::retention(value, &at, &mut settings, &mut findings),
            "priority" => {
                settings.executions.priority = limits::priority(value, &at, &mut findings);
            }
            _ => findings.push(finding(
                &at,
                &format!("unknown setting `{key}`; known: {}", KNOWN.join(", ")),
            )),
        }
    }
    if findings.is_empty() {
        Ok(settings)
    } else {
        Err(findings)
    }
}

fn read_labels(
    value: &Value,
    at: &str,
    labels: &mut BTreeMap<String, String>,
    findings: &mut Vec<Finding>,
) {
    let Value::Object(members) = value else {
        findings.push(finding(at, "labels are an object of strings"));
        return;
    };
    if members.len() > MAX_LABELS {
        findings.push(finding(at, &format!("at most {MAX_LABELS} labels")));
        return;
    }
    for (name, value) in members {
        let at = format!("{at}/{}", escape(name));
        match value {
            Value::String(text)
                if text.len() <= MAX_LABEL && (1..=MAX_LABEL).contains(&name.len()) =>
            {
                labels.insert(name.clone(), text.clone());
            }
            Value::String(_) => findings.push(finding(
                &at,
                &format!("a label's name has 1 to {MAX_LABEL} bytes, its value up to {MAX_LABEL}"),
            )),
            _ => findings.push(finding(&at, "a label's value is a string")),
        }
    }
}

/// A key as a segment of a JSON pointer (RFC 6901).
pub(crate) fn escape(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

pub(crate) fn finding(pointer: &str, message: &str) -> Finding {
    Finding {
        pointer: pointer.to_owned(),
        line: 0,
        column: 0,
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_are_read() {
        let settings = read(&json!({"labels": {"team": "orders"}}), "/config").unwrap();
        assert_eq!(settings.labels["team"], "orders");
    }

    #[test]
    fn every_fault_is_found_at_its_place() {
        let faults = read(
            &json!({"label": {}, "priority": 300, "labels": {"a/b": 1, "": "x"}}),
            "/config",
        )
        .unwrap_err();
        let places: Vec<_> = faults.iter().map(|f| f.pointer.as_str()).collect();
        assert_eq!(
            places,
            [
                "/config/label",
                "/config/priority",
                "/config/labels/a~1b",
                "/config/labels/"
            ]
        );
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        assert!(read(&json!([]), "/config").is_err());
    }
}
