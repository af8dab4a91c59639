//! What is read, and what is said about mistakes.

use std::time::Duration;

use super::*;

fn findings(text: &str) -> Vec<(String, u32)> {
    read(text, "web")
        .unwrap_err()
        .into_iter()
        .map(|finding| (finding.pointer, finding.line))
        .collect()
}

const FULL: &str = r#"{
  "name": "web", "type": "process",
  "command": ["python3", "server.py"],
  "build": {"command": "make", "inputs": ["src/**"], "timeout": "PT2M"},
  "env": {"A": "x", "TOKEN": "secret:api.token"},
  "health": {
    "startup": {"tcp": true, "interval": "PT0.2S", "failureThreshold": 50},
    "readiness": {"http": "/ready", "timeout": "2s", "successThreshold": 2},
    "liveness": {"exec": ["true"], "startPeriod": "PT30S"}
  },
  "restart": {"policy": "always", "maxRestarts": 5, "window": "PT1M",
    "backoff": {"initial": "PT1S", "factor": 3, "max": "PT10S", "jitter": 0, "resetAfter": "PT1M"},
    "exitCodes": {"success": [143], "fatal": [78]}},
  "stop": {"signal": "INT", "grace": "PT3S"},
  "resources": {"memory": "64MiB", "cpu": 0.5, "pids": 32, "openFiles": 256},
  "dependsOn": ["db"],
  "logs": {"maxBytes": "2MiB", "maxAge": "P1D", "keepInstances": 3},
  "isolation": "basic", "user": "nobody"
}"#;

#[test]
fn a_full_document_is_read() {
    let spec = read(FULL, "web").unwrap();
    assert_eq!(spec.kind, ServiceKind::Process);
    assert_eq!(spec.command.unwrap().0, ["python3", "server.py"]);
    assert_eq!(
        spec.build.unwrap().command,
        Some(CommandLine::shell("make"))
    );
    assert_eq!(spec.env["TOKEN"], EnvValue::Secret("api.token".into()));
    assert!(spec.port);
    let readiness = spec.health.readiness.unwrap();
    assert_eq!(
        readiness.check,
        Check::Http {
            path: "/ready".into()
        }
    );
    assert_eq!(readiness.timeout, Duration::from_secs(2));
    assert_eq!(spec.restart.fatal_codes, [78]);
    assert_eq!(
        (spec.stop.signal, spec.stop.grace),
        (2, Duration::from_secs(3))
    );
    assert_eq!(spec.resources.memory, Some(64 << 20));
    assert_eq!(spec.resources.cpu_millis, Some(500));
    assert_eq!(spec.logs.keep_instances, 3);
    assert_eq!(spec.isolation, Isolation::Basic);
}

