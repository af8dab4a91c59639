//! Logs in files, their level, and traces: from outside.

mod support;

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use millrace_testkit::{eventually, free_port};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::{Value, json};
use support::echo::Echo;
use support::{Millrace, PATIENCE, Service, answer, client, command};

const WORKFLOW: &str = "document: {dsl: '1.0.3', namespace: default, name: one, version: '1.0.0'}\n\
    do:\n  - only: {set: {n: 1}}\n";

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}")))
        .collect()
}

#[tokio::test]
async fn the_log_level_changes_while_the_process_runs() {
    let data = tempfile::tempdir().unwrap();
    let log = data.path().join("logs/millrace.log");
    let admin = format!("127.0.0.1:{}", free_port());
    let folder = data.path().to_str().unwrap();
    let any = "127.0.0.1:0";
    let arguments = [
        ["dev", "--ready-json"],
        ["--data-dir", folder],
        ["--listen", any],
        ["--runtime-listen", any],
        ["--orchestrator-listen", any],
        ["--admin-listen", &admin],
    ];
    let settings = [("MILLRACE_LOG__FILE", log.to_str().unwrap())];
    let millrace = Millrace::start(arguments.as_flattened(), &settings).await;
    let (status, scheduler) = answer(client().get(format!("http://{admin}/admin/scheduler"))).await;
    assert_eq!((status, &scheduler["state"]), (200, &json!("running")));
    let url = format!("http://{admin}/admin/log-level");
    let put = async |level: &str| {
        let body = json!({"level": level}).to_string();
        answer(client().put(&url).body(body)).await
    };
    let (status, shown) = answer(client().get(&url)).await;
    assert_eq!((status, &shown["level"]), (200, &json!("warn")));
    let (status, problem) = put("debgu").await;
    assert_eq!(status, 400);
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("`debgu`"), "{problem}");
    let levels = "info,millrace_runtime=debug";
    let (status, shown) = put(levels).await;
    assert_eq!((status, &shown["level"]), (200, &json!(levels)));
    let (_, shown) = answer(client().get(&url)).await;
    assert_eq!(shown["level"], levels);

    assert!(millrace.terminate().await.success());
    let text = std::fs::read_to_string(&log).unwrap();
    let lines = lines(&text);
    let changed = lines
        .iter()
        .position(|line| line["fields"]["after"] == levels)
        .unwrap_or_else(|| panic!("no line tells of the change: {text}"));
    let informs = |line: &Value| line["level"] == "INFO";
    assert!(!lines[..changed].iter().any(informs), "{text}");
    let stopped = |line: &Value| line["message"] == "stopped" && informs(line);
    assert!(lines[changed..].iter().any(stopped), "{text}");
}

/// Archives of a log, oldest first.
fn archives(directory: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "gz"))
        .collect();
    found.sort();
    found
}

#[tokio::test]
async fn log_files_are_archived_and_the_newest_are_kept() {
    let data = tempfile::tempdir().unwrap();
    let logs = data.path().join("logs");
    let log = logs.join("millrace.log");
    let settings = [
        ("MILLRACE_LOG", "warn,millrace_engine=debug"),
        ("MILLRACE_LOG__FILE", log.to_str().unwrap()),
        ("MILLRACE_LOG__FILE_MAX_SIZE", "4096"),
        ("MILLRACE_LOG__FILE_KEEP", "3"),
    ];
    let millrace = Millrace::dev_with(data.path(), &settings).await;
    // Each process needs a file of its own.
    let other = tempfile::tempdir().unwrap();
    let arguments = ["dev", "--data-dir", other.path().to_str().unwrap()];
    let refused = command(&arguments, &settings).output().await.unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains("`log.file`") && said.contains("another process"),
        "{said}"
    );

    millrace.deploy(WORKFLOW, "one").await;
    let mut first = None;
    let kept = eventually(PATIENCE, || {
        let found = archives(&logs);
        if first.is_none() {
            first = found.first().cloned();
        }
        let (oldest, millrace) = (first.clone(), &millrace);
        async move {
            millrace.fire("one", &json!({})).await;
            // Some have come, and the first ones have gone.
            match oldest {
                Some(oldest) if found.len() == 3 && !found.contains(&oldest) => Ok(found),
                _ => Err(found),
            }
        }
    })
    .await;
    assert!(millrace.terminate().await.success());
    for archive in kept.iter().filter(|archive| archive.exists()) {
        let file = std::fs::File::open(archive).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(file)
            .read_to_string(&mut text)
            .unwrap();
        assert!(text.len() <= 4096 && !lines(&text).is_empty(), "{text}");
    }
}

