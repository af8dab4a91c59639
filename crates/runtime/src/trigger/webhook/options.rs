//! The members of a webhook trigger that limit and shape its deliveries.

use std::time::Duration;

use ipnet::IpNet;
use millrace_schedule::{format_duration, parse_duration};
use millrace_service::config::RateLimit;
use serde_json::{Map, Value, json};

use super::answer::Answer;
use super::rules;
use crate::trigger::fields::Fields;
use crate::trigger::fire::MAX_WAIT;

/// Largest `bodyLimit` in bytes; a gateway's own limit counts as well.
const MAX_BODY: u64 = 64 * 1024 * 1024;

/// Networks in one `allow` at most: each delivery is compared with all.
const MAX_NETWORKS: usize = 256;

const MIN_KEEP: Duration = Duration::from_secs(1);
const MAX_KEEP: Duration = Duration::from_hours(30 * 24);

/// What [`read`] knows.
pub(crate) const MEMBERS: [&str; 5] = ["bodyLimit", "rateLimit", "allow", "dedupe", "respond"];

/// Reads all of them into `spec`, in their canonical form. What is not given
/// is not there either, so that a trigger of before stays what it was.
pub(in crate::trigger) fn read(fields: &mut Fields<'_>, spec: &mut Map<String, Value>) {
    respond(fields, spec);
    if let Some(limit) = fields.number("bodyLimit", 1..=MAX_BODY) {
        spec.insert("bodyLimit".into(), limit.into());
    }
    if let Some(mut rate) = fields.object("rateLimit") {
        rate.only(&["limit", "per", "burst"]);
        rate.needs(&["limit", "per"]);
        let limit = rate.number("limit", 1..=u64::from(RateLimit::MOST));
        let per = duration(&mut rate, "per", RateLimit::SHORTEST, RateLimit::LONGEST);
        let burst = rate.number("burst", 1..=u64::from(RateLimit::MOST));
        if let (Some(limit), Some(per)) = (limit, per) {
            let burst = burst.unwrap_or(limit);
            let rate = json!({"limit": limit, "per": format_duration(per), "burst": burst});
            spec.insert("rateLimit".into(), rate);
        }
    }
    allow(fields, spec);
    dedupe(fields, spec);
}

/// `accepted`, `result`, or how the answer is made.
fn respond(fields: &mut Fields<'_>, spec: &mut Map<String, Value>) {
    if !matches!(fields.members.get("respond"), Some(Value::Object(_))) {
        let named = fields.one_of("respond", &["accepted", "result"]);
        spec.insert("respond".into(), named.into());
        return;
    }
    let Some(mut respond) = fields.object("respond") else {
        return;
    };
    respond.only(&["status", "headers", "body", "wait"]);
    let mut canonical = respond.members.clone();
    if let Some(wait) = duration(&mut respond, "wait", Duration::from_millis(1), MAX_WAIT) {
        canonical.insert("wait".into(), format_duration(wait).into());
    }
    for (pointer, why) in Answer::read(&canonical).err().into_iter().flatten() {
        respond.fault_at(&pointer, &why);
    }
    spec.insert("respond".into(), Value::Object(canonical));
}

fn allow(fields: &mut Fields<'_>, spec: &mut Map<String, Value>) {
    let items = match fields.members.get("allow") {
        None => return,
        Some(Value::Array(items)) if (1..=MAX_NETWORKS).contains(&items.len()) => items,
        Some(_) => {
            let message = format!(
                "must be a list of 1 to {MAX_NETWORKS} addresses or networks such as \
                 [\"192.0.2.7\", \"2001:db8::/32\"]"
            );
            return fields.fault("allow", &message);
        }
    };
    let mut networks = Vec::new();
    for (i, item) in items.iter().enumerate() {
        match item.as_str().and_then(network) {
            Some(network) => networks.push(network.to_string()),
            None => fields.fault_at(
                &format!("/allow/{i}"),
                &format!("{item} is not an address or a network such as \"192.0.2.0/24\""),
            ),
        }
    }
    spec.insert("allow".into(), networks.into());
}

/// A network without the bits of a host in it, or one address.
fn network(text: &str) -> Option<IpNet> {
    if let Ok(address) = text.parse::<std::net::IpAddr>() {
        return Some(address.to_canonical().into());
    }
    text.parse::<IpNet>().ok().map(|network| network.trunc())
}

