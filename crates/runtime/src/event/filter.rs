//! Which events a trigger listens to.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use millrace_engine::event::{LIMITS, attribute_fault, is_attribute_name};
use millrace_engine::expression::{Expression, Variables, strict};
use millrace_engine::value::{Value, from_serde};
use millrace_types::TriggerId;
use serde_json::{Map, Value as Json};

use super::cloud_event::CloudEvent;
use crate::trigger::webhook::answer::foreign;

/// Filters that are kept compiled.
const KEPT: usize = 4_096;

/// Attributes in one filter at most.
const MAX_ATTRIBUTES: usize = 32;

/// Events whose attributes are all equal, and whose data the expression
/// likes.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    attributes: Vec<(String, String)>,
    data: Option<Expression>,
}

impl Filter {
    /// Reads `{type, source, …, data}`; all faults, each with its pointer.
    pub fn read(members: &Map<String, Json>) -> Result<Self, Vec<(String, String)>> {
        let mut filter = Self::default();
        let mut faults = Vec::new();
        if members.len() > MAX_ATTRIBUTES {
            let why = format!("has at most {MAX_ATTRIBUTES} members");
            faults.push((String::new(), why));
        }
        for (name, value) in members {
            let at = format!("/{}", crate::deployment::settings::escape(name));
            if name == "data" {
                match value.as_str().map(compile) {
                    Some(Ok(expression)) => filter.data = Some(expression),
                    Some(Err(why)) => faults.push((at, why)),
                    None => {
                        faults.push((at, "must be an expression such as `.amount > 10`".into()));
                    }
                }
            } else if !is_attribute_name(name) {
                let why = "an attribute's name has lower-case letters and digits only";
                faults.push((at, why.into()));
            } else if let Some(why) = value.as_str().and_then(attribute_fault) {
                faults.push((at, why));
            } else if let Some(text) = canonical(value) {
                filter.attributes.push((name.clone(), text));
            } else {
                let why = "an attribute is compared with a string, a boolean or a number";
                faults.push((at, why.into()));
            }
        }
        if faults.is_empty() {
            Ok(filter)
        } else {
            Err(faults)
        }
    }

    /// An expression that fails does not like the event.
    pub fn matches(&self, event: &CloudEvent) -> bool {
        let equal = self.attributes.iter().all(|(name, wanted)| {
            let value = event.members.get(name).and_then(canonical);
            value.as_ref() == Some(wanted)
        });
        let Some(expression) = self.data.as_ref().filter(|_| equal) else {
            return equal;
        };
        let data = event.members.get("data").map_or(Value::Null, from_serde);
        match expression.eval_within(&data, &Variables::default(), LIMITS) {
            Ok(value) => value.is_truthy(),
            Err(error) => {
                tracing::debug!(
                    event.id,
                    event.source,
                    "an event does not match, since the filter's expression failed: {error}"
                );
                false
            }
        }
    }
}

/// What a trigger listens to.
#[derive(Debug)]
pub(crate) struct TriggerFilter {
    /// An event has to fit one of them.
    filters: Vec<Filter>,
    /// Whether an event of each starts something, instead of one of any.
    all: bool,
    /// Whether the input is an array of the event, instead of the event.
    pub as_array: bool,
}

impl TriggerFilter {
    /// Of a stored trigger. What cannot be read, of a newer release,
    /// matches nothing.
    fn of_spec(spec_json: &str) -> Option<Self> {
        let spec: Json = serde_json::from_str(spec_json).ok()?;
        let all = spec.get("all");
        let filters = match all.or_else(|| spec.get("filters")) {
            Some(filters) => filters.as_array()?.iter().collect(),
            None => vec![spec.get("filter")?],
        };
        let filters = filters
            .into_iter()
            .map(|filter| Filter::read(filter.as_object()?).ok());
        Some(Self {
            filters: filters.collect::<Option<_>>()?,
            all: all.is_some(),
            as_array: spec.get("input").and_then(Json::as_str) == Some("events"),
        })
    }

    /// What the event is for the trigger; `None` if it is nothing to it.
    pub fn fits(&self, event: &CloudEvent) -> Option<Fits> {
        let mut found = self.filters.iter().map(|filter| filter.matches(event));
        if !self.all {
            return found.any(|fits| fits).then_some(Fits::Alone);
        }
        // As many as a stored one can have.
        let found = found.take(64).zip(0_u32..);
        let of = found.fold(0_u64, |of, (fits, place)| of | (u64::from(fits) << place));
        let filters = u32::try_from(self.filters.len()).unwrap_or(u32::MAX);
        (of != 0).then_some(Fits::Together { of, filters })
    }
}

