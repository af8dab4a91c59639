//! The triggers of a deployment, as its author writes them.

use millrace_proto::Finding;
use millrace_schedule::TriggerSchedule;
use millrace_signature::Secret;
use millrace_store::WebhookRoute;
use millrace_types::TriggerKind;
use serde_json::{Map, Value, json};

use super::fields::Fields;
use super::path;
use super::webhook::options;
use crate::deployment::settings::finding;
use crate::event::filter::Filter;

/// Triggers of one deployment at most.
pub(crate) const MAX_TRIGGERS: usize = 100;

/// Filters of one trigger at most.
const MAX_FILTERS: usize = 16;

/// A trigger that has been checked, in its canonical form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TriggerSpec {
    pub kind: TriggerKind,
    pub name: Option<String>,
    pub enabled: bool,
    /// Without secrets.
    pub spec_json: String,
    pub route: Option<WebhookRoute>,
    /// By which the senders of a webhook prove themselves, newest first.
    pub secrets: Vec<Secret>,
    /// The type of the events that it listens to, empty for any.
    pub event_type: Option<String>,
}

/// Reads a deployment's triggers; all findings at once.
pub(crate) fn read_all(value: &Value, pointer: &str) -> Result<Vec<TriggerSpec>, Vec<Finding>> {
    let (triggers, findings) = read_each(value, pointer);
    if findings.is_empty() {
        Ok(triggers.into_iter().map(|(_, spec)| spec).collect())
    } else {
        Err(findings)
    }
}

/// The triggers that can be read, with their places in the list, and all that
/// is wrong with it.
pub(crate) fn read_each(value: &Value, pointer: &str) -> (Vec<(usize, TriggerSpec)>, Vec<Finding>) {
    let refused = |why: &str| (Vec::new(), vec![finding(pointer, why)]);
    let Value::Array(items) = value else {
        return refused("triggers are a JSON array");
    };
    if items.len() > MAX_TRIGGERS {
        return refused(&format!("at most {MAX_TRIGGERS} triggers"));
    }
    let mut findings = Vec::new();
    let mut triggers: Vec<(usize, TriggerSpec)> = Vec::new();
    for (i, item) in items.iter().enumerate() {
        let at = format!("{pointer}/{i}");
        let Some(spec) = read_one(item, &at, &mut findings) else {
            continue;
        };
        if let Some(name) = &spec.name
            && triggers.iter().any(|(_, t)| t.name.as_ref() == Some(name))
        {
            findings.push(finding(
                &format!("{at}/name"),
                &format!("`{name}` stands twice"),
            ));
        }
        let clash = triggers.iter().find(|(_, other)| clashes(other, &spec));
        if let Some((clash, _)) = clash {
            let message = format!("the same path and method as trigger {clash}");
            findings.push(finding(&format!("{at}/path"), &message));
        }
        triggers.push((i, spec));
    }
    (triggers, findings)
}

/// Reads one trigger, which stands at `pointer`.
pub(crate) fn read_single(value: &Value, pointer: &str) -> Result<TriggerSpec, Vec<Finding>> {
    let mut findings = Vec::new();
    match read_one(value, pointer, &mut findings) {
        Some(spec) if findings.is_empty() => Ok(spec),
        _ => Err(findings),
    }
}

fn clashes(a: &TriggerSpec, b: &TriggerSpec) -> bool {
    match (&a.route, &b.route) {
        (Some(a), Some(b)) => a.shape == b.shape && a.methods.iter().any(|m| b.methods.contains(m)),
        _ => false,
    }
}

fn read_one(item: &Value, at: &str, findings: &mut Vec<Finding>) -> Option<TriggerSpec> {
    let before = findings.len();
    let Value::Object(members) = item else {
        findings.push(finding(
            at,
            "a trigger is an object such as {\"type\": \"webhook\", …}",
        ));
        return None;
    };
    let mut fields = Fields {
        members,
        at: at.into(),
        findings,
    };
    let kind = fields.kind();
    let name = fields.text("name").filter(|n| !n.is_empty());
    let enabled = fields.boolean("enabled", true);
    let spec = match kind? {
        TriggerKind::Webhook => webhook(&mut fields, name, enabled),
        kind @ (TriggerKind::Cron | TriggerKind::Interval | TriggerKind::Once) => {
            scheduled(&mut fields, item, kind, name, enabled)
        }
        TriggerKind::Event => event(&mut fields, name, enabled),
        // Refused where the type is read.
        TriggerKind::Manual => None,
    };
    if findings.len() == before { spec } else { None }
}

