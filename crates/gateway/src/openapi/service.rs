//! How the service is, and this document.

use http::Method;
use serde_json::json;

use super::document::{Document, Operation, schema};

const TAG: &str = "service";

pub fn describe(document: &mut Document) {
    let op = |id, summary: &str| Operation::new(id, TAG, summary).only_problems(&[]);
    let plain = json!({
        "type": "object",
        "required": ["status"],
        "properties": {"status": {"const": "ok"}},
    });
    let mut add = |path: &str, operation: Operation| {
        document.add(&Method::GET, path, operation);
    };
    add(
        "/health",
        op("health", "How the service and what it depends on are")
            .answers(200, "It can accept work.", &schema("Health"))
            .answers(503, "It cannot.", &schema("Health")),
    );
    add(
        "/livez",
        op("livez", "Whether this process lives").answers(200, "It does.", &plain),
    );
    add(
        "/readyz",
        op("readyz", "Whether this process wants requests")
            .answers(200, "It does.", &plain)
            .problems(&[503]),
    );
    add(
        "/api/openapi.json",
        op("openapi", "This document").answers(200, "OpenAPI 3.1.", &json!({"type": "object"})),
    );
}
