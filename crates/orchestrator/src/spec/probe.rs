//! Probes.

use std::time::Duration;

use serde_json::Value;

use super::reader::{Findings, Object, command};
use super::{Check, Probe};

const CHECKS: [&str; 4] = ["http", "tcp", "exec", "grpc"];
const KEYS: &[&str] = &[
    "http",
    "tcp",
    "exec",
    "grpc",
    "interval",
    "timeout",
    "successThreshold",
    "failureThreshold",
    "startPeriod",
];

/// `port`: whether the service listens on one.
pub fn read(value: &Value, pointer: &str, port: bool, findings: &mut Findings) -> Option<Probe> {
    let probe = Object::read(value, pointer, KEYS, findings)?;
    let given: Vec<&str> = CHECKS
        .into_iter()
        .filter(|check| probe.get(check).is_some())
        .collect();
    let check = match given[..] {
        [one] => check(&probe, one, findings),
        _ => {
            findings.add(pointer, "a probe has exactly one of http, tcp, exec, grpc");
            None
        }
    };
    if !port && !matches!(check, None | Some(Check::Exec(_))) {
        findings.add(pointer, "without a port, only an exec probe can be made");
    }
    let mut threshold = |key, default| {
        probe
            .number(key, 1, 1000, findings)
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(default)
    };
    let success_threshold = threshold("successThreshold", 1);
    let failure_threshold = threshold("failureThreshold", 3);
    let interval = probe.positive("interval", findings);
    let timeout = probe.positive("timeout", findings);
    Some(Probe {
        check: check?,
        interval: interval.unwrap_or(Duration::from_secs(10)),
        timeout: timeout.unwrap_or(Duration::from_secs(1)),
        success_threshold,
        failure_threshold,
        start_period: probe.duration("startPeriod", findings).unwrap_or_default(),
    })
}

fn check(probe: &Object<'_>, key: &str, findings: &mut Findings) -> Option<Check> {
    let at = probe.at(key);
    let value = probe.get(key)?;
    match key {
        "http" => {
            let path = probe.text(key, findings)?;
            if !path.starts_with('/') || path.chars().any(|c| c.is_control() || c == ' ') {
                findings.add(&at, "it has to be a path that begins with /");
            }
            Some(Check::Http {
                path: path.to_owned(),
            })
        }
        "exec" => command(value, &at, findings).map(Check::Exec),
        "grpc" => match value {
            Value::Bool(true) => Some(Check::Grpc {
                service: String::new(),
            }),
            Value::String(service) => Some(Check::Grpc {
                service: service.clone(),
            }),
            _ => {
                findings.add(&at, "it has to be true, or the name of a gRPC service");
                None
            }
        },
        _ => {
            if value != &Value::Bool(true) {
                findings.add(&at, "it has to be true");
            }
            Some(Check::Tcp)
        }
    }
}
