//! JSON Schemas, compiled when the document is read.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

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

    /// Compiles a schema; draft 2020-12 unless its `$schema` says otherwise.
    pub fn compile(schema: &Value) -> Result<Self, SchemaError> {
        let validator = jsonschema::options()
            .offline()
            .build(schema)
            .map_err(|error| SchemaError {
                pointer: error.instance_path().as_str().to_owned(),
                message: error.to_string(),
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
                message: error.to_string(),
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
