//! Layers, their order, and errors that say where.

use std::path::Path;
use std::time::Duration;

use millrace_service::config::{Config, Environment, LogFormat, Origin, RuntimeEngine, Sources};

fn sources(file: &str) -> (tempfile::TempDir, Sources) {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("millrace.toml"), file).unwrap();
    let sources = Sources {
        directory: directory.path().to_owned(),
        ..Sources::default()
    };
    (directory, sources)
}

fn error(file: &str, environment: Environment) -> String {
    let (directory, mut sources) = sources(file);
    sources.environment = environment;
    let error = sources.load().unwrap_err().to_string();
    error.replace(&format!("{}/", directory.path().display()), "")
}

#[test]
fn without_any_layer_the_defaults_hold() {
    let directory = tempfile::tempdir().unwrap();
    let sources = Sources {
        directory: directory.path().to_owned(),
        ..Sources::default()
    };
    let config = sources.load().unwrap().config;
    assert_eq!(config, Config::default());
    assert_eq!(config.gateway.body_limit, 1_048_576);
    assert_eq!(config.runtime.lease_ttl, Duration::from_secs(10));
}

#[test]
fn each_layer_wins_over_the_one_below() {
    let (directory, mut sources) = sources(
        "[gateway]\nlisten = \"127.0.0.1:1\"\n[runtime]\nlisten = \"127.0.0.1:1\"\nmax_running = 7\n\
         [orchestrator]\nlisten = \"127.0.0.1:1\"",
    );
    sources.environment = Environment::from([
        ("MILLRACE_GATEWAY__LISTEN", "127.0.0.1:2"),
        ("MILLRACE_RUNTIME__LISTEN", "127.0.0.1:2"),
    ]);
    sources.flag("--listen", "gateway.listen", Some("127.0.0.1:3"));
    sources.flag("--runtime-listen", "runtime.listen", None::<String>);
    let loaded = sources.load().unwrap();
    assert_eq!(loaded.config.gateway.listen.port(), 3);
    assert_eq!(loaded.config.runtime.listen.port(), 2);
    assert_eq!(loaded.config.orchestrator.listen.port(), 1);
    assert_eq!(loaded.config.runtime.max_running, 7);
    assert_eq!(loaded.origin("gateway.listen"), Origin::Flag("--listen"));
    assert_eq!(
        loaded.origin("runtime.max_running"),
        Origin::File {
            path: directory.path().join("millrace.toml"),
            line: 5
        }
    );
    assert_eq!(loaded.origin("retention.days"), Origin::Default);
}

#[test]
fn values_are_read_from_text_as_from_toml() {
    let file = r#"
        database = { url = "postgres://me:pw@db/x", max_connections = 0x10 }
        log.format = "json"
        [gateway]
        runtime = ["http://one:50051", "two:50051"]
        body_limit = "2MiB"
        [runtime]
        engine = "engine:50053"
        lease_ttl = "PT1M30S"
        [engine.egress]
        allow = ["10.0.0.0/8"]
    "#;
    let (_directory, mut from_file) = sources(file);
    from_file.environment = Environment::from([("DATABASE_URL", "")]);
    let from_file = from_file.load().unwrap().config;
    let (_directory, mut from_variables) = sources("");
    from_variables.environment = Environment::from([
        ("DATABASE_URL", "postgres://me:pw@db/x"),
        ("MILLRACE_DATABASE__MAX_CONNECTIONS", "16"),
        ("MILLRACE_LOG__FORMAT", "json"),
        ("MILLRACE_GATEWAY__RUNTIME", "one:50051, http://two:50051/"),
        ("MILLRACE_GATEWAY__BODY_LIMIT", "2097152"),
        ("MILLRACE_RUNTIME__ENGINE", "http://engine:50053"),
        ("MILLRACE_RUNTIME__LEASE_TTL", "1m 30s"),
        ("MILLRACE_ENGINE__EGRESS__ALLOW", "10.0.0.0/8"),
    ]);
    let from_variables = from_variables.load().unwrap().config;
    assert_eq!(from_file, from_variables);
    assert_eq!(from_file.log.format, LogFormat::Json);
    assert_eq!(from_file.runtime.lease_ttl, Duration::from_secs(90));
    assert!(matches!(&from_file.runtime.engine, RuntimeEngine::Remote(peers) if peers.len() == 1));
}

#[test]
fn our_own_variable_counts_for_more_than_a_shared_one() {
    let (_directory, mut sources) = sources("");
    sources.environment = Environment::from([
        ("MILLRACE_DATABASE__URL", "postgres://ours/x"),
        ("DATABASE_URL", "postgres://theirs/x"),
        ("MILLRACE_LOG", "warn,millrace_runtime=debug"),
    ]);
    let config = sources.load().unwrap().config;
    assert_eq!(config.database.url.unwrap().expose(), "postgres://ours/x");
    assert_eq!(config.log.level, "warn,millrace_runtime=debug");
}

