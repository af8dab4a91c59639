//! An HTTP service for workflows to call: it counts and remembers.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::Service;

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Call {
    pub path: String,
    pub headers: HeaderMap,
    pub body: Value,
}

#[derive(Debug, Default)]
struct Shared {
    calls: Vec<Call>,
    /// Statuses to answer with before the usual 200s.
    statuses: VecDeque<u16>,
}

/// A running service; ends when dropped. Answers `{"calls": n, "body": …}`.
pub struct Echo {
    pub url: String,
    shared: Arc<Mutex<Shared>>,
    _service: Service,
}

impl Echo {
    pub async fn start() -> Self {
        Self::answering(&[]).await
    }

    /// Answers with these statuses first.
    pub async fn answering(statuses: &[u16]) -> Self {
        let shared = Arc::new(Mutex::new(Shared {
            calls: Vec::new(),
            statuses: statuses.iter().copied().collect(),
        }));
        let app = Router::new().fallback(echo).with_state(Arc::clone(&shared));
        let service = Service::start(app).await;
        Self {
            url: service.url.clone(),
            shared,
            _service: service,
        }
    }

    pub fn calls(&self) -> Vec<Call> {
        self.shared.lock().expect("not poisoned").calls.clone()
    }
}

async fn echo(State(shared): State<Arc<Mutex<Shared>>>, request: Request) -> impl IntoResponse {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, 1 << 20)
        .await
        .unwrap_or_default();
    let body: Value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let mut shared = shared.lock().expect("not poisoned");
    shared.calls.push(Call {
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body: body.clone(),
    });
    let status = shared.statuses.pop_front().unwrap_or(200);
    let status = StatusCode::from_u16(status).expect("a status");
    (
        status,
        axum::Json(json!({"calls": shared.calls.len(), "body": body})),
    )
}
