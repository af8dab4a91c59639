//! The `schedule` of a workflow document, as default triggers.
//!
//! They are named `schedule.cron`, `schedule.every`, `schedule.after` and
//! `schedule.on`. A deployment that brings scheduled triggers of its own takes
//! those instead of the first three, one that brings event triggers instead of the last, and one
//! that names a trigger like one of these takes that one in its place.

use std::time::Duration;

use millrace_proto::Finding;
use millrace_schedule::{TriggerSchedule, format_duration, parse_duration};
use millrace_store::NewTrigger;
use millrace_types::TriggerKind;
use serde_json::{Map, Value};

use super::settings::{escape, finding};
use crate::trigger::spec;

/// The units of a duration object, with their length in milliseconds.
const UNITS: [(&str, u64); 5] = [
    ("days", 86_400_000),
    ("hours", 3_600_000),
    ("minutes", 60_000),
    ("seconds", 1_000),
    ("milliseconds", 1),
];

/// The triggers that a document asks for; `pointer` is where it stands.
pub(crate) fn triggers(
    definition_json: &str,
    pointer: &str,
) -> Result<Vec<NewTrigger>, Vec<Finding>> {
    // What is no JSON has been found by the engine.
    let definition: Value = serde_json::from_str(definition_json).unwrap_or(Value::Null);
    let Some(schedule) = definition.get("schedule") else {
        return Ok(Vec::new());
    };
    let at = format!("{pointer}/schedule");
    let Value::Object(members) = schedule else {
        return Err(vec![finding(&at, "has to be an object")]);
    };
    let mut findings = Vec::new();
    let mut found = Vec::new();
    for (key, value) in members {
        let at = format!("{at}/{}", escape(key));
        let read = match key.as_str() {
            "cron" => scheduled("cron", value.clone(), TriggerKind::Cron, &at),
            "every" | "after" => duration(value)
                .map_err(|why| vec![finding(&at, &why)])
                .and_then(|text| scheduled(key, text.into(), TriggerKind::Interval, &at)),
            "on" => on(value, &at),
            _ => Err(vec![finding(
                &at,
                "unknown key; known are cron, every, after and on",
            )]),
        };
        match read {
            Ok(triggers) => found.extend(triggers),
            Err(faults) => findings.extend(faults),
        }
    }
    if findings.is_empty() {
        Ok(found)
    } else {
        Err(findings)
    }
}

/// The deployment's own triggers, and those of the document that they leave.
pub(crate) fn merged(own: Vec<NewTrigger>, document: Vec<NewTrigger>) -> Vec<NewTrigger> {
    let kinds: Vec<_> = own.iter().map(|trigger| trigger.kind).collect();
    let mut all = own;
    for trigger in document {
        let replaced = kinds.iter().any(|kind| {
            *kind == trigger.kind || (is_scheduled(*kind) && is_scheduled(trigger.kind))
        });
        if !replaced && !all.iter().any(|other| other.name == trigger.name) {
            all.push(trigger);
        }
    }
    all
}

/// A bundle's triggers without those that its document brought.
pub(crate) fn own(merged: Vec<NewTrigger>, definition_json: &str) -> Vec<NewTrigger> {
    let document = triggers(definition_json, "").unwrap_or_default();
    let is_own = |trigger: &NewTrigger| !document.contains(trigger);
    merged.into_iter().filter(is_own).collect()
}

pub(crate) fn is_scheduled(kind: TriggerKind) -> bool {
    matches!(
        kind,
        TriggerKind::Cron | TriggerKind::Interval | TriggerKind::Once
    )
}

fn scheduled(
    key: &str,
    value: Value,
    kind: TriggerKind,
    at: &str,
) -> Result<Vec<NewTrigger>, Vec<Finding>> {
    let mut spec = Map::new();
    spec.insert("type".into(), kind.as_str().into());
    spec.insert(key.into(), value);
    let parent = at.rsplit_once('/').map_or("", |(parent, _)| parent);
    let trigger = TriggerSchedule::parse(&Value::Object(spec), parent).map_err(|faults| {
        let faults = faults.into_iter();
        faults
            .map(|fault| finding(&fault.pointer, &fault.message))
            .collect::<Vec<_>>()
    })?;
    Ok(vec![NewTrigger {
        kind,
        name: Some(format!("schedule.{key}")),
        enabled: true,
        spec_json: trigger.to_json().to_string(),
        route: None,
        secrets: None,
        event_type: None,
    }])
}

