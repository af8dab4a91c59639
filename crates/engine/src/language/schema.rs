//! JSON Schemas, compiled when the document is read.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::diagnostic::shortened;

/// A compiled JSON Schema. It never fetches anything.
#[derive(Clone)]
pub struct Schema {
    validator: Arc<jsonschema::Validator>,
}

/// One way in which a value does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaViolation {
    /// JSON pointer into the value; empty for the whole of it.
    pub pointer: String,
    pub message: String,
}

/// Why a schema cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct SchemaError {
    /// JSON pointer into the schema.
    pub pointer: String,
    pub message: String,
}

impl Schema {
    /// How many violations of one value are told apart.
    const MAX_VIOLATIONS: usize = 20;

    /// How many characters of a violation's message are kept: it may quote the
    /// whole value.
    const MAX_MESSAGE: usize = 300;

    /// Compiles a schema; draft 2020-12 unless its `$schema` says otherwise.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        if Expansion::of(schema).is_none() {
            return Err(SchemaError {
                pointer: String::new(),
                message: "its references multiply beyond measure".to_owned(),
            });
        }
        let validator = jsonschema::options()
            .offline()
            .build(schema)
            .map_err(|error| SchemaError {
                pointer: error.instance_path().as_str().to_owned(),
                message: shortened(error.to_string(), Self::MAX_MESSAGE),
            })?;
        Ok(Self {
            validator: Arc::new(validator),
        })
    }

    /// Checks a value; the violations are in the order of the value, and
    /// capped.
    pub fn validate(&self, value: &Value) -> Result<(), Vec<SchemaViolation>> {
        let violations: Vec<_> = self
            .validator
            .iter_errors(value)
            .take(Self::MAX_VIOLATIONS)
            .map(|error| SchemaViolation {
                pointer: error.instance_path().as_str().to_owned(),
                message: shortened(error.to_string(), Self::MAX_MESSAGE),
            })
            .collect();
        if violations.is_empty() {
            Ok(())
        } else {
            Err(violations)
        }
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").finish_non_exhaustive()
    }
}

/// Counts the steps of a schema with each reference in place of what it names.
/// A few lines of references to references can stand for billions of steps,
/// and the validator takes every one.
struct Expansion<'s> {
    root: &'s Value,
    anchors: HashMap<&'s str, &'s Value>,
    /// By the address of the value; 0 while it is being counted, so that a
    /// recursive schema counts once.
    counted: HashMap<*const Value, u64>,
}

impl<'s> Expansion<'s> {
    const MAX: u64 = 1_000_000;

    fn of(root: &'s Value) -> Option<u64> {
        let mut anchors = HashMap::new();
        collect_anchors(root, &mut anchors);
        let mut expansion = Self {
            root,
            anchors,
            counted: HashMap::new(),
        };
        expansion.count(root)
    }

    fn count(&mut self, value: &'s Value) -> Option<u64> {
        let address = std::ptr::from_ref(value);
        if let Some(steps) = self.counted.get(&address) {
            return Some(*steps);
        }
        self.counted.insert(address, 0);
        let mut steps: u64 = 1;
        match value {
            Value::Array(items) => {
                for item in items {
                    steps += self.count(item)?;
                }
            }
            Value::Object(members) => {
                for (key, member) in members {
                    // What is only defined runs where it is referred to.
                    if !matches!(key.as_str(), "$defs" | "definitions") {
                        steps += self.count(member)?;
                    }
                }
                for key in ["$ref", "$dynamicRef", "$recursiveRef"] {
                    let target = members.get(key).and_then(Value::as_str);
                    if let Some(target) = target.and_then(|target| self.target(target)) {
                        steps += self.count(target)?;
                    }
                }
            }
            _ => {}
        }
        self.counted.insert(address, steps);
        (steps <= Self::MAX).then_some(steps)
    }

