//! Which events a listener likes: what is stored of its filters, for whoever
//! is asked when an event comes and knows nothing else of the execution.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value as Json};

use crate::expression::{Expression, Limits, Variables};
use crate::value::{Value, from_serde, to_serde};

/// What one filter may use: an event may meet a thousand of them.
pub const LIMITS: Limits = Limits {
    fuel: 500_000,
    ..Limits::DEFAULT
};

/// Bytes that a value may have as JSON which the first event fixes.
pub const LARGEST_FIXED: usize = 1024;

/// A stored filter; an event has to fit all of it. An empty one likes every
/// event.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Attributes with what they equal.
    pub with: Map<String, Json>,
    /// A condition on the event's data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub correlate: Vec<Correlation>,
    /// The values of the variables that the expressions name, without `$`.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub variables: Map<String, Json>,
}

/// Something of an event that has to equal something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Correlation {
    /// By which what the first event has is known to other filters; for those
    /// that leave it to the first event.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// Evaluated on the whole event.
    pub from: String,
    /// `None` until the first event has fixed it. Until then any value will
    /// do but null, and one of more than [`LARGEST_FIXED`].
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present",
        default
    )]
    pub expect: Option<Json>,
}

/// A null that is written is a value, too.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(deserializer).map(Some)
}

impl Filter {
    /// Whether it leaves something to the first event.
    pub fn is_open(&self) -> bool {
        self.open().next().is_some()
    }

    /// Names of what it leaves to the first event.
    pub fn open(&self) -> impl Iterator<Item = &str> {
        let open = self.correlate.iter().filter(|one| one.expect.is_none());
        open.filter_map(|one| one.name.as_deref())
    }

    /// From now on only what has these values fits.
    pub fn fix(&mut self, fixed: &Map<String, Json>) {
        for one in &mut self.correlate {
            if one.expect.is_none() {
                let value = one.name.as_deref().and_then(|name| fixed.get(name));
                one.expect = value.cloned();
            }
        }
    }

    /// What a liked event has of that which is left to the first one, by
    /// name; `None` for an event that is not liked. `compiled` gives an
    /// expression by its source and the locals that it may name.
    pub fn ask(
        &self,
        event: &Value,
        compiled: impl Fn(&str, &[String]) -> Option<Expression>,
    ) -> Result<Option<Map<String, Json>>, String> {
        let mut fixes = Map::new();
        let equal = self.with.iter().all(|(name, wanted)| {
            let value = event.get(name).and_then(canonical);
            value.is_some() && value == canonical(&from_serde(wanted))
        });
        if !equal {
            return Ok(None);
        }
        if self.data.is_none() && self.correlate.is_empty() {
            return Ok(Some(fixes));
        }
        let mut locals: Vec<String> = self.variables.keys().cloned().collect();
        locals.retain(|name| !Variables::GLOBAL.contains(&name.as_str()));
        locals.sort_unstable();
        let mut variables = Variables::default();
        for (name, value) in &self.variables {
            // A local of the name of a global hides it.
            variables.set(name.as_str(), from_serde(value));
        }
        let evaluate = |source: &str, input: &Value| {
            let expression = compiled(source, &locals).ok_or("its expression does not compile")?;
            expression
                .eval_within(input, &variables, LIMITS)
                .map_err(|error| error.to_string())
        };
        if let Some(source) = &self.data {
            let data = event.get("data").cloned().unwrap_or_default();
            if !evaluate(source, &data)?.is_truthy() {
                return Ok(None);
            }
        }
        for one in &self.correlate {
            let value = evaluate(&one.from, event)?;
            match (&one.expect, &one.name) {
                (Some(expect), _) if value == from_serde(expect) => {}
                (None, Some(name)) if !value.is_null() => {
                    let value = to_serde(&value);
                    if value.to_string().len() > LARGEST_FIXED {
                        return Err(format!("its `{name}` is too large to correlate by"));
                    }
                    fixes.insert(name.clone(), value);
                }
                _ => return Ok(None),
            }
        }
        Ok(Some(fixes))
    }
}

/// A value as the text by which attributes are compared.
fn canonical(value: &Value) -> Option<String> {
    match value {
        Value::Str(text) => Some(text.as_str().to_owned()),
        Value::Bool(_) | Value::Num(_) => Some(to_serde(value).to_string()),
        Value::Null | Value::Arr(_) | Value::Obj(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ask(filter: &Json, event: &Json) -> Result<Option<Map<String, Json>>, String> {
        let filter: Filter = serde_json::from_value(filter.clone()).unwrap();
        filter.ask(&from_serde(event), |source, locals| {
            let locals: Vec<&str> = locals.iter().map(String::as_str).collect();
            Expression::compile(source, &locals).ok()
        })
    }

    #[test]
    fn attributes_data_and_correlations_are_asked() {
        let event = json!({"specversion": "1.0", "id": "1", "source": "/shop", "type": "paid",
            "region": "eu", "n": 5, "data": {"order": 7, "amount": 30}});
        for (filter, expected) in [
            (json!({}), true),
            (json!({"with": {"type": "paid", "region": "eu"}}), true),
            (json!({"with": {"n": 5}}), true),
            (json!({"with": {"type": "made"}}), false),
            (json!({"with": {"missing": null}}), false),
            (json!({"data": ".amount > 10"}), true),
            (json!({"data": ".amount > 100"}), false),
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
            (
                json!({"correlate": [{"from": ".data.none", "expect": null}]}),
                true,
            ),
        ] {
            assert_eq!(
                ask(&filter, &event).unwrap().is_some(),
                expected,
                "{filter}"
            );
        }
        assert!(ask(&json!({"data": ".amount | error"}), &event).is_err());
        assert!(ask(&json!({"data": ".amount |"}), &event).is_err());
    }

    #[test]
    fn what_is_left_open_is_told_until_it_is_fixed() {
        let open = json!({"correlate": [{"name": "order", "from": ".data.order"}]});
        let event = |order: Json| json!({"data": {"order": order}});
        let found = ask(&open, &event(json!(7))).unwrap().unwrap();
        assert_eq!(Json::Object(found.clone()), json!({"order": 7}));
        assert_eq!(ask(&open, &event(json!(null))), Ok(None));
        assert!(ask(&open, &event(json!("x".repeat(LARGEST_FIXED)))).is_err());

        let mut filter: Filter = serde_json::from_value(open).unwrap();
        assert!(filter.is_open());
        filter.fix(&found);
        assert!(!filter.is_open());
        let fixed = serde_json::to_value(&filter).unwrap();
        assert_eq!(fixed["correlate"][0]["expect"], 7);
        assert_eq!(ask(&fixed, &event(json!(7))), Ok(Some(Map::new())));
        assert_eq!(ask(&fixed, &event(json!(8))), Ok(None));
    }
}
