//! The document as a whole.

use std::collections::BTreeMap;

use serde_json::Value;

use super::place::{Places, escaped};
use super::reader::{Findings, Object, kind};
use super::{
    BuildSpec, EnvValue, Finding, Health, Isolation, LogLimits, ServiceKind, ServiceSpec, probe,
    resources, restart,
};

/// The keys of the document.
pub(super) const KEYS: &[&str] = &[
    "$schema",
    "name",
    "type",
    "entry",
    "command",
    "build",
    "env",
    "port",
    "health",
    "restart",
    "stop",
    "resources",
    "dependsOn",
    "logs",
    "isolation",
    "user",
];

/// Names that services cannot set: the orchestrator does.
const RESERVED: &str = "MILLRACE_";
/// But for this one: the key of an API that it calls is the service's own.
const API_KEY: &str = "MILLRACE_API_KEY";

/// Reads the text of the `service.json` in the folder called `folder`.
pub fn read(text: &str, folder: &str) -> Result<ServiceSpec, Vec<Finding>> {
    let value: Value = serde_json::from_str(text).map_err(|error| {
        vec![Finding {
            pointer: String::new(),
            line: u32::try_from(error.line()).unwrap_or(0),
            column: u32::try_from(error.column()).unwrap_or(0),
            message: format!("this is not JSON: {error}"),
        }]
    })?;
    let mut findings = Findings::new(Places::of(text));
    let spec = document(&value, folder, &mut findings);
    match spec {
        Some(spec) if findings.list.is_empty() => Ok(spec),
        _ => {
            findings.list.sort_by_key(|f| (f.line, f.column));
            Err(findings.list)
        }
    }
}

/// Whether a text may name a service: it is part of paths and addresses.
pub fn is_service_name(name: &str) -> bool {
    let bytes = name.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    (1..=63).contains(&bytes.len())
        && bytes.iter().all(inner)
        && bytes.first() != Some(&b'-')
        && bytes.last() != Some(&b'-')
}

fn document(value: &Value, folder: &str, findings: &mut Findings) -> Option<ServiceSpec> {
    let object = Object::read(value, "", KEYS, findings)?;
    let name = match object.get("name") {
        None => folder.to_owned(),
        Some(_) => object.text("name", findings).unwrap_or(folder).to_owned(),
    };
    if !is_service_name(&name) {
        findings.add(
            "/name",
            format!("`{name}` has to be made of a-z, 0-9 and -, with at most 63 characters"),
        );
    } else if name != folder {
        findings.add(
            "/name",
            format!("it has to be the folder's name, `{folder}`"),
        );
    }
    let kind = service_kind(&object, findings);
    let command = object.command("command", findings);
    let entry = entry(&object, findings);
    if let Some(kind) = kind {
        fits(kind, &object, findings);
    }
    let port = object.flag("port", findings).unwrap_or(true);
    let spec = ServiceSpec {
        name,
        kind: kind.unwrap_or(ServiceKind::Process),
        entry,
        command,
        build: build(&object, findings),
        env: env(&object, findings),
        port,
        health: health(&object, port, findings),
        restart: restart::read(&object, findings),
        stop: resources::stop(&object, findings),
        resources: resources::read(&object, findings),
        depends_on: depends_on(&object, folder, findings),
        logs: logs(&object, findings),
        isolation: isolation(&object, findings),
        user: object.text("user", findings).map(str::to_owned),
    };
    kind.map(|_| spec)
}

fn service_kind(object: &Object<'_>, findings: &mut Findings) -> Option<ServiceKind> {
    if object.get("type").is_none() {
        findings.add("", "`type` is missing: dataobject or process");
        return None;
    }
    match object.text("type", findings)? {
        "dataobject" => Some(ServiceKind::Dataobject),
        "process" => Some(ServiceKind::Process),
        "container" => {
            findings.add(
                "/type",
                "this version runs no containers yet; say process or dataobject",
            );
            None
        }
        other => {
            findings.add(
                "/type",
                format!("`{other}` is not one of dataobject, process, container"),
            );
            None
        }
    }
}

/// What a type has to have, and cannot have.
fn fits(kind: ServiceKind, object: &Object<'_>, findings: &mut Findings) {
    match kind {
        ServiceKind::Process | ServiceKind::Container => {
            if object.get("command").is_none() {
                findings.add("", "`command` is missing: what a process runs");
            }
            if object.get("entry").is_some() {
                findings.add("/entry", "a process has a command, not an entry");
            }
        }
        ServiceKind::Dataobject => {
            if object.get("command").is_some() {
                findings.add("/command", "a dataobject has an entry, not a command");
            }
            if object.get("port") == Some(&Value::Bool(false)) {
                findings.add("/port", "a dataobject always listens");
            }
        }
    }
}

