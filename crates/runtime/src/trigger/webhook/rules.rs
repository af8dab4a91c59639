//! What is evaluated for a delivery, compiled and kept by trigger.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use millrace_engine::expression::{EvalError, Expression, Variables, strict};
use millrace_engine::value::{self, Value};
use millrace_schedule::parse_duration;
use millrace_types::TriggerId;

use super::answer::{self, Answer};

/// Triggers whose rules are kept.
const KEPT: usize = 4_096;

/// The rules of one webhook.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    /// Names the message, instead of a header.
    name: Option<Expression>,
    /// How long the first answer is kept, instead of the default.
    pub keep: Option<Duration>,
    pub answer: Option<Answer>,
}

/// The rules of a stored trigger cannot be read: they are of a newer release.
#[derive(Debug, thiserror::Error)]
#[error("the trigger asks for what this runtime does not know: {0}")]
pub(crate) struct UnknownRules(String);

/// Why a message has no name.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NameError {
    #[error("the webhook's `dedupe` expression failed: {0}")]
    Failed(#[from] EvalError),
    #[error("the webhook's `dedupe` expression made an empty text")]
    Empty,
}

impl Rules {
    /// Reads them from a trigger's specification.
    pub fn read(spec_json: &str) -> Result<Self, UnknownRules> {
        let unknown = |why: String| UnknownRules(why);
        let spec: serde_json::Value =
            serde_json::from_str(spec_json).map_err(|error| unknown(error.to_string()))?;
        let text = |pointer: &str| spec.pointer(pointer).and_then(serde_json::Value::as_str);
        let name = text("/dedupe/expression").map(compile_dedupe).transpose();
        let keep = text("/dedupe/keep").map(parse_duration).transpose();
        let answer = match spec.get("respond") {
            Some(serde_json::Value::Object(members)) => Some(
                Answer::read(members).map_err(|faults| unknown(format!("respond: {faults:?}")))?,
            ),
            _ => None,
        };
        Ok(Self {
            name: name.map_err(unknown)?,
            keep: keep.map_err(|error| unknown(error.to_string()))?,
            answer,
        })
    }

    /// Whether an expression names messages.
    pub fn names(&self) -> bool {
        self.name.is_some()
    }

    /// The name of the message that `request` brought. `None`: it has none,
    /// and is not known again.
    pub fn name(&self, request: &Value) -> Result<Option<String>, NameError> {
        let Some(expression) = &self.name else {
            return Ok(None);
        };
        match expression.eval(request, &Variables::default())? {
            Value::Null => Ok(None),
            Value::Str(text) if text.as_str().is_empty() => Err(NameError::Empty),
            Value::Str(text) => Ok(Some(text.as_str().to_owned())),
            other => Ok(Some(value::to_json(&other))),
        }
    }
}

/// Compiles the expression that names messages: bare, or as `${ … }`.
pub(crate) fn compile_dedupe(source: &str) -> Result<Expression, String> {
    let source = strict(source).unwrap_or(source);
    let expression = Expression::compile(source, &[]).map_err(|error| error.to_string())?;
    match answer::foreign(|name| expression.uses(name)) {
        None => Ok(expression),
        Some(name) => Err(format!(
            "`${name}` is known within workflows only; the request is `.`"
        )),
    }
}

/// Rules that were needed before, by trigger, of its latest revision seen.
#[derive(Debug, Default)]
pub(crate) struct RulesCache(Mutex<HashMap<TriggerId, (u64, Arc<Rules>)>>);

impl RulesCache {
    pub fn get(&self, id: TriggerId, revision: u64) -> Option<Arc<Rules>> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (of, rules) = kept.get(&id)?;
        (*of == revision).then(|| Arc::clone(rules))
    }

    pub fn insert(&self, id: TriggerId, revision: u64, rules: Arc<Rules>) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT && !kept.contains_key(&id) {
            // Rare enough to begin anew instead of remembering who was used.
            kept.clear();
        }
        kept.insert(id, (revision, rules));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(expression: &str, request: &str) -> Result<Option<String>, NameError> {
        let spec = serde_json::json!({"dedupe": {"expression": expression}}).to_string();
        let request = value::from_json(request.as_bytes()).unwrap();
        Rules::read(&spec).unwrap().name(&request)
    }

    #[test]
    fn a_message_is_named_by_what_it_holds() {
        let request = r#"{"body":{"id":12345678901234567890,"rev":"a"},"headers":{}}"#;
        for (expression, expected) in [
            (".body.rev", Some("a")),
            ("${ .body.id }", Some("12345678901234567890")),
            (
                "[.body.id, .body.rev]",
                Some(r#"[12345678901234567890,"a"]"#),
            ),
            (".body.none", None),
        ] {
            let name = name(expression, request).unwrap();
            assert_eq!(name.as_deref(), expected, "{expression}");
        }
        assert!(name(".body.rev.x", request).is_err());
        assert!(name("\"\"", request).is_err());
    }

    #[test]
    fn a_trigger_of_before_has_no_rules() {
        let rules = Rules::read(r#"{"type":"webhook","path":"o","respond":"accepted"}"#).unwrap();
        assert!(!rules.names() && rules.keep.is_none() && rules.answer.is_none());
    }

    #[test]
    fn only_the_same_revision_is_found_again() {
        let cache = RulesCache::default();
        let id = TriggerId::new();
        cache.insert(id, 2, Arc::default());
        assert!(cache.get(id, 2).is_some());
        assert!(cache.get(id, 1).is_none());
    }
}