/// Events that start the workflow, with an array of the one as its input.
fn on(value: &Value, at: &str) -> Result<Vec<NewTrigger>, Vec<Finding>> {
    let refuse = |at: &str, why: &str| Err(vec![finding(at, why)]);
    let Value::Object(members) = value else {
        return refuse(at, "has to be an object");
    };
    let mut spec = Map::new();
    spec.insert("type".into(), TriggerKind::Event.as_str().into());
    let with = |filter: &Value| filter.get("with").cloned().unwrap_or(Value::Null);
    let written = match members.iter().next() {
        Some((key, filter)) if key == "one" && members.len() == 1 => {
            spec.insert("filter".into(), with(filter));
            "/filter"
        }
        Some((key, Value::Array(filters))) if key == "any" && members.len() == 1 => {
            if filters.is_empty() {
                // None of them means every event.
                spec.insert("filter".into(), Value::Object(Map::new()));
            } else {
                spec.insert("filters".into(), filters.iter().map(with).collect());
            }
            "/filters"
        }
        Some((key, Value::Array(filters))) if key == "all" && members.len() == 1 => {
            spec.insert("all".into(), filters.iter().map(with).collect());
            "/all"
        }
        _ => {
            let why = "needs one of `one`, `any` and `all`, and nothing else";
            return refuse(at, why);
        }
    };
    spec.insert("input".into(), "events".into());
    // Faults are told where the document has what the trigger is made of.
    let spec = spec::read_single(&Value::Object(spec), "").map_err(|faults| {
        let faults = faults.into_iter();
        faults
            .map(|fault| {
                let rest = fault.pointer.strip_prefix(written).unwrap_or_default();
                let place = if written == "/filter" {
                    format!("{at}/one/with{rest}")
                } else {
                    let (index, inner) = rest[rest.len().min(1)..]
                        .split_once('/')
                        .unwrap_or((rest.trim_start_matches('/'), ""));
                    let key = if written == "/all" { "all" } else { "any" };
                    match (index, inner) {
                        ("", _) => format!("{at}/{key}"),
                        (index, "") => format!("{at}/{key}/{index}"),
                        (index, inner) => format!("{at}/{key}/{index}/with/{inner}"),
                    }
                };
                finding(&place, &fault.message)
            })
            .collect::<Vec<_>>()
    })?;
    Ok(vec![NewTrigger {
        kind: TriggerKind::Event,
        name: Some("schedule.on".into()),
        enabled: true,
        spec_json: spec.spec_json,
        route: None,
        secrets: None,
        event_type: spec.event_type,
    }])
}

