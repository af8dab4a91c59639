//! Concurrency, timeouts, retention and priority of a deployment.

use std::time::Duration;

use millrace_engine::expression::{Expression, Variables};
use millrace_proto::Finding;
use millrace_schedule::parse_duration;
use millrace_store::{Concurrency, ConcurrencyPolicy, DeploymentSettings, RETENTION_CLASSES};
use serde_json::Value;

use super::{Settings, escape, finding};

/// Each slot is looked for one by one.
const MAX_LIMIT: u64 = 1_000;

const MAX_PRIORITY: i64 = 100;

const DAY: Duration = Duration::from_hours(24);

/// `{limit, key, policy}`.
pub(super) fn concurrency(
    value: &Value,
    at: &str,
    findings: &mut Vec<Finding>,
) -> Option<Concurrency> {
    let Value::Object(members) = value else {
        findings.push(finding(
            at,
            "a limit is an object, such as {\"limit\": 1, \"policy\": \"queue\"}",
        ));
        return None;
    };
    let before = findings.len();
    let mut limit = None;
    let mut key = None;
    let mut policy = ConcurrencyPolicy::Queue;
    let mut unlimited = false;
    for (name, value) in members {
        let at = format!("{at}/{}", escape(name));
        match name.as_str() {
            "limit" => match value.as_u64() {
                Some(number @ 1..=MAX_LIMIT) => limit = u32::try_from(number).ok(),
                _ => findings.push(finding(
                    &at,
                    &format!("a limit is an integer from 1 to {MAX_LIMIT}"),
                )),
            },
            "key" => key = read_key(value, &at, findings),
            "policy" => match value.as_str() {
                Some("allow") => unlimited = true,
                Some("queue") => policy = ConcurrencyPolicy::Queue,
                Some("skip") => policy = ConcurrencyPolicy::Skip,
                Some("cancelRunning") => policy = ConcurrencyPolicy::CancelRunning,
                _ => findings.push(finding(
                    &at,
                    "has to be one of allow, queue, skip, cancelRunning",
                )),
            },
            _ => findings.push(finding(
                &at,
                &format!("unknown member `{name}`; known are limit, key, policy"),
            )),
        }
    }
    if limit.is_none() && !unlimited && findings.len() == before {
        findings.push(finding(at, "`limit` is missing"));
    }
    // Whoever allows any number needs no slots.
    limit
        .filter(|_| !unlimited && findings.len() == before)
        .map(|limit| Concurrency { limit, key, policy })
}

/// A bare expression, or one in `${ … }`.
fn read_key(value: &Value, at: &str, findings: &mut Vec<Finding>) -> Option<String> {
    let Some(text) = value.as_str() else {
        findings.push(finding(
            at,
            "a key is a jq expression over the input, such as \".customer.id\"",
        ));
        return None;
    };
    let source = millrace_engine::expression::strict(text).unwrap_or(text);
    let fault = match Expression::compile(source, &[]) {
        Ok(expression) => {
            let known = Variables::GLOBAL
                .into_iter()
                .find(|name| *name != "input" && expression.uses(name));
            known.map(|name| format!("`${name}` is not known here; the input is `.`"))
        }
        Err(error) => Some(error.to_string()),
    };
    if let Some(fault) = fault {
        findings.push(finding(at, &fault));
        return None;
    }
    Some(source.to_owned())
}

/// `"PT1H"`, which is the total, or `{start, idle, total}`.
pub(super) fn timeout(
    value: &Value,
    at: &str,
    settings: &mut DeploymentSettings,
    findings: &mut Vec<Finding>,
) {
    match value {
        Value::String(_) => settings.total_timeout = duration(value, at, findings),
        Value::Object(members) => {
            for (name, value) in members {
                let at = format!("{at}/{}", escape(name));
                match name.as_str() {
                    "start" => settings.start_timeout = duration(value, &at, findings),
                    "idle" => settings.idle_timeout = duration(value, &at, findings),
                    "total" => settings.total_timeout = duration(value, &at, findings),
                    _ => findings.push(finding(
                        &at,
                        &format!("unknown member `{name}`; known are start, idle, total"),
                    )),
                }
            }
        }
        _ => findings.push(finding(
            at,
            "a timeout is a duration such as \"PT1H\", or an object of start, idle and total",
        )),
    }
}

fn duration(value: &Value, at: &str, findings: &mut Vec<Finding>) -> Option<Duration> {
    let fault = match value.as_str().map(parse_duration) {
        Some(Ok(duration)) if !duration.is_zero() => return Some(duration),
        Some(Ok(_)) => "has to be longer than nothing".to_owned(),
        Some(Err(error)) => error.to_string(),
        None => "has to be an ISO 8601 duration such as \"PT1H\"".to_owned(),
    };
    findings.push(finding(at, &fault));
    None
}

