//! What log lines look like, and that they carry the trace they belong to.

use std::io;
use std::sync::{Arc, Mutex};

use millrace_service::telemetry::{LogLayer, Style};
use millrace_service::trace_context::TraceContext;
use millrace_service::{OnFailure, TaskGroup};
use serde_json::{Value, json};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Captured {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }

    fn lines(&self) -> Vec<Value> {
        self.text()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

/// Captures the lines of this thread, for as long as the guard lives.
fn capture(style: Style, levels: &str) -> (Captured, tracing::subscriber::DefaultGuard) {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::registry()
        .with(levels.parse::<Targets>().unwrap())
        .with(LogLayer::new(style, move || writer.clone()));
    (captured, tracing::subscriber::set_default(subscriber))
}

#[test]
fn an_event_is_one_json_object_on_one_line() {
    let (captured, _guard) = capture(Style::Json, "info");
    tracing::info!(
        execution.id = "exe_1",
        count = 3_u64,
        ratio = 0.5,
        last = true,
        "line \"one\"\nand\ttwo\u{1}"
    );
    tracing::debug!("not shown");
    let lines = captured.lines();
    assert_eq!(lines.len(), 1);
    let line = &lines[0];
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["target"], "telemetry");
    assert_eq!(line["message"], "line \"one\"\nand\ttwo\u{1}");
    assert_eq!(
        line["fields"],
        json!({"execution.id": "exe_1", "count": 3, "ratio": 0.5, "last": true})
    );
    assert!(line.get("trace_id").is_none());
    line["timestamp"]
        .as_str()
        .unwrap()
        .parse::<millrace_types::Timestamp>()
        .unwrap();
}

#[test]
fn spans_lend_their_fields_and_the_innermost_counts() {
    let (captured, _guard) = capture(Style::Json, "info");
    let outer = tracing::info_span!("outer", a = 1, b = 1, trace_id = "outer").entered();
    let inner = tracing::info_span!("inner", b = 2, c = tracing::field::Empty).entered();
    inner.record("c", 2);
    tracing::info!(c = 3, "hello");
    drop((inner, outer));
    let line = &captured.lines()[0];
    assert_eq!(line["fields"], json!({"a": 1, "b": 2, "c": 3}));
    assert_eq!(line["trace_id"], "outer");
}

#[test]
fn errors_come_with_their_causes_and_secrets_not_at_all() {
    #[derive(Debug, thiserror::Error)]
    #[error("the upper part failed")]
    struct Upper(#[source] io::Error);
    let (captured, _guard) = capture(Style::Json, "info");
    let error = Upper(io::Error::other("the lower part failed"));
    tracing::error!(
        error = &error as &dyn std::error::Error,
        db.password = "hunter2",
        authorization = ?Some("hunter2"),
        "it broke"
    );
    assert_eq!(
        captured.lines()[0]["fields"],
        json!({
            "error": "the upper part failed: the lower part failed",
            "db.password": "***",
            "authorization": "***",
        })
    );
    assert!(!captured.text().contains("hunter2"));
}

#[tokio::test]
async fn every_line_of_a_request_carries_its_trace_id() {
    // At level `warn` the span of the trace is not there to be found.
    for levels in ["info", "warn"] {
        let (captured, _guard) = capture(Style::Json, levels);
        let context = TraceContext::new();
        let tasks = TaskGroup::new();
        context
            .scope(async {
                tracing::warn!("in the request");
                tasks.spawn("background", OnFailure::Log, |_| async {
                    tracing::warn!("in a task of it");
                    Ok::<_, io::Error>(())
                });
            })
            .await;
        tracing::warn!("outside");
        assert!(
            tasks
                .drain(std::time::Duration::from_secs(10))
                .await
                .is_empty()
        );
        let trace_id = json!(context.trace_id().to_string());
        let lines = captured.lines();
        assert_eq!(lines.len(), 3, "{levels}: {lines:?}");
        for line in &lines {
            let expected = (line["message"] != "outside").then_some(&trace_id);
            assert_eq!(line.get("trace_id"), expected, "{levels}: {line}");
        }
    }
}

#[test]
fn people_get_a_line_that_they_can_read() {
    let (captured, _guard) = capture(Style::Pretty { colours: false }, "info");
    tracing::warn!(path = "/a b", id = "exe_1", "slow");
    let text = captured.text();
    assert!(
        text.ends_with("  WARN slow path=\"/a b\" id=exe_1 telemetry\n"),
        "{text}"
    );
}