fn webhook(fields: &mut Fields<'_>, name: Option<String>, enabled: bool) -> Option<TriggerSpec> {
    const MEMBERS: [&str; 7] = [
        "type", "name", "enabled", "path", "methods", "auth", "input",
    ];
    fields.only(&[&MEMBERS[..], &options::MEMBERS].concat());
    let methods = fields.methods();
    let auth = fields.auth();
    let input = fields.one_of("input", &["body", "request"]);
    let mut further = Map::new();
    options::read(fields, &mut further);
    let path = match fields.text("path") {
        Some(written) => path::read(&written)
            .map_err(|why| fields.fault("path", &why))
            .ok(),
        None => {
            if !fields.members.contains_key("path") {
                fields.fault("path", "a webhook needs a path, such as \"orders\"");
            }
            None
        }
    }?;
    let mut spec = json!({
        "type": "webhook",
        "path": path.path,
        "methods": methods,
        "auth": auth.public_json(),
        "input": input,
    });
    if let Value::Object(members) = &mut spec {
        members.extend(further);
    }
    Some(TriggerSpec {
        kind: TriggerKind::Webhook,
        name,
        enabled,
        spec_json: spec.to_string(),
        route: Some(WebhookRoute {
            shape: path.shape,
            path: path.path,
            methods,
        }),
        secrets: auth.split().1,
        event_type: None,
    })
}

fn event(fields: &mut Fields<'_>, name: Option<String>, enabled: bool) -> Option<TriggerSpec> {
    fields.only(&[
        "type", "name", "enabled", "filter", "filters", "all", "input",
    ]);
    let mut input = fields.one_of("input", &["event", "events"]);
    let mut spec = json!({"type": "event"});
    let members = fields.members;
    let mut several = ["all", "filters"].into_iter();
    let several = several.find(|key| members.contains_key(*key));
    let event_type = if let Some(key) = several {
        if key == "all" && members.contains_key("filters") {
            fields.fault("all", "stands beside `filters`; write one of them");
        }
        if key == "all" {
            if members.contains_key("input") && input != "events" {
                fields.fault(
                    "input",
                    "is `events` where several start something together",
                );
            }
            input = "events";
        }
        let filters = members[key].clone();
        let event_type = several_of(fields, key, &filters);
        spec[key] = filters;
        event_type
    } else {
        if !fields.members.contains_key("filter") {
            let message =
                "an event trigger needs a filter, such as {\"type\": \"com.example.made\"}";
            fields.fault("filter", message);
        }
        let filter = fields.object("filter")?.members.clone();
        for (pointer, why) in Filter::read(&filter).err().into_iter().flatten() {
            fields.fault_at(&format!("/filter{pointer}"), &why);
        }
        let event_type = filter.get("type").and_then(Value::as_str);
        let event_type = event_type.unwrap_or_default().to_owned();
        spec["filter"] = filter.into();
        event_type
    };
    if input == "events" {
        spec["input"] = input.into();
    }
    Some(TriggerSpec {
        kind: TriggerKind::Event,
        name,
        enabled,
        spec_json: spec.to_string(),
        route: None,
        secrets: Vec::new(),
        event_type: Some(event_type),
    })
}

/// Filters of which an event has to fit one (`filters`), or one event each
/// (`all`); the type of the events, where all of them name the same.
fn several_of(fields: &mut Fields<'_>, key: &str, filters: &Value) -> String {
    if fields.members.contains_key("filter") {
        fields.fault(key, "stands beside `filter`; write one of them");
    }
    let Some(items) = filters.as_array().filter(|items| !items.is_empty()) else {
        fields.fault(key, "is a list of at least one filter");
        return String::new();
    };
    if items.len() > MAX_FILTERS {
        fields.fault(key, &format!("has at most {MAX_FILTERS} filters"));
    }
    for (index, item) in items.iter().enumerate() {
        match item.as_object() {
            Some(members) => {
                for (pointer, why) in Filter::read(members).err().into_iter().flatten() {
                    fields.fault_at(&format!("/{key}/{index}{pointer}"), &why);
                }
            }
            None => fields.fault_at(&format!("/{key}/{index}"), "a filter is an object"),
        }
    }
    let mut types = items.iter().map(|item| item.get("type"));
    let first = types.next().flatten();
    let same = types.all(|other| other == first);
    let first = first.and_then(Value::as_str).filter(|_| same);
    first.unwrap_or_default().to_owned()
}