/// What an event is for a trigger that it fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fits {
    /// It starts something.
    Alone,
    /// It starts something together with events for the other filters.
    Together {
        /// Those that it fits, the first as the lowest bit.
        of: u64,
        /// How many there are.
        filters: u32,
    },
}

/// A value as the text by which attributes are compared.
fn canonical(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Bool(_) | Json::Number(_) => Some(value.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

fn compile(source: &str) -> Result<Expression, String> {
    let source = strict(source).unwrap_or(source);
    let expression = Expression::compile(source, &[]).map_err(|error| error.to_string())?;
    match foreign(|name| expression.uses(name)) {
        None => Ok(expression),
        Some(name) => Err(format!(
            "`${name}` is known within workflows only; the event's data is `.`"
        )),
    }
}

/// Filters that were needed before, by trigger.
#[derive(Debug, Default)]
pub(crate) struct FilterCache(Mutex<HashMap<TriggerId, (u64, Arc<TriggerFilter>)>>);

impl FilterCache {
    /// The filter of a trigger of this revision; `None` when its
    /// specification cannot be read.
    pub fn get(&self, id: TriggerId, revision: u64, spec_json: &str) -> Option<Arc<TriggerFilter>> {
        {
            let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((of, filter)) = kept.get(&id)
                && *of == revision
            {
                return Some(Arc::clone(filter));
            }
        }
        let filter = Arc::new(TriggerFilter::of_spec(spec_json)?);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT && !kept.contains_key(&id) {
            kept.clear();
        }
        kept.insert(id, (revision, Arc::clone(&filter)));
        Some(filter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn matches(filter: &Json, more: &Json) -> bool {
        let mut event = json!({"specversion": "1.0", "id": "1", "source": "/shop", "type": "made"});
        for (name, value) in more.as_object().unwrap() {
            event[name] = value.clone();
        }
        let event = CloudEvent::read(event.to_string(), "").unwrap();
        Filter::read(filter.as_object().unwrap())
            .unwrap()
            .matches(&event)
    }

    #[test]
    fn attributes_are_compared_and_data_is_asked() {
        let dear = json!({"type": "made", "data": "${ .amount > 10 }"});
        for (filter, more, expected) in [
            (json!({}), json!({}), true),
            (json!({"type": "made"}), json!({}), true),
            (json!({"type": "paid"}), json!({}), false),
            (
                json!({"type": "made", "region": "eu"}),
                json!({"region": "eu"}),
                true,
            ),
            (json!({"region": "eu"}), json!({}), false),
            (json!({"n": 5, "b": true}), json!({"n": 5, "b": true}), true),
            (dear.clone(), json!({"data": {"amount": 11}}), true),
            (dear.clone(), json!({"data": {"amount": 10}}), false),
            (dear.clone(), json!({"data": [1]}), false),
            (dear, json!({}), false),
            (
                json!({"data": ". == null"}),
                json!({"data_base64": "AQ=="}),
                true,
            ),
        ] {
            assert_eq!(matches(&filter, &more), expected, "{filter} {more}");
        }
    }

    #[test]
    fn an_event_fits_one_of_several_or_is_one_of_all() {
        let event = json!({"specversion": "1.0", "id": "1", "source": "/shop", "type": "made"});
        let event = CloudEvent::read(event.to_string(), "").unwrap();
        let fits = |spec: &str| TriggerFilter::of_spec(spec).unwrap().fits(&event);
        let filters = r#"[{"type":"paid"},{"type":"made"},{"source":"/shop"}]"#;
        let any = fits(&format!(r#"{{"filters":{filters}}}"#));
        assert_eq!(any, Some(Fits::Alone));
        let all = fits(&format!(r#"{{"all":{filters}}}"#));
        let expected = Fits::Together {
            of: 0b110,
            filters: 3,
        };
        assert_eq!(all, Some(expected));
        assert_eq!(fits(r#"{"all":[{"type":"paid"}]}"#), None);
        assert_eq!(fits(r#"{"filter":{"type":"paid"}}"#), None);
    }

    #[test]
    fn faults_of_a_filter_have_their_place() {
        let filter = json!({"Type": "x", "data": ".a |", "source": ["a"], "type": "a\0"});
        let faults = Filter::read(filter.as_object().unwrap()).unwrap_err();
        let places: Vec<_> = faults.iter().map(|(at, _)| at.as_str()).collect();
        assert_eq!(places, ["/Type", "/data", "/source", "/type"]);
        assert!(Filter::read(json!({"data": "$context"}).as_object().unwrap()).is_err());
    }
}