/// A duration as documents write it, as triggers do.
fn duration(value: &Value) -> Result<String, String> {
    let units = match value {
        Value::String(text) => {
            return parse_duration(text)
                .map(format_duration)
                .map_err(|error| error.to_string());
        }
        Value::Object(units) => units,
        _ => return Err("has to be a duration such as `PT15M` or {\"minutes\": 15}".into()),
    };
    let mut millis = 0_u64;
    for (unit, count) in units {
        let known = UNITS.iter().find(|(name, _)| name == unit);
        let (_, length) = known.ok_or_else(|| format!("`{unit}` is no unit of a duration"))?;
        let part = count.as_u64().and_then(|count| count.checked_mul(*length));
        millis = part
            .and_then(|part| millis.checked_add(part))
            .ok_or_else(|| format!("`{unit}` has to be a whole number that is not too large"))?;
    }
    Ok(format_duration(Duration::from_millis(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specs(triggers: &[NewTrigger]) -> Vec<(String, Value)> {
        triggers
            .iter()
            .map(|trigger| {
                let name = trigger.name.clone().unwrap_or_default();
                (name, serde_json::from_str(&trigger.spec_json).unwrap())
            })
            .collect()
    }

    #[test]
    fn cron_and_every_become_triggers() {
        let definition = r#"{"schedule": {"cron": "0 2 * * *", "every": {"minutes": 15}}}"#;
        let found = specs(&triggers(definition, "/workflow").unwrap());
        assert_eq!(found[0].0, "schedule.cron");
        assert_eq!(found[0].1["cron"], "0 2 * * *");
        assert_eq!(found[0].1["timezone"], "UTC");
        assert_eq!(found[1].0, "schedule.every");
        assert_eq!(found[1].1["every"], "PT900S");
        let iso = triggers(r#"{"schedule": {"every": "PT900S"}}"#, "").unwrap();
        assert_eq!(specs(&iso)[0].1["every"], "PT900S");
        assert!(triggers(r#"{"do": []}"#, "").unwrap().is_empty());
        let after = triggers(r#"{"schedule": {"after": {"hours": 1}}}"#, "").unwrap();
        assert_eq!(after[0].name.as_deref(), Some("schedule.after"));
        assert_eq!(after[0].kind, TriggerKind::Interval);
        assert_eq!(
            after[0].spec_json,
            r#"{"type":"interval","after":"PT3600S"}"#
        );
    }

    #[test]
    fn on_becomes_a_trigger_of_events() {
        let one = r#"{"schedule": {"on": {"one": {"with": {"type": "a", "data": ".n > 1"}}}}}"#;
        let found = triggers(one, "").unwrap();
        assert_eq!(found[0].name.as_deref(), Some("schedule.on"));
        assert_eq!(found[0].event_type.as_deref(), Some("a"));
        assert_eq!(
            found[0].spec_json,
            r#"{"type":"event","filter":{"type":"a","data":".n > 1"},"input":"events"}"#
        );
        let any =
            r#"{"schedule": {"on": {"any": [{"with": {"type": "a"}}, {"with": {"type": "b"}}]}}}"#;
        let found = triggers(any, "").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].event_type.as_deref(), Some(""));
        let wrong =
            r#"{"schedule": {"on": {"any": [{"with": {"type": "a"}}, {"with": {"Type": "b"}}]}}}"#;
        let faults = triggers(wrong, "/workflow").unwrap_err();
        assert_eq!(faults[0].pointer, "/workflow/schedule/on/any/1/with/Type");
        let all =
            r#"{"schedule": {"on": {"all": [{"with": {"type": "a"}}, {"with": {"type": "b"}}]}}}"#;
        let found = triggers(all, "").unwrap();
        assert_eq!(
            found[0].spec_json,
            r#"{"type":"event","all":[{"type":"a"},{"type":"b"}],"input":"events"}"#
        );
        let both = r#"{"schedule": {"on": {"all": [], "any": []}}}"#;
        assert_eq!(triggers(both, "").unwrap_err()[0].pointer, "/schedule/on");
    }

    #[test]
    fn what_is_not_supported_is_refused_with_its_pointer() {
        let definition = r#"{"schedule": {"after": "PT0.1S", "on": {}, "cron": "61 * * * *",
                             "every": {"weeks": 1}, "at": "noon"}}"#;
        let findings = triggers(definition, "/workflow").unwrap_err();
        let places: Vec<_> = findings.iter().map(|f| f.pointer.as_str()).collect();
        assert_eq!(
            places,
            [
                "/workflow/schedule/after",
                "/workflow/schedule/on",
                "/workflow/schedule/cron",
                "/workflow/schedule/every",
                "/workflow/schedule/at",
            ]
        );
        let short = triggers(r#"{"schedule": {"every": "PT0.5S"}}"#, "").unwrap_err();
        assert_eq!(short[0].pointer, "/schedule/every");
    }

    #[test]
    fn scheduled_triggers_of_the_deployment_take_their_place() {
        let definition = r#"{"schedule": {"cron": "0 2 * * *"}}"#;
        let document = triggers(definition, "").unwrap();
        let mut webhook = document[0].clone();
        webhook.kind = TriggerKind::Webhook;
        webhook.name = Some("hook".into());
        let both = merged(vec![webhook.clone()], document.clone());
        assert_eq!(both.len(), 2);
        assert_eq!(own(both, definition), [webhook]);
        let other = triggers(r#"{"schedule": {"every": "PT1H"}}"#, "").unwrap();
        assert_eq!(merged(other.clone(), document), other);
    }
}