fn scheduled(
    fields: &mut Fields<'_>,
    item: &Value,
    kind: TriggerKind,
    name: Option<String>,
    enabled: bool,
) -> Option<TriggerSpec> {
    let trigger = match TriggerSchedule::parse(item, &fields.at) {
        Ok(trigger) => trigger,
        Err(faults) => {
            let faults = faults.into_iter();
            fields
                .findings
                .extend(faults.map(|fault| finding(&fault.pointer, &fault.message)));
            return None;
        }
    };
    Some(TriggerSpec {
        kind,
        name,
        enabled,
        spec_json: trigger.to_json().to_string(),
        route: None,
        secrets: Vec::new(),
        event_type: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(value: &Value) -> Vec<(String, String)> {
        read_all(value, "/triggers")
            .unwrap_err()
            .into_iter()
            .map(|f| (f.pointer, f.message))
            .collect()
    }

    #[test]
    fn a_webhook_is_read_with_its_defaults() {
        let triggers = read_all(&json!([{"type": "webhook", "path": "/orders"}]), "").unwrap();
        assert_eq!(
            triggers[0].spec_json,
            r#"{"type":"webhook","path":"orders","methods":["POST"],"auth":{"scheme":"none"},"input":"body","respond":"accepted"}"#
        );
        let route = triggers[0].route.as_ref().unwrap();
        assert_eq!(
            (route.shape.as_str(), route.methods.as_slice()),
            ("orders", &["POST".into()][..])
        );
    }

    #[test]
    fn secrets_are_kept_apart_from_the_specification() {
        let value = json!([{"type": "webhook", "path": "o", "auth":
            {"scheme": "basic", "username": "ada", "passwords": ["hunter2", "hunter3"]}}]);
        let trigger = read_all(&value, "").unwrap().remove(0);
        assert_eq!(
            trigger.spec_json,
            r#"{"type":"webhook","path":"o","methods":["POST"],"auth":{"scheme":"basic","username":"ada","activeSecrets":2},"input":"body","respond":"accepted"}"#
        );
        assert_eq!(trigger.secrets[0].expose(), "hunter2");
        assert!(!format!("{trigger:?}").contains("hunter"));
    }

    #[test]
    fn each_fault_is_named_at_its_place() {
        let value = json!([
            {"type": "webhook", "path": "a b"},
            {"type": "webhook"},
            {"path": "x"},
            {"type": "manual"},
            {"type": "webhook", "path": "x", "method": "GET"},
            {"type": "webhook", "path": "y", "methods": ["BREW"]},
            {"type": "webhook", "path": "z", "respond": "maybe", "enabled": "yes"},
            {"type": "event", "filter": {"data": ".a |"}},
            {"type": "webhook", "path": "s", "auth": {"scheme": "github", "secret": "x", "key": 1}},
            7
        ]);
        let places: Vec<String> = faults(&value).into_iter().map(|(p, _)| p).collect();
        assert_eq!(
            places,
            [
                "/triggers/0/path",
                "/triggers/1/path",
                "/triggers/2/type",
                "/triggers/3/type",
                "/triggers/4/method",
                "/triggers/5/methods/0",
                "/triggers/6/enabled",
                "/triggers/6/respond",
                "/triggers/7/filter/data",
                "/triggers/8/auth/key",
                "/triggers/9",
            ]
        );
    }

    #[test]
    fn an_event_is_listened_to_by_type() {
        let filter = json!({"type": "made", "source": "/shop", "data": "${ .amount > 10 }"});
        let value = json!([{"type": "event", "filter": filter}, {"type": "event", "filter": {}}]);
        let triggers = read_all(&value, "").unwrap();
        assert_eq!(triggers[0].event_type.as_deref(), Some("made"));
        assert_eq!(triggers[1].event_type.as_deref(), Some(""));
        assert_eq!(triggers[0].spec_json, value[0].to_string());
        assert_eq!(
            faults(&json!([{"type": "event"}]))[0].0,
            "/triggers/0/filter"
        );
        let several = json!([
            {"type": "event", "filters": [{"type": "a"}, {"type": "b"}], "input": "events"},
            {"type": "event", "filters": [{"type": "a", "n": 1}, {"type": "a"}]},
        ]);
        let triggers = read_all(&several, "").unwrap();
        assert_eq!(triggers[0].event_type.as_deref(), Some(""));
        assert_eq!(triggers[1].event_type.as_deref(), Some("a"));
        assert_eq!(triggers[0].spec_json, several[0].to_string());
        let all = json!([{"type": "event", "all": [{"type": "a"}, {"type": "b"}]}]);
        let triggers = read_all(&all, "").unwrap();
        assert_eq!(
            triggers[0].spec_json,
            r#"{"type":"event","all":[{"type":"a"},{"type":"b"}],"input":"events"}"#
        );
        for (wrong, place) in [
            (json!({"type": "event", "all": []}), "/triggers/0/all"),
            (json!({"type": "event", "all": [1]}), "/triggers/0/all/0"),
            (
                json!({"type": "event", "all": [{}], "input": "event"}),
                "/triggers/0/input",
            ),
            (
                json!({"type": "event", "all": [{}], "filters": [{}]}),
                "/triggers/0/all",
            ),
        ] {
            assert_eq!(faults(&json!([wrong]))[0].0, place);
        }
        for (filters, place) in [
            (json!([]), "/triggers/0/filters"),
            (json!([{}, 1]), "/triggers/0/filters/1"),
            (json!([{"data": "$input"}]), "/triggers/0/filters/0/data"),
        ] {
            let value = json!([{"type": "event", "filters": filters}]);
            assert_eq!(faults(&value)[0].0, place);
        }
    }

    #[test]
    fn schedules_are_read_in_their_canonical_form() {
        let value = json!([
            {"type": "cron", "cron": "0 2 * * *", "name": "nightly"},
            {"type": "interval", "every": "PT15M", "enabled": false},
            {"type": "once", "at": "2026-12-01T09:00:00Z"},
        ]);
        let triggers = read_all(&value, "/triggers").unwrap();
        let kinds: Vec<_> = triggers.iter().map(|t| t.kind).collect();
        assert_eq!(
            kinds,
            [TriggerKind::Cron, TriggerKind::Interval, TriggerKind::Once]
        );
        assert_eq!(triggers[0].name.as_deref(), Some("nightly"));
        assert!(!triggers[1].enabled);
        assert!(triggers[0].spec_json.contains(r#""timezone":"UTC""#));
    }

    #[test]
    fn faults_of_schedules_are_named_at_their_place() {
        let value = json!([
            {"type": "cron", "cron": "61 * * * *", "timezone": "Mars/Base"},
            {"type": "interval"},
            {"type": "cron", "cron": "@daily", "overlap": "wait"},
            {"type": "once", "at": "2026-12-01T09:00:00Z", "overlap": 7},
        ]);
        let places: Vec<String> = faults(&value).into_iter().map(|(p, _)| p).collect();
        assert_eq!(
            places,
            [
                "/triggers/0/cron",
                "/triggers/0/timezone",
                "/triggers/1/every",
                "/triggers/2/overlap",
                "/triggers/3/overlap",
            ]
        );
    }

    #[test]
    fn two_triggers_on_one_path_and_method_are_refused() {
        let value = json!([
            {"type": "webhook", "path": "o/{a}"},
            {"type": "webhook", "path": "o/{b}", "methods": ["GET", "post"]},
        ]);
        assert_eq!(faults(&value)[0].0, "/triggers/1/path");
        let apart = json!([
            {"type": "webhook", "path": "o/{a}"},
            {"type": "webhook", "path": "o/{b}", "methods": ["GET"]},
        ]);
        assert_eq!(read_all(&apart, "").unwrap().len(), 2);
    }
}