/// A collector that keeps every span, with who sent it.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

impl Collector {
    async fn start(&self) -> Service {
        let kept = self.clone();
        let collect = async move |body: Bytes| {
            let Ok(request) = ExportTraceServiceRequest::decode(body) else {
                return StatusCode::BAD_REQUEST;
            };
            let mut all = kept.0.lock().unwrap();
            for resource in request.resource_spans {
                let service = service_name(&resource.resource.unwrap_or_default());
                let scopes = resource.scope_spans.into_iter();
                let spans = scopes.flat_map(|scope| scope.spans);
                all.extend(spans.map(|span| (service.clone(), span)));
            }
            StatusCode::OK
        };
        Service::start(Router::new().route("/v1/traces", post(collect))).await
    }

    /// Those of one trace.
    fn of(&self, trace: &str) -> Vec<(String, Span)> {
        let all = self.0.lock().unwrap();
        let ours = all.iter().filter(|(_, span)| hex(&span.trace_id) == trace);
        ours.cloned().collect()
    }
}

fn service_name(resource: &Resource) -> String {
    let named = resource
        .attributes
        .iter()
        .find(|attribute| attribute.key == "service.name");
    let value = named.and_then(|attribute| attribute.value.clone()?.value);
    match value {
        Some(any_value::Value::StringValue(name)) => name,
        other => panic!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const SENDER: &str = "b7ad6b7169203331";

/// A workflow that calls `url`.
fn calls(url: &str) -> String {
    format!(
        "document: {{dsl: '1.0.3', namespace: default, name: one, version: '1.0.0'}}\n\
         do:\n  - ask: {{call: http, with: {{method: get, endpoint: '{url}/x?secret=1'}}}}\n"
    )
}

#[tokio::test]
async fn one_trace_leads_from_the_gateway_through_the_runtime_and_an_engine_to_a_call() {
    let (collector, asked) = (Collector::default(), Echo::start().await);
    let service = collector.start().await;
    let data = tempfile::tempdir().unwrap();
    let database = format!("sqlite://{}/m.db", data.path().display());
    let collects = ("OTEL_EXPORTER_OTLP_ENDPOINT", service.url.as_str());
    let settings = [("DATABASE_URL", database.as_str()), collects];
    let migrated = command(&["migrate"], &settings).output().await.unwrap();
    assert!(migrated.status.success(), "{migrated:?}");
    let listen = ["--ready-json", "--listen", "127.0.0.1:0"];
    let role = |role| [&[role], &listen[..]].concat();

    let egress = ("MILLRACE_ENGINE__EGRESS__ALLOW", "loopback");
    let engine = Millrace::start(&role("engine"), &[collects, egress]).await;
    let engine_at = engine.address("engine");
    let with_engine = [
        settings[0],
        collects,
        ("MILLRACE_RUNTIME__ENGINE", &engine_at),
    ];
    let runtime = Millrace::start(&role("runtime"), &with_engine).await;
    let runtime_at = format!("http://{}", runtime.address("runtime"));
    let with_runtime = [
        collects,
        ("MILLRACE_GATEWAY__RUNTIME", runtime_at.as_str()),
        ("MILLRACE_GATEWAY__STOP_DELAY", "1ms"),
    ];
    let gateway = Millrace::start(&role("gateway"), &with_runtime).await;

    gateway.deploy(&calls(&asked.url), "one").await;
    let request = client()
        .post(gateway.url("/webhooks/one"))
        .header("traceparent", format!("00-{TRACE}-{SENDER}-01"))
        .header("content-type", "application/json")
        .body("{}");
    let (status, accepted) = answer(request).await;
    assert_eq!(status, 202, "{accepted}");
    let id = accepted["executionId"].as_str().unwrap();
    gateway.until(id, &["SUCCEEDED"]).await;
    // Their end sends what is left.
    for process in [gateway, runtime, engine] {
        assert!(process.terminate().await.success());
    }

    let spans = collector.of(TRACE);
    let behind = |parent: &str, service: &str, name: &str| {
        let found = spans.iter().find(|(from, span)| {
            hex(&span.parent_span_id) == parent && from == service && span.name == name
        });
        let (_, span) = found.unwrap_or_else(|| panic!("no {name} behind {parent}: {spans:#?}"));
        assert!(span.end_time_unix_nano >= span.start_time_unix_nano);
        hex(&span.span_id)
    };
    let request = behind(SENDER, "millrace-gateway", "POST /webhooks/{*path}");
    let trigger = "millrace.runtime.v1.WorkflowRuntimeService/TriggerWorkflow";
    let triggered = behind(&request, "millrace-runtime", trigger);
    let execution = behind(&triggered, "millrace-runtime", "execution");
    let execute = "millrace.engine.v1.WorkflowEngineService/Execute";
    let served = behind(&execution, "millrace-engine", execute);
    let conversation = behind(&served, "millrace-engine", "conversation");
    let call = behind(&conversation, "millrace-engine", "GET");
    let sent = asked.calls()[0].headers["traceparent"].clone();
    assert_eq!(sent, format!("00-{TRACE}-{call}-01"));
    // What may be secret in an address does not leave the process.
    assert!(!format!("{spans:?}").contains("secret"), "{spans:#?}");
}

#[tokio::test]
async fn a_trace_that_its_caller_does_not_keep_is_passed_on_and_not_sent() {
    let (collector, asked) = (Collector::default(), Echo::start().await);
    let service = collector.start().await;
    let data = tempfile::tempdir().unwrap();
    let settings = [("MILLRACE_OTLP__ENDPOINT", service.url.as_str())];
    let millrace = Millrace::dev_with(data.path(), &settings).await;
    millrace.deploy(&calls(&asked.url), "one").await;
    let request = client()
        .post(millrace.url("/webhooks/one"))
        .header("traceparent", format!("00-{TRACE}-{SENDER}-00"))
        .header("content-type", "application/json")
        .body("{}");
    let (_, accepted) = answer(request).await;
    let id = accepted["executionId"].as_str().unwrap();
    millrace.until(id, &["SUCCEEDED"]).await;
    assert!(millrace.terminate().await.success());
    let sent = asked.calls()[0].headers["traceparent"].clone();
    let sent = sent.to_str().unwrap();
    assert!(
        sent.starts_with(&format!("00-{TRACE}-")) && sent.ends_with("-00"),
        "{sent}"
    );
    assert_eq!(collector.of(TRACE), []);
    // Others, which began here, were sent.
    let all = collector.0.lock().unwrap().clone();
    let deployed = all
        .iter()
        .any(|(from, span)| from == "millrace-dev" && span.name == "POST /api/deployments");
    assert!(deployed, "{all:#?}");
}

#[tokio::test]
async fn a_collector_that_is_away_stops_nothing_and_is_told_of() {
    let data = tempfile::tempdir().unwrap();
    let log = data.path().join("millrace.log");
    let settings = [
        ("MILLRACE_OTLP__ENDPOINT", "http://127.0.0.1:1"),
        ("MILLRACE_LOG__FILE", log.to_str().unwrap()),
    ];
    let millrace = Millrace::dev_with(data.path(), &settings).await;
    millrace.deploy(WORKFLOW, "one").await;
    let id = millrace.fire("one", &json!({})).await;
    millrace.until(&id, &["SUCCEEDED"]).await;
    assert!(millrace.terminate().await.success());
    let text = std::fs::read_to_string(&log).unwrap();
    let told = text.matches("traces are lost").count();
    assert_eq!(told, 1, "{text}");
    // What cannot be used is refused at the start.
    let settings = [("OTEL_EXPORTER_OTLP_ENDPOINT", "https://collector:4318")];
    let refused = command(&["dev"], &settings).output().await.unwrap();
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains("`otlp.endpoint`") && said.contains("TLS"),
        "{said}"
    );
}
