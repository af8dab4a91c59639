//! What the platform around a process asks it, in plain HTTP on a listener of
//! its own: does it live, does it want traffic, how does it fare.

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use millrace_types::Role;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::access::table::Needs;
use crate::access::{Denied, Guard, VerifiedPeer};
use crate::telemetry::LevelError;
use crate::{metrics, telemetry};

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

/// `/livez`, `/readyz`, `/metrics` and `/admin/log-level` of a process that
/// has `role`; for
/// [`http::serve`](crate::http::serve).
pub fn router(role: &'static str, version: &'static str, readiness: Readiness) -> Router {
    metrics::install(role, version);
    let shown = readiness.clone();
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route(
            "/metrics",
            get(async move || {
                let ready = shown.obstacle().is_none();
                ::metrics::gauge!("millrace_ready").set(f64::from(u8::from(ready)));
                metrics::page().await
            }),
        )
        .route("/admin/log-level", get(level).put(set_level))
        .with_state(readiness)
}

/// Lets only those change something over `routes` whom `guard` knows as
/// administrators or as other roles. For a listener that others than this
/// machine reach: one that is open to nobody else asks nobody.
pub fn guarded(routes: Router, guard: Guard) -> Router {
    routes.layer(from_fn_with_state(guard, judge))
}

async fn judge(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    if guard.is_open() {
        let why = "this listener is reached from elsewhere, and nothing says who may change \
                   anything: set `auth.mode = \"keys\"`, or call it on 127.0.0.1";
        return Refusal::new(StatusCode::FORBIDDEN, why).into_response();
    }
    let (parts, body) = request.into_parts();
    let verified = parts.extensions.get::<VerifiedPeer>();
    let needs = Some(Needs::Key(Role::Admin));
    match guard.judge(needs, &parts.headers, verified).await {
        Ok(caller) => {
            caller.record();
            next.run(Request::from_parts(parts, body)).await
        }
        Err(denied) => {
            denied.log(parts.uri.path());
            let status = match denied {
                Denied::NoKey | Denied::UnknownKey | Denied::NotInternal => {
                    StatusCode::UNAUTHORIZED
                }
                Denied::Role { .. } | Denied::InternalOnly { .. } | Denied::NoRule => {
                    StatusCode::FORBIDDEN
                }
                Denied::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
            };
            let mut answer = Refusal::new(status, denied.to_string()).into_response();
            if status == StatusCode::UNAUTHORIZED {
                let bearer = HeaderValue::from_static("Bearer");
                answer
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, bearer);
            }
            answer
        }
    }
}

async fn readyz(State(readiness): State<Readiness>) -> impl IntoResponse {
    match readiness.obstacle() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

/// `{level}`: what is logged, as `log.level` has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Level {
    level: String,
}

async fn level() -> Result<Json<Level>, Refusal> {
    let level = telemetry::level().ok_or(LevelError::NoLogs)?;
    Ok(Json(Level { level }))
}

/// Changes what is logged until the process ends.
async fn set_level(body: Bytes) -> Result<Json<Level>, Refusal> {
    let asked: Level = serde_json::from_slice(&body)
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()))?;
    telemetry::set_level(&asked.level)?;
    level().await
}

impl From<LevelError> for Refusal {
    fn from(error: LevelError) -> Self {
        let status = match error {
            LevelError::NoLogs => StatusCode::SERVICE_UNAVAILABLE,
            LevelError::Length | LevelError::Directive(_) => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}

/// An answer of an admin listener that refuses, as problem details (RFC 9457).
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    detail: String,
}

impl Refusal {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { status, detail }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let title = self.status.canonical_reason().unwrap_or_default();
        let problem =
            json!({"title": title, "status": self.status.as_u16(), "detail": self.detail});
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        (self.status, kind, problem.to_string()).into_response()
    }
}
