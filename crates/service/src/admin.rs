//! What the platform around a process asks it, in plain HTTP on a listener of
//! its own: does it live, does it want traffic, how does it fare.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;

/// Whether the process wants traffic; clones stand for the same process.
/// It starts out not ready.
#[derive(Debug, Clone)]
pub struct Readiness {
    /// Why not; `None` when ready.
    obstacle: Arc<Mutex<Option<String>>>,
}

impl Readiness {
    /// Not ready: "starting".
    #[expect(clippy::new_without_default, reason = "a process makes one on purpose")]
    pub fn new() -> Self {
        Self {
            obstacle: Arc::new(Mutex::new(Some("starting".to_owned()))),
        }
    }

    /// From now on `/readyz` answers 200.
    pub fn ready(&self) {
        *self.obstacle.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// From now on `/readyz` answers 503 and says why.
    pub fn not_ready(&self, why: impl Into<String>) {
        *self.obstacle.lock().unwrap_or_else(PoisonError::into_inner) = Some(why.into());
    }

    /// What stands in the way; `None` when ready.
    pub fn obstacle(&self) -> Option<String> {
        self.obstacle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// What `/metrics` says of the process.
#[derive(Debug, Clone)]
struct Process {
    role: &'static str,
    version: &'static str,
    started: Instant,
    started_unix: f64,
    readiness: Readiness,
}

/// `/livez`, `/readyz` and `/metrics` of a process that has `role`; for
/// [`http::serve`](crate::http::serve).
pub fn router(role: &'static str, version: &'static str, readiness: Readiness) -> Router {
    let started_unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0.0, |since| since.as_secs_f64());
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Process {
            role,
            version,
            started: Instant::now(),
            started_unix,
            readiness,
        })
}

async fn readyz(State(process): State<Process>) -> impl IntoResponse {
    match process.readiness.obstacle() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn metrics(State(process): State<Process>) -> impl IntoResponse {
    let Process {
        role,
        version,
        started,
        started_unix,
        readiness,
    } = process;
    let mut text = String::with_capacity(512);
    let mut gauge = |name: &str, help: &str, labels: &str, value: f64| {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "# HELP {name} {help}\n# TYPE {name} gauge\n{name}{labels} {value}"
        );
    };
    gauge(
        "millrace_build_info",
        "Version and role of this process.",
        &format!("{{version=\"{version}\",role=\"{role}\"}}"),
        1.0,
    );
    gauge(
        "millrace_uptime_seconds",
        "Time since the start.",
        "",
        started.elapsed().as_secs_f64(),
    );
    gauge(
        "millrace_ready",
        "1 when ready for traffic.",
        "",
        f64::from(u8::from(readiness.obstacle().is_none())),
    );
    gauge(
        "process_start_time_seconds",
        "Start, in seconds since the Unix epoch.",
        "",
        started_unix,
    );
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
}
