//! What changes from one JSON value to another, place by place.

use serde::Serialize;
use serde_json::Value;

use crate::deployment::settings::escape;

/// Changes that are named at most; beyond them a plan says that there are more.
pub(super) const MAX_CHANGES: usize = 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Op {
    Add,
    Remove,
    Replace,
}

/// One place at which the values differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Change {
    pub op: Op,
    pub pointer: String,
    /// `null` when there was nothing.
    pub before: Value,
    /// `null` when there will be nothing.
    pub after: Value,
}

/// Changes so far, and whether there are more than are kept.
#[derive(Debug, Default)]
pub(super) struct Changes {
    pub found: Vec<Change>,
    pub truncated: bool,
}

impl Changes {
    /// Compares what stands at `pointer`. Objects are compared by key,
    /// arrays by place; members of the old value come first, in its order.
    pub fn compare(&mut self, pointer: &str, before: Option<&Value>, after: Option<&Value>) {
        match (before, after) {
            (None, None) => {}
            (Some(before), None) => self.push(Op::Remove, pointer, Some(before), None),
            (None, Some(after)) => self.push(Op::Add, pointer, None, Some(after)),
            (Some(before), Some(after)) if before == after => {}
            (Some(Value::Object(before)), Some(Value::Object(after))) => {
                for (key, old) in before {
                    let at = format!("{pointer}/{}", escape(key));
                    self.compare(&at, Some(old), after.get(key));
                }
                for (key, new) in after {
                    if !before.contains_key(key) {
                        let at = format!("{pointer}/{}", escape(key));
                        self.compare(&at, None, Some(new));
                    }
                }
            }
            (Some(Value::Array(before)), Some(Value::Array(after))) => {
                for index in 0..before.len().max(after.len()) {
                    let at = format!("{pointer}/{index}");
                    self.compare(&at, before.get(index), after.get(index));
                }
            }
            (before, after) => self.push(Op::Replace, pointer, before, after),
        }
    }

    pub fn push(&mut self, op: Op, pointer: &str, before: Option<&Value>, after: Option<&Value>) {
        if self.found.len() == MAX_CHANGES {
            self.truncated = true;
            return;
        }
        self.found.push(Change {
            op,
            pointer: pointer.to_owned(),
            before: before.cloned().unwrap_or(Value::Null),
            after: after.cloned().unwrap_or(Value::Null),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn changes(before: &Value, after: &Value) -> Value {
        let mut changes = Changes::default();
        changes.compare("/workflow", Some(before), Some(after));
        serde_json::to_value(changes.found).unwrap()
    }

    #[test]
    fn each_place_that_differs_is_named_once() {
        let before = json!({"do": [{"a": {"set": {"x": 1}}}, {"b": 1}], "gone": true});
        let after = json!({"do": [{"a": {"set": {"x": 2, "y/z": 3}}}], "new": null});
        assert_eq!(
            changes(&before, &after),
            json!([
                {"op": "replace", "pointer": "/workflow/do/0/a/set/x", "before": 1, "after": 2},
                {"op": "add", "pointer": "/workflow/do/0/a/set/y~1z", "before": null, "after": 3},
                {"op": "remove", "pointer": "/workflow/do/1", "before": {"b": 1}, "after": null},
                {"op": "remove", "pointer": "/workflow/gone", "before": true, "after": null},
                {"op": "add", "pointer": "/workflow/new", "before": null, "after": null},
            ])
        );
        assert_eq!(changes(&before, &before), json!([]));
    }

    #[test]
    fn there_is_an_end_to_it() {
        let before = Value::Array(vec![json!(1); MAX_CHANGES + 1]);
        let after = Value::Array(vec![json!(2); MAX_CHANGES + 1]);
        let mut found = Changes::default();
        found.compare("", Some(&before), Some(&after));
        assert_eq!((found.found.len(), found.truncated), (MAX_CHANGES, true));
    }
}
