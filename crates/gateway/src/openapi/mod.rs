//! `/api/openapi.json`: what the gateway answers, as OpenAPI 3.1.
//!
//! One file for each noun, as with the routes. A test holds the document
//! against the router: a route without an entry here fails it, and the
//! reverse. Streams, `/services/…` and `/webhooks/…`, whose bodies and
//! answers are their authors', are not in it.

mod deployments;
mod document;
mod events;
mod executions;
mod monitoring;
mod projects;
mod schemas;
mod service;
mod triggers;
mod workloads;

#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use axum::response::IntoResponse;
use bytes::Bytes;
use http::header;
use serde_json::Value;

use document::Document;

/// The whole document.
fn document() -> Value {
    let mut document = Document::new(schemas::all());
    deployments::describe(&mut document);
    executions::describe(&mut document);
    triggers::describe(&mut document);
    events::describe(&mut document);
    projects::describe(&mut document);
    workloads::describe(&mut document);
    monitoring::describe(&mut document);
    service::describe(&mut document);
    document.finish()
}

/// It does not change while the process runs.
static TEXT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());

/// `GET /api/openapi.json`
pub async fn openapi() -> impl IntoResponse {
    (
        [
            (header::CONTENT_TYPE, "application/json"),
            (header::CACHE_CONTROL, "no-cache"),
        ],
        TEXT.clone(),
    )
}
