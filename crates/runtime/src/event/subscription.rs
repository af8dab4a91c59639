//! Which events a live execution listens to: what its engine has written.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use millrace_engine::event::Filter;
use millrace_engine::expression::Expression;
use millrace_engine::value::Value;

use super::cloud_event::CloudEvent;

/// Expressions that are kept compiled: compiling takes far longer than
/// evaluating.
const KEPT: usize = 4_096;

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
        match self.asked(filter, whole) {
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

    fn asked(&self, filter: &[u8], whole: &Value) -> Result<bool, String> {
        let filter: Filter = serde_json::from_slice(filter).map_err(|error| error.to_string())?;
        let fits = filter.ask(whole, |source, locals| self.get(source, locals))?;
        Ok(fits.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_engine::value::from_serde;
    use serde_json::{Value as Json, json};

    #[test]
    fn what_cannot_be_asked_likes_nothing() {
        let cache = ExpressionCache::default();
        let event = json!({"specversion": "1.0", "id": "1", "source": "/shop", "type": "paid",
            "data": {"order": 7, "amount": 30}});
        let event = CloudEvent::read(event.to_string(), "").unwrap();
        let whole = from_serde(&Json::Object(event.members.clone()));
        for (filter, expected) in [
            ("{}", true),
            (r#"{"data": ".amount > 10"}"#, true),
            (
                r#"{"data": ".amount > $least", "variables": {"least": 10}}"#,
                true,
            ),
            (r#"{"data": ".amount | error"}"#, false),
            (r#"{"data": ".amount |"}"#, false),
            (
                r#"{"correlate": [{"name": "order", "from": ".data.order"}]}"#,
                true,
            ),
            (
                r#"{"correlate": [{"name": "order", "from": ".data.none"}]}"#,
                false,
            ),
            ("[", false),
        ] {
            let likes = cache.likes(filter.as_bytes(), &event, &whole);
            assert_eq!(likes, expected, "{filter}");
        }
    }
}
