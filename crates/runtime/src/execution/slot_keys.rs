//! The keys of concurrency limits: jq over the input, within small bounds,
//! since it is evaluated in the transaction that admits.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use millrace_engine::expression::{Expression, Limits, Variables};
use millrace_engine::value::{from_json, to_json};
use millrace_store::SlotKeys;
use sha2::{Digest as _, Sha256};

/// A few milliseconds at the most.
const LIMITS: Limits = Limits {
    fuel: 100_000,
    memory: 16 << 20,
    value: 4 << 20,
    ..Limits::DEFAULT
};

/// Longest value that is a key as it is, in bytes; longer ones are digested.
const LONGEST: usize = 200;

/// Expressions kept compiled. Past it, an arbitrary one makes room.
const KEPT: usize = 1_024;

/// Evaluates keys as jq.
#[derive(Debug, Default)]
pub struct JqSlotKeys {
    compiled: Mutex<HashMap<String, Expression>>,
}

impl JqSlotKeys {
    fn compiled(&self, source: &str) -> Result<Expression, String> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = compiled.get(source) {
            return Ok(known.clone());
        }
        let expression = Expression::compile(source, &[]).map_err(|error| error.to_string())?;
        if compiled.len() >= KEPT
            && let Some(victim) = compiled.keys().next().cloned()
        {
            compiled.remove(&victim);
        }
        compiled.insert(source.to_owned(), expression.clone());
        Ok(expression)
    }
}

impl SlotKeys for JqSlotKeys {
    fn key(&self, expression: &str, input: &[u8]) -> Result<String, String> {
        let expression = self.compiled(expression)?;
        let input = from_json(input).map_err(|error| error.to_string())?;
        let mut variables = Variables::default();
        variables.input = input.clone();
        let value = expression
            .eval_within(&input, &variables, LIMITS)
            .map_err(|error| error.to_string())?;
        let text = to_json(&value);
        if text.len() <= LONGEST {
            return Ok(text);
        }
        let mut digest = String::from("sha256:");
        for byte in Sha256::digest(text.as_bytes()) {
            // Writing to a String cannot fail.
            let _ = write!(digest, "{byte:02x}");
        }
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_equal_keys() {
        let keys = JqSlotKeys::default();
        let key = |input: &str| keys.key(".order.customer", input.as_bytes());
        let first = key(r#"{"order":{"customer":"ann","n":1}}"#).unwrap();
        assert_eq!(first, "\"ann\"");
        assert_eq!(key(r#"{"order":{"n":2,"customer":"ann"}}"#).unwrap(), first);
        assert_eq!(key("{}").unwrap(), "null");
        assert!(key("[]").is_err());
        let long = format!(r#"{{"order":{{"customer":"{}"}}}}"#, "x".repeat(1_000));
        assert!(key(&long).unwrap().len() < LONGEST);
    }

    #[test]
    fn an_expression_that_runs_on_is_stopped() {
        let keys = JqSlotKeys::default();
        let stopped = keys.key("last(range(1e9))", b"{}").unwrap_err();
        assert!(stopped.contains("stopped"), "{stopped}");
    }
}