#[test]
fn a_short_document_has_its_defaults() {
    let spec = read(r#"{"type": "process", "command": "./run"}"#, "web").unwrap();
    assert_eq!(spec.name, "web");
    assert_eq!(spec.command, Some(CommandLine::shell("./run")));
    assert_eq!(spec.restart, RestartRules::default());
    assert_eq!(spec.logs, LogLimits::default());
    let spec = read(r#"{"type": "dataobject"}"#, "web").unwrap();
    assert_eq!((spec.entry, spec.command), (None, None));
}

#[test]
fn all_mistakes_are_found_at_once_with_their_lines() {
    let text = r#"{
  "type": "process",
  "command": [],
  "comand": "x",
  "env": {"PORT": "1", "1A": "x", "B": 3},
  "health": {"startup": {"http": "/", "tcp": true},
    "liveness": {"interval": "soon", "tcp": true}},
  "restart": {"policy": "sometimes", "backoff": {"initial": "PT1H"}},
  "stop": {"signal": "SIGSTOP"},
  "resources": {"memory": "much", "cpu": 0, "nofile": 3},
  "dependsOn": ["web", "db", "db"],
  "logs": {"maxBytes": 1},
  "port": 80
}"#;
    let mut found = findings(text);
    found.sort();
    let mut wanted = vec![
        ("/command", 3),
        ("/comand", 4),
        ("/env/PORT", 5),
        ("/env/1A", 5),
        ("/env/B", 5),
        ("/health/startup", 6),
        ("/health/liveness/interval", 7),
        ("/restart/policy", 8),
        ("/restart/backoff/initial", 8),
        ("/stop/signal", 9),
        ("/resources/memory", 10),
        ("/resources/cpu", 10),
        ("/resources/nofile", 10),
        ("/dependsOn/0", 11),
        ("/dependsOn/2", 11),
        ("/logs/maxBytes", 12),
        ("/port", 13),
    ];
    wanted.sort_unstable();
    let wanted: Vec<(String, u32)> = wanted
        .into_iter()
        .map(|(pointer, line)| (pointer.to_owned(), line))
        .collect();
    assert_eq!(found, wanted);
}

#[test]
fn of_what_is_millrace_s_a_service_sets_its_key_alone_and_from_a_secret() {
    let with = |env: &str| format!(r#"{{"type": "process", "command": "x", "env": {{{env}}}}}"#);
    let key = with(r#""MILLRACE_API_KEY": "secret:gateway""#);
    let spec = read(&key, "web").unwrap();
    let secret = EnvValue::Secret("gateway".into());
    assert_eq!(spec.env["MILLRACE_API_KEY"], secret);
    let literal = with(r#""MILLRACE_API_KEY": "mlr_x""#);
    let other = with(r#""MILLRACE_API_KEYS": "secret:gateway""#);
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let is_valid = |text: &str| validator.is_valid(&serde_json::from_str(text).unwrap());
    assert!(is_valid(&key));
    for bad in [literal, other] {
        assert_eq!(findings(&bad).len(), 1, "{bad}");
        assert!(!is_valid(&bad), "{bad}");
    }
}

#[test]
fn types_have_what_they_need() {
    assert_eq!(findings("{}"), [(String::new(), 1)]);
    assert_eq!(findings(r#"{"type": "process"}"#), [(String::new(), 1)]);
    assert_eq!(
        findings(r#"{"type": "container", "command": ["x"]}"#),
        [("/type".to_owned(), 1)]
    );
    assert_eq!(
        findings(r#"{"type": "dataobject", "command": ["x"], "port": false}"#),
        [("/command".to_owned(), 1), ("/port".to_owned(), 1)]
    );
    assert_eq!(
        findings(r#"{"type": "process", "command": "x", "name": "other"}"#),
        [("/name".to_owned(), 1)]
    );
    assert_eq!(
        findings(r#"{"type": "process", "type": "process", "command": "x"}"#),
        [("/type".to_owned(), 1)],
        "a key that stands twice"
    );
    let portless = r#"{"type": "process", "command": "x", "port": false,
        "health": {"readiness": {"tcp": true}, "liveness": {"exec": "true"}}}"#;
    assert_eq!(findings(portless), [("/health/readiness".to_owned(), 2)]);
}

#[test]
fn what_is_no_json_says_where() {
    let found = read("{\n  \"type\": process\n}", "web").unwrap_err();
    assert_eq!((found[0].line, found.len()), (2, 1));
    // Whatever it is, it ends with an answer.
    for text in ["", "[", "null", "[1,2]", "{\"a\":{\"b\":[}}", "\"\\u00"] {
        assert!(read(text, "web").is_err(), "{text}");
    }
}

#[test]
fn the_schema_knows_the_same_keys() {
    let schema: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    let mut known: Vec<&str> = schema["properties"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    known.sort_unstable();
    let mut ours = super::read::KEYS.to_vec();
    ours.sort_unstable();
    assert_eq!(known, ours);
    let validator = jsonschema::validator_for(&schema).unwrap();
    let full: serde_json::Value = serde_json::from_str(FULL).unwrap();
    assert!(validator.is_valid(&full), "{:?}", validator.validate(&full));
    for bad in [
        r#"{"type": "process"}"#,
        r#"{"type": "process", "command": "x", "comand": "x"}"#,
        r#"{"type": "process", "command": "x", "port": 80}"#,
        r#"{"type": "dataobject", "command": "x"}"#,
    ] {
        let value: serde_json::Value = serde_json::from_str(bad).unwrap();
        assert!(!validator.is_valid(&value), "{bad}");
    }
}

#[test]
fn delays_grow_to_the_cap_and_jitter_shortens_them() {
    let backoff = Backoff {
        initial: Duration::from_secs(1),
        factor: 2.0,
        max: Duration::from_secs(10),
        jitter: 0.5,
        ..Backoff::default()
    };
    let delays: Vec<u64> = (0..6).map(|n| backoff.delay(n, 0.0).as_secs()).collect();
    assert_eq!(delays, [1, 2, 4, 8, 10, 10]);
    assert_eq!(backoff.delay(4, 1.0), Duration::from_secs(5));
    assert_eq!(backoff.delay(u32::MAX, 0.0), Duration::from_secs(10));
    let default = Backoff::default();
    assert_eq!(
        default.delay(0, 0.5),
        Duration::ZERO,
        "a crash is answered at once"
    );
    assert_eq!(default.delay(1, 0.0), Duration::from_millis(500));
    assert_eq!(default.delay(40, 0.0), default.max);
}