fn dedupe(fields: &mut Fields<'_>, spec: &mut Map<String, Value>) {
    let Some(mut dedupe) = fields.object("dedupe") else {
        return;
    };
    dedupe.only(&["expression", "keep"]);
    let mut canonical = Map::new();
    if let Some(source) = dedupe.text("expression") {
        if let Err(why) = rules::compile_dedupe(&source) {
            dedupe.fault("expression", &why);
        }
        canonical.insert("expression".into(), source.into());
    }
    if let Some(keep) = duration(&mut dedupe, "keep", MIN_KEEP, MAX_KEEP) {
        canonical.insert("keep".into(), format_duration(keep).into());
    }
    if dedupe.members.is_empty() {
        dedupe.fault_at("", "needs `expression`, `keep` or both");
    }
    spec.insert("dedupe".into(), Value::Object(canonical));
}

fn duration(
    fields: &mut Fields<'_>,
    key: &str,
    least: Duration,
    most: Duration,
) -> Option<Duration> {
    let text = fields.text(key)?;
    match parse_duration(&text) {
        Ok(duration) if (least..=most).contains(&duration) => Some(duration),
        Ok(_) => {
            let (least, most) = (format_duration(least), format_duration(most));
            fields.fault(key, &format!("must lie between {least} and {most}"));
            None
        }
        Err(why) => {
            fields.fault(key, &why.to_string());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::trigger::spec::read_all;

    fn faults(members: &serde_json::Value) -> Vec<String> {
        let mut trigger = json!({"type": "webhook", "path": "o"});
        for (key, value) in members.as_object().unwrap() {
            trigger[key] = value.clone();
        }
        let faults = read_all(&json!([trigger]), "").unwrap_err();
        faults.into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn options_are_written_in_one_form() {
        let trigger = json!([{"type": "webhook", "path": "o", "bodyLimit": 1024,
            "rateLimit": {"limit": 10, "per": "PT60S"},
            "allow": ["10.1.2.3/8", "::1", "::ffff:192.0.2.1"],
            "dedupe": {"keep": "PT60M", "expression": "${ .body.id }"},
            "respond": {"wait": "PT90S", "status": "${ 200 }"}}]);
        let spec = &read_all(&trigger, "").unwrap()[0].spec_json;
        assert_eq!(
            spec,
            concat!(
                r#"{"type":"webhook","path":"o","methods":["POST"],"auth":{"scheme":"none"},"#,
                r#""input":"body","respond":{"wait":"PT90S","status":"${ 200 }"},"#,
                r#""bodyLimit":1024,"rateLimit":{"limit":10,"per":"PT60S","burst":10},"#,
                r#""allow":["10.0.0.0/8","::1/128","192.0.2.1/32"],"#,
                r#""dedupe":{"expression":"${ .body.id }","keep":"PT3600S"}}"#
            )
        );
    }

    #[test]
    fn each_fault_of_an_option_is_named_at_its_place() {
        for (members, places) in [
            (json!({"bodyLimit": 0}), &["/0/bodyLimit"][..]),
            (json!({"bodyLimit": "1MiB"}), &["/0/bodyLimit"]),
            (
                json!({"rateLimit": {"limit": 1.5, "per": "PT0.1S", "of": 1}}),
                &["/0/rateLimit/of", "/0/rateLimit/limit", "/0/rateLimit/per"],
            ),
            (json!({"rateLimit": {"per": "PT1S"}}), &["/0/rateLimit"]),
            (json!({"allow": []}), &["/0/allow"]),
            (
                json!({"allow": ["10.0.0.0/33", 1]}),
                &["/0/allow/0", "/0/allow/1"],
            ),
            (json!({"dedupe": {}}), &["/0/dedupe"]),
            (
                json!({"dedupe": {"expression": ".body.", "keep": "P31D"}}),
                &["/0/dedupe/expression", "/0/dedupe/keep"],
            ),
            (
                json!({"dedupe": {"expression": "$secrets.x"}}),
                &["/0/dedupe/expression"],
            ),
            (json!({"respond": "maybe"}), &["/0/respond"]),
            (
                json!({"respond": {"status": 99, "wait": "PT6M", "stats": 1}}),
                &["/0/respond/stats", "/0/respond/wait", "/0/respond/status"],
            ),
            (
                json!({"respond": {"headers": {"a b": "x", "connection": "close", "x": "${ . | }"}}}),
                &[
                    "/0/respond/headers/a b",
                    "/0/respond/headers/connection",
                    "/0/respond/headers/x",
                ],
            ),
            (
                json!({"respond": {"body": {"a": "${ $context }"}}}),
                &["/0/respond/body"],
            ),
        ] {
            assert_eq!(faults(&members), places, "{members}");
        }
    }
}
