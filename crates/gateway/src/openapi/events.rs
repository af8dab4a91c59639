//! `/api/events`

use http::Method;
use serde_json::{Value, json};

use super::document::{Document, Operation};
use super::schemas::started;

pub fn describe(document: &mut Document) {
    let event = event();
    let batch = json!({"type": "array", "items": event, "maxItems": 100});
    let example = json!({
        "specversion": "1.0",
        "id": "1",
        "source": "/shop",
        "type": "com.example.order.created",
        "data": {"amount": 11},
    });
    document.add(
        &Method::POST,
        "/api/events",
        Operation::new(
            "publishEvents",
            "events",
            "Publish CloudEvents, once for each source and id; in the binary mode, the \
             attributes are `ce-` headers and the body is the data",
        )
        .body(
            true,
            json!({
                "application/cloudevents+json": {"schema": event, "example": example},
                "application/cloudevents-batch+json": {"schema": batch},
            }),
        )
        .answers(202, "What listens is durable.", &started())
        .problems(&[429]),
    );
}

/// A CloudEvent 1.0 in its JSON form.
fn event() -> Value {
    let text = json!({"type": "string", "minLength": 1, "maxLength": 255});
    json!({
        "type": "object",
        "required": ["specversion", "id", "source", "type"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": text,
            "source": text,
            "type": text,
            "data": {"description": "Any JSON."},
            "data_base64": {"type": "string"},
        },
        "patternProperties": {
            "^[a-z0-9]+$": {"description": "Any other attribute is a string, a boolean or an integer."},
        },
        "additionalProperties": false,
    })
}