fn entry(object: &Object<'_>, findings: &mut Findings) -> Option<String> {
    let entry = object.text("entry", findings)?;
    let inside = !entry.starts_with('/') && entry.split('/').all(|part| part != "..");
    if !inside {
        findings.add("/entry", "it has to be a path within the service's folder");
    }
    Some(entry.to_owned())
}

fn build(object: &Object<'_>, findings: &mut Findings) -> Option<BuildSpec> {
    let value = object.get("build")?;
    let build = Object::read(value, "/build", &["command", "inputs", "timeout"], findings)?;
    let default = BuildSpec::default();
    Some(BuildSpec {
        command: build.command("command", findings),
        inputs: build.texts("inputs", findings),
        timeout: build
            .positive("timeout", findings)
            .unwrap_or(default.timeout),
    })
}

fn env(object: &Object<'_>, findings: &mut Findings) -> BTreeMap<String, EnvValue> {
    let mut env = BTreeMap::new();
    let Some(value) = object.get("env") else {
        return env;
    };
    let Some(map) = value.as_object() else {
        findings.add(
            "/env",
            format!("it has to be an object, not {}", kind(value)),
        );
        return env;
    };
    for (name, value) in map {
        let at = format!("/env/{}", escaped(name));
        let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !starts || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            findings.add(&at, format!("`{name}` is no name of a variable"));
        } else if name == "PORT" || (name.starts_with(RESERVED) && name != API_KEY) {
            findings.add(&at, format!("{name} is set by Millrace"));
        }
        let Some(text) = value.as_str().filter(|text| !text.contains('\0')) else {
            findings.add(&at, "it has to be a string without NUL characters");
            continue;
        };
        let value = match text.strip_prefix("secret:") {
            None => {
                if name == API_KEY {
                    findings.add(&at, "it has to be a secret, as in `secret:NAME`");
                }
                EnvValue::Literal(text.to_owned())
            }
            Some(secret) => {
                let fits = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
                if secret.is_empty() || secret.starts_with('.') || !secret.chars().all(fits) {
                    findings.add(&at, "after `secret:` comes the name of a secret");
                }
                EnvValue::Secret(secret.to_owned())
            }
        };
        env.insert(name.clone(), value);
    }
    env
}

fn health(object: &Object<'_>, port: bool, findings: &mut Findings) -> Health {
    let keys = ["startup", "readiness", "liveness"];
    let Some(health) = object
        .get("health")
        .and_then(|value| Object::read(value, "/health", &keys, findings))
    else {
        return Health::default();
    };
    let mut probe = |key| {
        let value = health.get(key)?;
        probe::read(value, &health.at(key), port, findings)
    };
    Health {
        startup: probe("startup"),
        readiness: probe("readiness"),
        liveness: probe("liveness"),
    }
}

fn depends_on(object: &Object<'_>, folder: &str, findings: &mut Findings) -> Vec<String> {
    let names = object.texts("dependsOn", findings);
    for (index, name) in names.iter().enumerate() {
        let at = format!("/dependsOn/{index}");
        if !is_service_name(name) {
            findings.add(&at, format!("`{name}` is no name of a service"));
        } else if name == folder {
            findings.add(&at, "a service cannot depend on itself");
        } else if names[..index].contains(name) {
            findings.add(&at, format!("`{name}` stands here twice"));
        }
    }
    names
}

fn logs(object: &Object<'_>, findings: &mut Findings) -> LogLimits {
    let keys = ["maxBytes", "maxAge", "keepInstances"];
    let default = LogLimits::default();
    let Some(logs) = object
        .get("logs")
        .and_then(|value| Object::read(value, "/logs", &keys, findings))
    else {
        return default;
    };
    let max_bytes = logs.size("maxBytes", findings).unwrap_or(default.max_bytes);
    if max_bytes < 1 << 20 {
        findings.add("/logs/maxBytes", "it has to be at least 1MiB");
    }
    LogLimits {
        max_bytes,
        max_age: logs.positive("maxAge", findings).unwrap_or(default.max_age),
        keep_instances: logs
            .number("keepInstances", 0, 1000, findings)
            .and_then(|number| u32::try_from(number).ok())
            .unwrap_or(default.keep_instances),
    }
}

fn isolation(object: &Object<'_>, findings: &mut Findings) -> Isolation {
    match object.text("isolation", findings) {
        None | Some("none") => Isolation::None,
        Some("basic") => Isolation::Basic,
        Some("strict") => Isolation::Strict,
        Some(other) => {
            findings.add(
                "/isolation",
                format!("`{other}` is not one of none, basic, strict"),
            );
            Isolation::None
        }
    }
}