    /// What a reference inside the schema names, by pointer or by anchor.
    fn target(&self, reference: &str) -> Option<&'s Value> {
        let (_, fragment) = reference.split_once('#')?;
        if fragment.is_empty() || fragment.starts_with('/') {
            return self.root.pointer(fragment);
        }
        self.anchors.get(fragment).copied()
    }
}

fn collect_anchors<'s>(value: &'s Value, anchors: &mut HashMap<&'s str, &'s Value>) {
    match value {
        Value::Array(items) => {
            for item in items {
                collect_anchors(item, anchors);
            }
        }
        Value::Object(members) => {
            for key in ["$anchor", "$dynamicAnchor"] {
                if let Some(name) = members.get(key).and_then(Value::as_str) {
                    anchors.insert(name, value);
                }
            }
            for member in members.values() {
                collect_anchors(member, anchors);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(text: &str) -> Value {
        serde_json::from_str(text).expect("JSON")
    }

    #[test]
    fn large_numbers_are_compared_exactly() {
        let schema = Schema::compile(&parsed(
            r#"{"maximum": 123456789012345678901234567890, "type": "integer"}"#,
        ))
        .expect("compiles");
        assert_eq!(
            schema.validate(&parsed("123456789012345678901234567890")),
            Ok(())
        );
        let violations = schema.validate(&parsed("123456789012345678901234567891"));
        assert_eq!(violations.expect_err("one too many").len(), 1);
    }

    #[test]
    fn violations_are_capped_in_number_and_length() {
        let schema = Schema::compile(&json!({"items": {"type": "number"}, "maxItems": 3}));
        let long = "x".repeat(5000);
        let violations = schema
            .expect("compiles")
            .validate(&json!(vec![long; 100]))
            .expect_err("no numbers");
        assert_eq!(violations.len(), 20);
        assert!(violations.iter().all(|v| v.message.chars().count() <= 301));
    }

    #[test]
    fn references_that_multiply_are_refused() {
        for (definition, reference) in [("", "#/$defs/"), ("$anchor", "#")] {
            let mut defs = json!({"a0": {"type": "number"}});
            for level in 1..60 {
                let below = format!("{reference}a{}", level - 1);
                defs[format!("a{level}")] = json!({"allOf": [{"$ref": below}, {"$ref": below}]});
            }
            if !definition.is_empty() {
                for level in 0..60 {
                    let name = format!("a{level}");
                    defs[&name][definition] = json!(name);
                }
            }
            let schema = json!({"$defs": defs, "$ref": format!("{reference}a59")});
            let error = Schema::compile(&schema).expect_err("too many steps");
            assert!(error.message.contains("multiply"), "{error}");
        }
    }

    #[test]
    fn recursive_schemas_are_fine() {
        let schema = Schema::compile(&json!({
            "$ref": "#/$defs/tree",
            "$defs": {"tree": {
                "type": "object",
                "required": ["name"],
                "properties": {"children": {"type": "array", "items": {"$ref": "#/$defs/tree"}}}
            }}
        }))
        .expect("compiles");
        assert_eq!(
            schema.validate(&json!({"name": 1, "children": [{"name": 2}]})),
            Ok(())
        );
        let violations = schema.validate(&json!({"name": 1, "children": [{"nam": 2}]}));
        assert_eq!(violations.expect_err("no name")[0].pointer, "/children/0");
    }

    #[test]
    fn schemas_never_leave_the_process() {
        for reference in ["https://a.example/s", "file:///etc/passwd", "other.json"] {
            assert!(
                Schema::compile(&json!({"$ref": reference})).is_err(),
                "{reference}"
            );
        }
    }

    #[test]
    fn a_faulty_schema_says_where() {
        let error = Schema::compile(&json!({"properties": {"a": {"type": "strnig"}}}));
        assert_eq!(
            error.expect_err("no such type").pointer,
            "/properties/a/type"
        );
        let error = Schema::compile(&json!({"pattern": "("}));
        assert_eq!(error.expect_err("no pattern").pointer, "/pattern");
    }
}