/// `"P7D"` for all, or `{succeeded, failed}`.
pub(super) fn retention(
    value: &Value,
    at: &str,
    settings: &mut Settings,
    findings: &mut Vec<Finding>,
) {
    match value {
        Value::String(_) => {
            let days = class(value, at, settings, findings);
            settings.executions.keep_succeeded = days;
            settings.executions.keep_failed = days;
        }
        Value::Object(members) => {
            for (name, value) in members {
                let at = format!("{at}/{}", escape(name));
                match name.as_str() {
                    "succeeded" => {
                        settings.executions.keep_succeeded = class(value, &at, settings, findings);
                    }
                    "failed" => {
                        settings.executions.keep_failed = class(value, &at, settings, findings);
                    }
                    _ => findings.push(finding(
                        &at,
                        &format!("unknown member `{name}`; known are succeeded, failed"),
                    )),
                }
            }
        }
        _ => findings.push(finding(
            at,
            "a retention is a duration such as \"P7D\", or an object of succeeded and failed",
        )),
    }
}

/// The class of retention that keeps for at least as long.
fn class(
    value: &Value,
    at: &str,
    settings: &mut Settings,
    findings: &mut Vec<Finding>,
) -> Option<u16> {
    let wanted = duration(value, at, findings)?;
    let fits = |days: &u16| DAY * u32::from(*days) >= wanted;
    let Some(days) = RETENTION_CLASSES.into_iter().find(fits) else {
        let longest = RETENTION_CLASSES.last().copied().unwrap_or_default();
        findings.push(finding(at, &format!("at most P{longest}D")));
        return None;
    };
    if DAY * u32::from(days) != wanted {
        let classes = RETENTION_CLASSES.map(|days| format!("P{days}D")).join(", ");
        settings.warnings.push(finding(
            at,
            &format!("kept for P{days}D, the next of the classes {classes}"),
        ));
    }
    Some(days)
}

/// From -100 to 100.
pub(super) fn priority(value: &Value, at: &str, findings: &mut Vec<Finding>) -> i16 {
    match value.as_i64() {
        Some(number) if (-MAX_PRIORITY..=MAX_PRIORITY).contains(&number) => {
            i16::try_from(number).unwrap_or_default()
        }
        _ => {
            findings.push(finding(
                at,
                &format!("a priority is an integer from -{MAX_PRIORITY} to {MAX_PRIORITY}"),
            ));
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::read;
    use super::*;
    use serde_json::json;

    fn settings(config: &Value) -> DeploymentSettings {
        read(config, "/config").unwrap().executions
    }

    fn faults(config: &Value) -> Vec<String> {
        let faults = read(config, "/config").unwrap_err();
        faults.into_iter().map(|fault| fault.pointer).collect()
    }

    #[test]
    fn all_of_it_is_read() {
        let read = settings(&json!({
            "concurrency": {"limit": 3, "key": "${ .customer }", "policy": "cancelRunning"},
            "timeout": {"start": "PT1M", "idle": "PT30S", "total": "PT1H"},
            "retention": {"succeeded": "P1D", "failed": "P90D"},
            "priority": -7,
        }));
        let limit = read.concurrency.unwrap();
        assert_eq!((limit.limit, limit.key.as_deref()), (3, Some(".customer")));
        assert_eq!(limit.policy, ConcurrencyPolicy::CancelRunning);
        assert_eq!(read.start_timeout, Some(Duration::from_mins(1)));
        assert_eq!(read.idle_timeout, Some(Duration::from_secs(30)));
        assert_eq!(read.total_timeout, Some(Duration::from_hours(1)));
        assert_eq!((read.keep_succeeded, read.keep_failed), (Some(1), Some(90)));
        assert_eq!(read.priority, -7);
    }

    #[test]
    fn short_forms_and_defaults_are_read() {
        let read = settings(&json!({
            "concurrency": {"limit": 1}, "timeout": "PT5M", "retention": "P7D"
        }));
        assert_eq!(read.concurrency.unwrap().policy, ConcurrencyPolicy::Queue);
        assert_eq!(read.total_timeout, Some(Duration::from_mins(5)));
        assert_eq!((read.keep_succeeded, read.keep_failed), (Some(7), Some(7)));
        let allowed = settings(&json!({"concurrency": {"limit": 1, "policy": "allow"}}));
        assert_eq!(allowed, DeploymentSettings::default());
    }

    #[test]
    fn retention_is_rounded_up_and_says_so() {
        let read = read(&json!({"retention": "P10D"}), "/config").unwrap();
        assert_eq!(read.executions.keep_failed, Some(14));
        assert_eq!(read.warnings[0].pointer, "/config/retention");
        assert!(read.warnings[0].message.contains("P14D"));
    }

    #[test]
    fn every_fault_is_found_at_its_place() {
        assert_eq!(
            faults(&json!({
                "concurrency": {"limit": 0, "key": ".a |", "policy": "wait", "max": 1},
                "timeout": {"total": "1h", "idle": "PT0S", "soft": 1},
                "retention": "P9999D",
                "priority": 1.5,
            })),
            [
                "/config/concurrency/limit",
                "/config/concurrency/key",
                "/config/concurrency/policy",
                "/config/concurrency/max",
                "/config/timeout/total",
                "/config/timeout/idle",
                "/config/timeout/soft",
                "/config/retention",
                "/config/priority",
            ]
        );
        assert_eq!(faults(&json!({"concurrency": {}})), ["/config/concurrency"]);
        assert_eq!(
            faults(&json!({"concurrency": {"limit": 1, "key": "$secrets.x"}})),
            ["/config/concurrency/key"]
        );
    }
}