#[test]
fn an_unknown_key_is_refused_with_its_place_and_a_guess() {
    assert_eq!(
        error(
            "[gateway]\n\nlissten = \"127.0.0.1:1\"",
            Environment::default()
        ),
        "millrace.toml:3: there is no setting `gateway.lissten` (did you mean `gateway.listen`?)"
    );
    assert_eq!(
        error("colour = 1", Environment::default()),
        "millrace.toml:1: there is no setting `colour`"
    );
    assert_eq!(
        error(
            "",
            Environment::from([("MILLRACE_REDIS__URI", "redis://x")])
        ),
        "variable MILLRACE_REDIS__URI: there is no setting `redis.uri` (did you mean `redis.url`?)"
    );
    assert_eq!(
        error(
            "",
            Environment::from([("MILLRACE_GATEWAY_LISTEN", "127.0.0.1:1")])
        ),
        "variable MILLRACE_GATEWAY_LISTEN: there is no setting `MILLRACE_GATEWAY_LISTEN` \
         (did you mean `MILLRACE_GATEWAY__LISTEN`?)"
    );
}

#[test]
fn variables_that_a_platform_adds_are_no_mistakes() {
    let (_directory, mut sources) = sources("");
    sources.environment = Environment::from([
        ("MILLRACE_GATEWAY_PORT", "tcp://10.0.0.1:8080"),
        ("MILLRACE_GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("MILLRACE_SERVER", "http://127.0.0.1:8080"),
    ]);
    assert_eq!(sources.load().unwrap().config, Config::default());
}

#[test]
fn an_unusable_value_is_named_with_its_place_and_never_repeated() {
    assert_eq!(
        error("[runtime]\nlease_ttl = \"soon\"", Environment::default()),
        "millrace.toml:2: the value of `runtime.lease_ttl` is not usable: \
         it is not a duration such as 10s, 1m 30s or PT10S"
    );
    assert_eq!(
        error("", Environment::from([("DATABASE_URL", "hunter2")])),
        "variable DATABASE_URL: the value of `database.url` is not usable: \
         it is not a URL: relative URL without a base"
    );
    let (_directory, mut sources) = sources("");
    sources.flag("--listen", "gateway.listen", Some("8080"));
    assert_eq!(
        sources.load().unwrap_err().to_string(),
        "flag --listen: the value of `gateway.listen` is not usable: \
         it is not an address to listen on, such as 127.0.0.1:8080"
    );
    for (key, bad) in [
        ("runtime.max_running", "0"),
        ("runtime.max_running", "-1"),
        ("runtime.drain", "-5s"),
        ("runtime.engine", ""),
        ("runtime.engine", "elsewhere"),
        ("gateway.body_limit", "1 league"),
        ("gateway.runtime", "grpc://runtime:50051"),
        ("log.format", "xml"),
        ("dev.data_dir", ""),
    ] {
        let mut sources = Sources {
            directory: "/nowhere".into(),
            ..Sources::default()
        };
        sources.flag("--flag", key, Some(bad));
        assert!(sources.load().is_err(), "{key} took {bad}");
    }
}

#[test]
fn broken_toml_is_refused_with_line_and_column() {
    let error = error("[gateway]\nlisten = ", Environment::default());
    assert!(error.starts_with("millrace.toml:2:"), "{error}");
}

#[test]
fn a_named_file_must_exist() {
    let sources = Sources {
        file: Some("/nowhere/millrace.toml".into()),
        ..Sources::default()
    };
    let error = sources.load().unwrap_err().to_string();
    assert!(error.starts_with("/nowhere/millrace.toml: "), "{error}");
    assert!(!Path::new("/nowhere").exists());
}

#[test]
fn the_printed_configuration_hides_passwords_and_can_be_read_back() {
    let (_directory, mut first) = sources("[log]\nformat = \"pretty\"");
    first.environment = Environment::from([
        ("DATABASE_URL", "postgres://me:hunter2@db/x"),
        ("MILLRACE_RUNTIME__LEASE_TTL", "90s"),
    ]);
    let printed = first.load().unwrap().to_toml();
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(
        printed.contains("url = \"postgres://me:***@db/x\"  # variable DATABASE_URL"),
        "{printed}"
    );
    let (_directory, second) = sources(&printed);
    let config = second.load().unwrap().config;
    assert_eq!(config.runtime.lease_ttl, Duration::from_secs(90));
    assert_eq!(config.log.format, LogFormat::Pretty);
}
