//! Which events a live execution listens to: what its engine has written.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use millrace_engine::expression::{Expression, Variables};
use millrace_engine::value::{Value, from_serde};
use serde::Deserialize;
use serde_json::{Map, Value as Json};

use super::cloud_event::CloudEvent;
use super::filter::{LIMITS, canonical};

/// Expressions that are kept compiled: compiling takes far longer than
/// evaluating.
const KEPT: usize = 4_096;

/// A stored filter. What its engine did not write is not asked.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Stored {
    with: Map<String, Json>,
    data: Option<String>,
    correlate: Vec<Correlation>,
    variables: Map<String, Json>,
}

#[derive(Debug, Deserialize)]
struct Correlation {
    from: String,
    expect: Json,
}

/// Expressions by their source and the locals that they may name.
#[derive(Debug, Default)]
pub(crate) struct ExpressionCache(Mutex<HashMap<(String, Vec<String>), Expression>>);

impl ExpressionCache {
    fn get(&self, source: &str, locals: &[String]) -> Option<Expression> {
        let key = (source.to_owned(), locals.to_vec());
        {
            let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(expression) = kept.get(&key) {
                return Some(expression.clone());
            }
        }
        let names: Vec<&str> = locals.iter().map(String::as_str).collect();
        let expression = Expression::compile(source, &names).ok()?;
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.insert(key, expression.clone());
        Some(expression)
    }

    /// Whether a stored filter likes the event. What cannot be read, or
    /// fails, does not. `whole` is the event as a value.
    pub fn likes(&self, filter: &[u8], event: &CloudEvent, whole: &Value) -> bool {
        match self.asked(filter, event, whole) {
            Ok(likes) => likes,
            Err(why) => {
                tracing::debug!(
                    event.id,
                    event.source,
                    "an event does not match a listener: {why}"
                );
                false
            }
        }
    }

    fn asked(&self, filter: &[u8], event: &CloudEvent, whole: &Value) -> Result<bool, String> {
        let filter: Stored = serde_json::from_slice(filter).map_err(|error| error.to_string())?;
        let equal = filter.with.iter().all(|(name, wanted)| {
            let value = event.members.get(name).and_then(canonical);
            value.is_some() && value == canonical(wanted)
        });
        if !equal || (filter.data.is_none() && filter.correlate.is_empty()) {
            return Ok(equal);
        }
        let mut locals: Vec<String> = filter.variables.keys().cloned().collect();
        locals.retain(|name| !Variables::GLOBAL.contains(&name.as_str()));
        locals.sort_unstable();
        let mut variables = Variables::default();
        for (name, value) in &filter.variables {
            // A local of the name of a global hides it.
            variables.set(name.as_str(), from_serde(value));
        }
        let evaluate = |source: &str, input: &Value| {
            let expression = self
                .get(source, &locals)
                .ok_or("its expression does not compile")?;
            expression
                .eval_within(input, &variables, LIMITS)
                .map_err(|error| error.to_string())
        };
        if let Some(source) = &filter.data {
            let data = whole.get("data").cloned().unwrap_or_default();
            if !evaluate(source, &data)?.is_truthy() {
                return Ok(false);
            }
        }
        for correlation in &filter.correlate {
            if evaluate(&correlation.from, whole)? != from_serde(&correlation.expect) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn attributes_data_and_correlations_are_asked() {
        let cache = ExpressionCache::default();
        let event = json!({"specversion": "1.0", "id": "1", "source": "/shop", "type": "paid",
            "region": "eu", "data": {"order": 7, "amount": 30}});
        let event = CloudEvent::read(event.to_string(), "").unwrap();
        let whole = from_serde(&Json::Object(event.members.clone()));
        for (filter, expected) in [
            (json!({}), true),
            (json!({"with": {"type": "paid", "region": "eu"}}), true),
            (json!({"with": {"type": "made"}}), false),
            (json!({"with": {"missing": null}}), false),
            (json!({"data": ".amount > 10"}), true),
            (json!({"data": ".amount > 100"}), false),
            (json!({"data": ".amount | error"}), false),
            (json!({"data": ".amount |"}), false),
            (
                json!({"data": ".order == $input.order and $least < .amount",
                    "variables": {"input": {"order": 7}, "least": 20}}),
                true,
            ),
            (
                json!({"correlate": [{"from": ".data.order", "expect": 7}]}),
                true,
            ),
            (
                json!({"correlate": [{"from": ".data.order", "expect": "7"}]}),
                false,
            ),
        ] {
            let text = filter.to_string();
            let likes = cache.likes(text.as_bytes(), &event, &whole);
            assert_eq!(likes, expected, "{filter}");
        }
        assert!(!cache.likes(b"[", &event, &whole));
    }
}
